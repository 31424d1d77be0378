from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.models.augment.steps import apply_to_image, repeat_draws

HAEMATOXYLIN, EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])


def stain(amounts: NDArray[Any]) -> NDArray[Any]:
    """The light that is left by amounts of both stains, (..., 2); (..., 3)."""
    vectors = np.stack([each / np.linalg.norm(each) for each in (HAEMATOXYLIN, EOSIN)])
    light: NDArray[Any] = np.exp(-amounts @ vectors)
    return light


def draw_sections(records: int = 4) -> tuple[NDArray[Any], torch.Tensor]:
    """Amounts of both stains, (records, 6, 5, 2), and the images that they make, (records, 3, 6, 5)."""
    amounts = np.random.default_rng(3).uniform(0, 1.2, (records, 6, 5, 2))
    return amounts, torch.from_numpy(stain(amounts)).movedim(-1, 1).float()


@pytest.mark.parametrize(("dark", "bright"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_each_stain_is_multiplied_by_a_factor_of_the_record(dark: float, bright: float) -> None:
    amounts, light = draw_sections()
    images = dark + (bright - dark) * light
    step = {"kind": "stain", "part": 0.4, "dark": dark, "bright": bright}
    varied = (apply_to_image(step, images, seed=9) - dark) / (bright - dark)
    factors = [repeat_draws(4, 9, 0.6, 1.4, place) for place in (1, 2)]
    for one, both in enumerate(zip(*factors, strict=True)):
        np.testing.assert_allclose(varied[one].movedim(0, -1), stain(amounts[one] * both), atol=1e-5)


def test_deconvolution_is_that_of_a_linear_system_for_every_pixel() -> None:
    """Any colours: what neither stain explains stays as it is."""
    images = 0.05 + 0.9 * torch.rand(2, 3, 4, 4)
    varied = apply_to_image({"kind": "stain", "part": 0.2}, images, seed=4).numpy()
    first, second = HAEMATOXYLIN / np.linalg.norm(HAEMATOXYLIN), EOSIN / np.linalg.norm(EOSIN)
    vectors = np.stack([first, second, np.cross(first, second)])
    factors = [repeat_draws(2, 4, 0.8, 1.2, place) for place in (1, 2)]
    for one in range(2):
        for y in range(4):
            for x in range(4):
                density = -np.log(images[one, :, y, x].double().numpy())
                amounts = np.linalg.solve(vectors.T, density)
                amounts[:2] *= [factor[one] for factor in factors]
                wanted = np.clip(np.exp(-amounts @ vectors), 0, 1)
                np.testing.assert_allclose(varied[one, :, y, x], wanted, atol=1e-5)


def test_glass_without_tissue_stays_and_light_stays_in_its_range() -> None:
    images = torch.stack([torch.ones(3, 4, 4), torch.zeros(3, 4, 4), torch.rand(3, 4, 4)])
    varied = apply_to_image({"kind": "stain", "part": 0.9}, images)
    torch.testing.assert_close(varied[0], images[0])
    assert torch.isfinite(varied).all()
    assert 0 <= float(varied.min()) <= float(varied.max()) <= 1


def test_several_sections_of_a_record_have_the_same_stain() -> None:
    _, images = draw_sections(1)
    pair = torch.stack([images, images], dim=1)  # (1, sections, 3, height, width)
    varied = apply_to_image({"kind": "stain"}, pair)
    torch.testing.assert_close(varied[:, 0], varied[:, 1])
    torch.testing.assert_close(varied[:, 0], apply_to_image({"kind": "stain"}, images))
