from itertools import pairwise
from typing import Any, cast

import pytest
import torch
from pydantic import ValidationError

from models.errors import ModelError
from models.fit import build_study_module
from models.imaging.histology_crops import (
    MODEL,
    Crops,
    HistologyCrops,
    HistologyCropsOptions,
    build,
    generalised_mean,
    list_grid_places,
)
from models.parameters.trainable import count_by_kind
from tests.models.generated_studies import generated_terms

PAPER = cast(HistologyCropsOptions, MODEL.presets["paper"])
SMALL = cast(HistologyCropsOptions, MODEL.presets["small"])
SIZES = {"channels": 3, "height": 16, "width": 18}


def small(**changes: Any) -> HistologyCrops:
    return build(SMALL.model_copy(update=changes), SIZES, ())


def test_paper_form_has_vgg16_s_convolutions_and_reads_1408_means() -> None:
    filters = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    convolutions = sum(9 * into * out + out for into, out in pairwise(filters))
    with torch.device("meta"):
        module = build(PAPER, {"channels": 3, "height": 400, "width": 400}, (4,))
    assert module.head.in_features == 128 + 256 + 512 + 512 == 1408
    assert sum(each.numel() for each in module.encoder.parameters()) == convolutions == 14_714_688
    assert sum(each.numel() for each in module.head.parameters()) == 5_636


@pytest.mark.parametrize("power", [1.0, 3.0, 16.0])
def test_generalised_mean_is_that_of_a_loop(power: float) -> None:
    descriptors = torch.rand(2, 5, 3)
    found = generalised_mean(descriptors, power)
    for record in range(2):
        for place in range(3):
            powers = [float(descriptors[record, crop, place]) ** power for crop in range(5)]
            assert float(found[record, place]) == pytest.approx((sum(powers) / 5) ** (1 / power), rel=1e-4)
    assert (found <= descriptors.max(1).values + 1e-6).all()
    assert (found >= descriptors.mean(1) - 1e-6).all()


def test_generalised_mean_of_nothing_has_a_finite_gradient() -> None:
    descriptors = torch.zeros(1, 4, 2, requires_grad=True)
    torch.autograd.backward(generalised_mean(descriptors, 3.0).sum())
    assert descriptors.grad is not None
    assert torch.isfinite(descriptors.grad).all()


def test_crops_are_windows_of_their_own_image() -> None:
    image = torch.arange(2 * 3 * 9 * 11).float().reshape(2, 3, 9, 11)
    layer = Crops(6, 4, 5)
    for training in (True, False):
        found = layer.train(training)(image).reshape(2, 6, 3, 4, 5)
        for record in range(2):
            windows = [image[record, :, y : y + 4, x : x + 5] for y in range(6) for x in range(7)]
            assert all(any(torch.equal(crop, window) for window in windows) for crop in found[record])


def test_grid_reaches_every_corner_and_is_the_same_for_every_record() -> None:
    places = [list_grid_places(4, 12, axis).tolist() for axis in (0, 1)]
    assert list(zip(*places, strict=True)) == [(0, 0), (0, 12), (12, 0), (12, 12)]
    assert list_grid_places(1, 12, 0).tolist() == [6]
    image = torch.rand(1, 3, 9, 9).expand(3, -1, -1, -1)
    found = Crops(5, 4, 4).eval()(image).reshape(3, 5, 3, 4, 4)
    assert torch.equal(found[0], found[2])


def test_drawn_crops_follow_the_seed_and_differ_between_records() -> None:
    layer, image = Crops(5, 3, 3).train(), torch.rand(1, 3, 20, 20).expand(2, -1, -1, -1)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(layer(image).reshape(2, 5, 3, 3, 3))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0][0], found[0][1])


def test_image_is_read_from_its_crops_one_after_the_other() -> None:
    module, image = small().eval(), torch.rand(2, 3, 16, 18)
    crops = module.crops(image).reshape(2, 4, 3, 8, 9)
    descriptors = torch.stack([module.describe(crops[:, each]) for each in range(4)], dim=1)
    expected = module.head(descriptors.pow(3).mean(1).pow(1 / 3)).flatten()
    torch.testing.assert_close(module({"image": image}), expected)


def test_head_alone_is_trained_on_public_weights() -> None:
    terms = generated_terms("histology-crops", model={"start": "a" * 64, "trained": ["head"]})
    counts = count_by_kind(build_study_module(terms))
    assert (counts.shared, counts.frozen) == (3 * (12 + 1), 445 - 13)  # of three classes


def test_misfits_are_refused() -> None:
    with pytest.raises(
        ModelError, match="with 5 stages expects crops with a height of at least 16, got 8; write fewer"
    ):
        build(PAPER, {"channels": 3, "height": 16, "width": 64}, ())
    with pytest.raises(ValidationError, match="read: expected at most 1, as many as there are stages"):
        HistologyCropsOptions(stages=((4,),), read=2)
