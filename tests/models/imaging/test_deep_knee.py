from itertools import pairwise
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from models.errors import ModelError
from models.imaging.deep_knee import MODEL, DeepKneeOptions, build
from privacy.dpsgd import DpSgd, Mechanism, TensorRecords
from privacy.randomness import KeyStream
from tests.models.imaging.networks import list_shapes

PAPER = cast(DeepKneeOptions, MODEL.presets["paper"])
SMALL = cast(DeepKneeOptions, MODEL.presets["small"])
SIZES = {"height": 49, "width": 51}


@pytest.mark.parametrize("width", [32, 64])
def test_paper_form_has_the_counted_parameters(width: int) -> None:
    widths = [1, width, width, width, 2 * width, 2 * width, 4 * width]
    # with the scale and shift of each channel's norm
    of_convolutions = sum(9 * into * out + out + 2 * out for into, out in pairwise(widths))
    module = build(DeepKneeOptions(filters=width), {"height": 128, "width": 128}, (5,))
    counted = sum(each.numel() for each in module.parameters())
    assert counted == of_convolutions + 8 * width * 5 + 5 == {32: 150_085, 64: 595_077}[width]


def test_maps_of_a_patch_have_the_paper_s_sizes() -> None:
    module = build(SMALL, {"height": 128, "width": 128}, (5,))
    shapes = list_shapes(module, nn.Conv2d, {"patches": torch.zeros(1, 2, 128, 128)})
    assert [height for _, height, _ in shapes] == [63, 61, 59, 27, 25, 10]


def test_both_patches_go_through_one_branch() -> None:
    module = build(SMALL, SIZES, (4,)).eval()
    lateral, medial = torch.rand(2, 3, 49, 51)
    features = [module.branch(patch[:, None]).mean((2, 3)) for patch in (lateral, medial)]
    expected = module.head(torch.cat(features, dim=1))
    torch.testing.assert_close(module({"patches": torch.stack([lateral, medial], dim=1)}), expected)


def test_which_patch_is_lateral_matters_to_the_head_alone() -> None:
    module = build(SMALL, SIZES, (4,)).eval()
    patches, half = torch.rand(3, 2, 49, 51), module.head.in_features // 2
    before = module({"patches": patches})
    assert not torch.allclose(module({"patches": patches.flip(1)}), before)
    with torch.no_grad():
        module.head.weight.copy_(module.head.weight.roll(half, dims=1))
    torch.testing.assert_close(module({"patches": patches.flip(1)}), before)


def test_two_knees_of_a_patient_are_one_patient() -> None:
    """The patient with two knees moves the sum by the clipped mean of both, not by twice as much."""
    module, norm = build(SMALL, SIZES, (4,)).eval(), 0.01
    patches = {"patches": torch.rand(3, 2, 49, 51)}
    records = TensorRecords(patches, torch.tensor([0.0, 1.0, 1.0]), patient=torch.tensor([0, 1, 1]))

    def square(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs.sum(1) - targets).square()

    def gradient(knee: int) -> torch.Tensor:
        one = {"patches": patches["patches"][knee : knee + 1]}
        found = torch.autograd.grad(
            square(module(one), torch.tensor(float(knee > 0))).sum(), [*module.parameters()]
        )
        return torch.cat([each.flatten() for each in found])

    summed = DpSgd(module, square, Mechanism(1.0, 2, norm, 0.0), KeyStream(bytes(32))).sum_lot(
        records, np.array([1])
    )
    mean = (gradient(1) + gradient(2)) / 2
    assert float(mean.norm()) > norm
    torch.testing.assert_close(summed, norm * mean / mean.norm(), rtol=1e-3, atol=1e-6)


def test_patch_that_vanishes_is_refused() -> None:
    build(SMALL, {"height": 49, "width": 49}, (4,))({"patches": torch.zeros(1, 2, 49, 49)})
    with pytest.raises(ModelError, match="expects a width of at least 49, got 48; take larger patches"):
        build(SMALL, {"height": 49, "width": 48}, (4,))
