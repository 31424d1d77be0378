import numpy as np
import torch

from tests.models.augment.steps import apply, apply_to_image, repeat_draws


def test_contrast_stretches_differences_from_the_mean() -> None:
    images = torch.rand(5, 2, 6, 6)
    varied = apply_to_image({"kind": "contrast", "part": 0.4}, images, seed=9).numpy()
    for one, factor in enumerate(repeat_draws(5, 9, 0.6, 1.4)):
        mean = images[one].numpy().mean()
        np.testing.assert_allclose(varied[one], mean + factor * (images[one].numpy() - mean), atol=1e-6)


def test_contrast_leaves_a_single_number_as_it_is() -> None:
    values = torch.rand(5)
    torch.testing.assert_close(apply_to_image({"kind": "contrast"}, values), values)


def test_noise_has_mean_zero_and_the_deviation_asked_for() -> None:
    images = torch.rand(50, 1, 20, 20)
    noise = apply_to_image({"kind": "noise", "deviation": 0.1}, images) - images
    assert abs(float(noise.mean())) < 4 * 0.1 / 20_000**0.5
    assert abs(float(noise.std()) - 0.1) < 0.002
    correlation = np.corrcoef(noise.flatten(1).numpy())
    assert np.abs(correlation[~np.eye(50, dtype=bool)]).max() < 0.25  # of two records: 400 numbers each


def test_target_that_is_to_be_reconstructed_keeps_its_values() -> None:
    images = torch.rand(6, 1, 4, 4)
    inputs, targets = apply({"kind": "noise"}, {"image": images}, {"image": images})
    assert torch.equal(targets["image"], images)
    assert not torch.equal(inputs["image"], images)
