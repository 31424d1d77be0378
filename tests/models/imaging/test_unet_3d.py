from itertools import pairwise
from typing import cast

import pytest
import torch
from torch import nn

from models.errors import ModelError
from models.imaging.unet_3d import MODEL, Unet3dOptions, build
from tests.models.imaging.networks import list_shapes, mirror_kernels

PAPER = cast(Unet3dOptions, MODEL.presets["paper"])
SMALL = cast(Unet3dOptions, MODEL.presets["small"])


def sizes(depth: int, height: int, width: int, channels: int = 1) -> dict[str, int]:
    return {"channels": channels, "depth": depth, "height": height, "width": width}


def count_by_hand(unit: int, levels: int, channels: int, classes: int) -> int:
    """As the paper's figure 2 shows it: every convolution with a bias, transposed ones without, norms without any."""
    widths = [2 * unit << level for level in range(levels)]
    pairs = [(channels, unit), (unit, widths[0])]  # of each 3x3x3 convolution, in and out
    for before, width in pairwise(widths):
        pairs += [(before, before), (before, width)]  # down
        pairs += [(width + before, before), (before, before)]  # and up again
    samplers = sum(8 * width * width for width in widths[1:])
    return sum(27 * into * out + out for into, out in pairs) + samplers + widths[0] * classes + classes


def test_paper_form_has_the_counted_parameters() -> None:
    """19,069,955, which the paper states, for three channels and three classes."""
    module = build(PAPER, sizes(16, 16, 16, 3), (3, 16, 16, 16))
    assert sum(each.numel() for each in module.parameters()) == 19_069_955 == count_by_hand(32, 4, 3, 3)


def test_small_form_has_the_counted_parameters() -> None:
    module = build(SMALL, sizes(8, 8, 8), (4, 8, 8, 8))
    assert sum(each.numel() for each in module.parameters()) == count_by_hand(2, 3, 1, 4)


def test_every_axis_is_halved_at_each_level_and_doubled_again() -> None:
    module = build(Unet3dOptions(filters=1), sizes(8, 16, 24), (8, 16, 24))
    volume = {"image": torch.zeros(1, 1, 8, 16, 24)}
    assert list_shapes(module, nn.MaxPool3d, volume) == [(2, 4, 8, 12), (4, 2, 4, 6), (8, 1, 2, 3)]
    assert list_shapes(module, nn.ConvTranspose3d, volume) == [(16, 2, 4, 6), (8, 4, 8, 12), (4, 8, 16, 24)]


@pytest.mark.parametrize("outputs", [(8, 4, 12), (1, 8, 4, 12), (5, 8, 4, 12)])
def test_mask_has_the_shape_of_the_task_from_each_record_alone(outputs: tuple[int, ...]) -> None:
    module, volumes = build(SMALL, sizes(8, 4, 12, 2), outputs), torch.rand(3, 2, 8, 4, 12)
    together = module({"image": volumes})
    assert together.shape == (3, *outputs)
    alone = torch.cat([module({"image": volumes[one : one + 1]}) for one in range(3)])
    torch.testing.assert_close(together, alone)


def test_mirrored_kernels_give_the_mirrored_mask() -> None:
    module, volumes = build(SMALL, sizes(8, 4, 12), (8, 4, 12)), torch.rand(2, 1, 8, 4, 12)
    mask = module({"image": volumes})
    mirror_kernels(module)
    torch.testing.assert_close(module({"image": volumes.flip(-1)}), mask.flip(-1))


@pytest.mark.parametrize(
    ("given", "outputs", "message"),
    [
        (sizes(6, 8, 8), (6, 8, 8), "expects a depth that is a multiple of 4, got 6; .* for example to 8"),
        (sizes(8, 8, 10), (8, 8, 10), "expects a width that is a multiple of 4, got 10"),
        (sizes(8, 8, 8), (8, 8), "expected depth, height and width 8x8x8, .* got 8x8"),
        (sizes(8, 8, 8), (2, 3, 8, 8, 8), "got 2x3x8x8x8"),
        (sizes(8, 8, 8), (), "got one number"),
    ],
)
def test_volume_or_outputs_that_do_not_fit_are_refused(
    given: dict[str, int], outputs: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        build(SMALL, given, outputs)
