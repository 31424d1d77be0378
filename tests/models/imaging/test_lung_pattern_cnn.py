from itertools import pairwise
from typing import cast

import pytest
import torch
from torch import nn

from models.errors import ModelError
from models.imaging.lung_pattern_cnn import MODEL, LungPatternOptions, build
from tests.models.imaging.networks import list_shapes

PAPER = cast(LungPatternOptions, MODEL.presets["paper"])
SMALL = cast(LungPatternOptions, MODEL.presets["small"])


def sizes(height: int, width: int | None = None) -> dict[str, int]:
    return {"channels": 1, "height": height, "width": width or height}


def test_paper_form_has_the_counted_parameters() -> None:
    filters = [1, 16, 36, 64, 100, 144]
    convolutions = sum(4 * into * out + out for into, out in pairwise(filters))
    linear = sum(into * out + out for into, out in [(144, 864), (864, 288), (288, 7)])
    module = build(PAPER, sizes(32), (7,))
    assert sum(each.numel() for each in module.parameters()) == convolutions + linear == 471_567


def test_each_convolution_takes_one_pixel() -> None:
    module = build(PAPER, sizes(32), (7,))
    shapes = list_shapes(module, nn.Conv2d, {"image": torch.zeros(1, 1, 32, 32)})
    assert shapes == [(16, 31, 31), (36, 30, 30), (64, 29, 29), (100, 28, 28), (144, 27, 27)]


def test_texture_is_told_wherever_it_begins() -> None:
    # maps of 27 pixels hold a texture of period 9 three times, so that their means do not depend on its place
    module = build(PAPER, sizes(32), (7,)).eval()
    texture = torch.rand(1, 1, 9, 9).tile(1, 1, 5, 5)
    patches = torch.cat([texture[..., down : down + 32, 0:32] for down in range(9)])
    answers = module({"image": patches})
    torch.testing.assert_close(answers, answers[:1].expand_as(answers))
    other = module({"image": torch.rand(1, 1, 9, 9).tile(1, 1, 5, 5)[..., :32, :32]})
    assert not torch.allclose(other, answers[:1])


@pytest.mark.parametrize("outputs", [(), (7,)])
def test_patches_of_a_patient_are_told_each_alone(outputs: tuple[int, ...]) -> None:
    module, patches = build(SMALL, sizes(32), outputs), torch.rand(5, 1, 32, 32)
    together = module({"image": patches})
    assert together.shape == (5, *outputs)
    torch.testing.assert_close(together, torch.cat([module({"image": patches[one : one + 1]}) for one in range(5)]))


def test_smallest_patch_leaves_one_pixel() -> None:
    module = build(PAPER, sizes(6, 7), (7,))
    assert list_shapes(module, nn.Conv2d, {"image": torch.zeros(1, 1, 6, 7)})[-1] == (144, 1, 2)


def test_patch_that_vanishes_is_refused() -> None:
    with pytest.raises(ModelError, match="with 5 convolutions expects a width of at least 6, got 5; write fewer"):
        build(PAPER, sizes(32, 5), (7,))


def test_options_choose_the_activations() -> None:
    layers = [type(layer) for layer in build(PAPER, sizes(32), ()).modules()]
    assert (layers.count(nn.LeakyReLU), layers.count(nn.ReLU)) == (5, 2)
    smooth = [type(layer) for layer in build(LungPatternOptions(activation="elu"), sizes(32), ()).modules()]
    assert smooth.count(nn.ELU) == 7
