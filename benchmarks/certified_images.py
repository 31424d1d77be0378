"""Measure how many chest X-rays keep a right class within a certified radius (PixelDP, Cohen).

``python -m benchmarks.certified_images FILE.npz [--json] [--draws N]``, where FILE is PneumoniaMNIST: `pixeldp-cnn` is
trained on all training images without privacy, and every test image is certified. Certified accuracy at a radius is the
share of test images whose class is right and whose radius is at least that.
"""

from pathlib import Path
from typing import Final, Literal

import click
import numpy as np
import torch
from torch import nn

from benchmarks.privacy_systems_studies import Hospital, read_images
from client.prediction.certificate import certify_counts
from client.prediction.certify import count_classes
from models.imaging.pixeldp_cnn import PixelDpCnn, PixelDpOptions, build
from models.layers.bounded_noise import find_noise
from privacy.command_line import print_json, print_table, say

_RADII: Final = (0.1, 0.25, 0.5, 1.0)
_EPOCHS, _BATCH = 12, 64
_PLACES: Final[tuple[Literal["input", "convolution"], ...]] = ("convolution", "input")


def train(place: Literal["input", "convolution"], size: float, found: Hospital, seed: int) -> PixelDpCnn:
    """Train on ``found``, with noise for attacks of ``size``."""
    torch.manual_seed(seed)
    options = PixelDpOptions(filters=(16, 32), noise=place, attack_size=size, activation="elu")
    side = found.inputs.shape[-1]
    model = build(options, {"channels": 1, "height": side, "width": side}, ())
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    images, labels = torch.from_numpy(found.inputs), torch.from_numpy(found.labels)
    for _ in range(_EPOCHS):
        for rows in torch.split(torch.randperm(len(labels)), _BATCH):
            optimiser.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(model({"image": images[rows]}), labels[rows])
            torch.autograd.backward(loss)
            optimiser.step()
    return model.eval()


def measure(model: PixelDpCnn, test: Hospital, draws: int) -> dict[str, float]:
    """Certify every image of ``test``; return accuracy, and certified accuracy by both radii."""
    noise = find_noise(model)
    assert noise is not None, "the model has one"
    counts = count_classes(model, noise, {"image": torch.from_numpy(test.inputs)}, draws)
    found = [certify_counts(each, noise.deviation) for each in counts]
    right = np.array([each.place for each in found]) == test.labels
    figures = {"noise": noise.deviation, "accuracy": float(right.mean())}
    for radius in _RADII:
        figures[f"Cohen {radius:g}"] = float((right & (np.array([each.cohen for each in found]) >= radius)).mean())
        figures[f"PixelDP {radius:g}"] = float(
            (right & (np.array([each.pixeldp for each in found]) >= radius)).mean()
        )
    return figures


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--draws", default=300, show_default=True, type=click.IntRange(10), help="Of the noise, an image.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(file: Path, draws: int, as_json: bool) -> None:
    """Certified accuracy of chest X-rays, with noise on the input and behind the first convolution."""
    (images, labels), test = read_images(file)
    rows = []
    for place in _PLACES:
        for size in (0.02, 0.1):
            model = train(place, size, Hospital(images, labels), seed=1)
            rows.append({"place": place, "size": size, **measure(model, test, draws)})
            say(f"{place}, size {size:g}: accuracy {rows[-1]['accuracy']:.3f}")
    if as_json:
        print_json({"draws": draws, "models": rows})
        return
    names = list(rows[0])
    print_table(
        names, [[value if isinstance(value, str) else f"{value:.3f}" for value in row.values()] for row in rows]
    )


if __name__ == "__main__":
    main()
