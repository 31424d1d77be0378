"""Certified predictions: an attack within the radius never changes the class, and what cannot be certified is said."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from client.cli import cli
from client.prediction.certificate import certify_counts
from client.prediction.certify import count_classes
from models.imaging.pixeldp_cnn import PixelDpOptions, build
from models.layers.bounded_noise import draw_noise, find_noise
from tests.client.prediction.released import release_of_catalogue, release_table

IMAGES, SIDE, DRAWS = 200, 8, 300


def run(*options: str | Path) -> Result:
    return CliRunner().invoke(cli, ["predict", *map(str, options)])


def make_images(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images that are brighter above or below, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(count, generator=generator) < 0.5).float()
    images = 0.5 + 0.15 * torch.randn(count, 1, SIDE, SIDE, generator=generator)
    shift = 0.12 * (2 * labels - 1)[:, None, None]
    images[:, 0, : SIDE // 2] += shift
    images[:, 0, SIDE // 2 :] -= shift
    return images, labels


@pytest.fixture(scope="module", params=["input", "convolution"])
def module(request: pytest.FixtureRequest) -> nn.Module:
    """A model that was trained for a moment, with its noise."""
    torch.manual_seed(1)
    options = PixelDpOptions(filters=(8, 8), noise=request.param, attack_size=0.1, activation="elu")
    model = build(options, {"channels": 1, "height": SIDE, "width": SIDE}, ())
    images, labels = make_images(256, seed=1)
    # the last layer sees where a map is bright
    model.head = nn.Linear(8, 1)
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(120):
        optimiser.zero_grad()
        torch.autograd.backward(nn.functional.binary_cross_entropy_with_logits(model({"image": images}), labels))
        optimiser.step()
    return model.eval()


def test_attack_within_the_radius_never_changes_the_class(module: nn.Module) -> None:
    """Projected gradient descent on the mean loss over the noise, to just within Cohen's radius of each image."""
    noise = find_noise(module)
    assert noise is not None
    images, labels = make_images(IMAGES, seed=2)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        counts = count_classes(module, noise, {"image": images}, DRAWS)
        found = [certify_counts(each, noise.deviation, eta=1e-4) for each in counts]
        radii = torch.tensor([each.cohen for each in found], dtype=torch.float32)
        said = torch.tensor([float(each.place) for each in found])
        assert (radii > 0).float().mean() > 0.5
        assert (said == labels).float().mean() > 0.8
        attack = torch.zeros_like(images)
        for _ in range(20):
            attack.requires_grad_(True)
            with draw_noise(noise):
                repeated = (images + attack).repeat(4, 1, 1, 1)
                loss = nn.functional.binary_cross_entropy_with_logits(module({"image": repeated}), said.repeat(4))
            (gradient,) = torch.autograd.grad(loss, attack)
            step = gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
            attack = attack.detach() + 0.25 * radii[:, None, None, None] * step
            length = attack.flatten(1).norm(dim=1).clamp_min(1e-12)
            attack = attack * (radii * 0.999 / length).clamp(max=1)[:, None, None, None]
        after = count_classes(module, noise, {"image": images + attack}, DRAWS)
    held = radii > 0
    # the true majority never changes; that of 300 draws may only where it is nearly even
    agreeing = after[np.arange(IMAGES), said.long().numpy()] / DRAWS
    assert (agreeing[held.numpy()] > 0.4).all()
    assert (agreeing[held.numpy()] > 0.5).mean() > 0.97
    # the attack is no straw man: without a bound on its size it wins
    with torch.random.fork_rng():
        torch.manual_seed(4)
        far = count_classes(module, noise, {"image": images + 20 * attack}, 20)
    assert (far.argmax(1) != said.long().numpy())[held.numpy()].mean() > 0.5


def test_command_writes_class_and_both_radii(tmp_path: Path) -> None:
    release, data, _ = release_of_catalogue(tmp_path, "pixeldp-cnn", patients=5)
    done = run(release, data, "--certify", "50")
    assert done.exit_code == 0, done.stderr
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert len(rows) == 5
    for row in rows:
        assert 0 <= float(row["radius by differential privacy"]) <= float(row["radius"])


def test_prediction_without_a_certificate_draws_no_noise(tmp_path: Path) -> None:
    release, data, _ = release_of_catalogue(tmp_path, "pixeldp-cnn", patients=5)
    assert run(release, data).stdout == run(release, data).stdout


def test_model_without_a_noise_layer_is_refused(tmp_path: Path) -> None:
    release, table = release_table(tmp_path)
    done = run(release, table, "--certify", "50")
    assert "the model 'logistic' has no noise layer" in str(done.exception)
    assert "--certify needs DATA, and no --watch" in run(release, "--certify", "5", "--watch", tmp_path).stderr
