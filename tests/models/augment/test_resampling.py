import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from tests.models.augment.steps import apply, apply_to_image, repeat_draws

Array = NDArray[np.float32]


def resample(
    image: Array, matrix: NDArray[np.float64], middle: tuple[float, float], order: int, mode: str
) -> Array:
    """What scipy reads at ``matrix`` (p - centre) + ``middle`` for every place p of ``image`` (height, width)."""
    centre = np.array([(length - 1) / 2 for length in image.shape])
    found: Array = ndimage.affine_transform(
        image, matrix, np.array(middle) - matrix @ centre, order=order, mode=mode, prefilter=False
    )
    return found


def centre_of(image: Array) -> tuple[float, float]:
    return (image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2


@pytest.mark.parametrize(("outside", "mode"), [("edge", "nearest"), ("zero", "grid-constant")])
def test_rotation_is_that_of_scipy(outside: str, mode: str) -> None:
    images = torch.rand(6, 2, 15, 12)
    turned = apply_to_image({"kind": "rotate", "degrees": 40, "outside": outside}, images, seed=2)
    for one, degrees in enumerate(repeat_draws(6, 2, -40, 40)):
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        for channel in range(2):
            image = images[one, channel].numpy()
            wanted = resample(image, np.array([[cos, sin], [-sin, cos]]), centre_of(image), 1, mode)
            np.testing.assert_allclose(turned[one, channel], wanted, atol=1e-5)


def test_rotation_turns_against_the_clock_by_a_positive_angle() -> None:
    images = torch.zeros(40, 21, 21)
    images[:, 10, 20] = 1.0  # in the middle of the right side
    turned = apply_to_image({"kind": "rotate", "degrees": 60, "outside": "zero"}, images, seed=4)
    for one, degrees in enumerate(repeat_draws(40, 4, -60, 60)):
        weights = turned[one] / turned[one].sum()
        row = float((weights.sum(1) * torch.arange(21.0)).sum())
        assert row == pytest.approx(10 - 10 * math.sin(math.radians(degrees)), abs=0.5)


def test_scale_is_that_of_scipy() -> None:
    images = torch.rand(12, 11, 14)
    scaled = apply_to_image({"kind": "scale", "part": 0.5}, images, seed=7)
    factors = [1.5**draw for draw in repeat_draws(12, 7, -1, 1)]
    assert min(factors) < 0.9
    assert max(factors) > 1.1
    for one, factor in enumerate(factors):
        image = images[one].numpy()
        wanted = resample(image, np.eye(2) / factor, centre_of(image), 1, "nearest")
        np.testing.assert_allclose(scaled[one], wanted, atol=1e-5)


def test_crop_enlarges_a_window_that_lies_in_the_image() -> None:
    images = torch.rand(8, 1, 12, 16)
    cropped = apply_to_image({"kind": "crop", "least": 0.5}, images, seed=6)
    parts = repeat_draws(8, 6, 0.5, 1, place=1)
    rows, columns = repeat_draws(8, 6, 0, 1, place=2), repeat_draws(8, 6, 0, 1, place=3)
    for one, (part, row, column) in enumerate(zip(parts, rows, columns, strict=True)):
        image = images[one, 0].numpy()
        # the window's upper left corner, then its middle, in places of pixel centres
        corner = (row * (1 - part) * 12, column * (1 - part) * 16)
        middle = (corner[0] + part * 12 / 2 - 0.5, corner[1] + part * 16 / 2 - 0.5)
        wanted = resample(image, np.eye(2) * part, middle, 1, "nearest")
        np.testing.assert_allclose(cropped[one, 0], wanted, atol=1e-5)


@pytest.mark.parametrize(
    "step",
    [
        {"kind": "rotate", "degrees": 180},
        {"kind": "rotate", "degrees": 30, "outside": "zero"},
        {"kind": "scale", "part": 1},
        {"kind": "crop", "least": 0.3},
    ],
)
def test_mask_stays_a_mask_and_follows_its_image(step: dict[str, Any]) -> None:
    kinds = torch.zeros(20, 32, 32, dtype=torch.int64)
    kinds[:, 6:16, 10:28] = 1
    kinds[:, 18:26, 4:20] = 2
    inputs, targets = apply(
        {**step, "tensors": ["image", "kinds", "mask"]},
        {"image": (kinds == 2).float()[:, None]},
        {"kinds": kinds, "mask": kinds == 2},
    )
    assert set(targets["kinds"].flatten().tolist()) <= {0, 1, 2}
    assert torch.equal(targets["mask"], targets["kinds"] == 2)
    image = inputs["image"][:, 0]
    # the nearest pixel and the mean of the four nearest agree wherever these four are equal
    sure = (image < 1e-4) | (image > 1 - 1e-4)
    assert float(sure.float().mean()) > 0.8
    assert torch.equal(targets["mask"][sure], image[sure] > 0.5)


def test_large_ids_are_exact() -> None:
    kinds = torch.full((3, 8, 8), 9_999_999)
    varied = apply_to_image({"kind": "rotate"}, kinds)
    assert varied.dtype == torch.int64
    assert torch.equal(varied, kinds)
