from itertools import pairwise
from typing import cast

import pytest
import torch
from torch import nn

from models.errors import ModelError
from models.imaging.unet import MODEL, UnetOptions, build
from tests.models.imaging.networks import list_shapes, mirror_kernels

PAPER = cast(UnetOptions, MODEL.presets["paper"])
SMALL = cast(UnetOptions, MODEL.presets["small"])


def sizes(height: int, width: int, channels: int = 3) -> dict[str, int]:
    return {"channels": channels, "height": height, "width": width}


def count_by_hand(unit: int, levels: int, channels: int, classes: int) -> int:
    widths = [unit * 2**level for level in range(levels)]
    pairs = [(channels, unit), (unit, unit)]  # of each 3x3 convolution, in and out
    for before, width in pairwise(widths):
        pairs += [(before, width), (width, width)]  # down
        pairs += [(before + width, before), (before, before)]  # and up again
    return sum(9 * into * out + out for into, out in pairs) + unit * classes + classes


def test_paper_form_has_the_counted_parameters() -> None:
    module = build(PAPER, sizes(64, 64), (64, 64))
    assert sum(each.numel() for each in module.parameters()) == 7_846_657 == count_by_hand(32, 5, 3, 1)


def test_small_form_has_the_counted_parameters() -> None:
    module = build(SMALL.model_copy(update={"norm": "none"}), sizes(16, 16, 1), (4, 16, 16))
    assert sum(each.numel() for each in module.parameters()) == count_by_hand(8, 3, 1, 4)


def test_levels_are_halved_and_the_last_one_quartered() -> None:
    module = build(UnetOptions(filters=2), sizes(64, 96), (64, 96))
    image = {"image": torch.zeros(1, 3, 64, 96)}
    assert list_shapes(module, nn.MaxPool2d, image) == [(2, 32, 48), (4, 16, 24), (8, 8, 12), (16, 2, 3)]
    assert list_shapes(module, nn.Upsample, image) == [(32, 8, 12), (16, 16, 24), (8, 32, 48), (4, 64, 96)]


@pytest.mark.parametrize("outputs", [(16, 24), (1, 16, 24), (5, 16, 24)])
def test_mask_has_the_shape_of_the_task_from_each_record_alone(outputs: tuple[int, ...]) -> None:
    module, images = build(SMALL, sizes(16, 24), outputs), torch.rand(3, 3, 16, 24)
    together = module({"image": images})
    assert together.shape == (3, *outputs)
    alone = torch.cat([module({"image": images[one : one + 1]}) for one in range(3)])
    torch.testing.assert_close(together, alone)


def test_mirrored_kernels_give_the_mirrored_mask() -> None:
    module, images = build(SMALL, sizes(16, 24), (16, 24)), torch.rand(2, 3, 16, 24)
    mask = module({"image": images})
    mirror_kernels(module)
    torch.testing.assert_close(module({"image": images.flip(-1)}), mask.flip(-1))


def test_every_level_reaches_the_mask() -> None:
    module = build(SMALL, sizes(16, 16), (16, 16))
    module({"image": torch.rand(1, 3, 16, 16)}).square().sum().backward()
    assert all(each.grad is not None and bool(each.grad.any()) for each in module.parameters())


@pytest.mark.parametrize(
    ("options", "image", "sentence"),
    [
        (UnetOptions(), (64, 40), "'unet' expects a width that is a multiple of 32, got 40; .* to 32"),
        (UnetOptions(levels=4), (20, 16), "'unet' expects a height that is a multiple of 16, got 20"),
        (SMALL, (30, 32), "'unet' expects a height that is a multiple of 4, got 30; .* to 32"),
    ],
)
def test_image_that_cannot_be_halved_is_refused(
    options: UnetOptions, image: tuple[int, int], sentence: str
) -> None:
    with pytest.raises(ModelError, match=sentence):
        build(options, sizes(*image), image)


@pytest.mark.parametrize(("outputs", "got"), [((), "one number"), ((3,), "3"), ((16, 8), "16x8")])
def test_task_without_a_mask_is_refused(outputs: tuple[int, ...], got: str) -> None:
    with pytest.raises(ModelError, match=f"expected height and width 16x16, .*, got {got}$"):
        build(SMALL, sizes(16, 16), outputs)
