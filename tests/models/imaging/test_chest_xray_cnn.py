from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from models.errors import ModelError
from models.imaging.chest_xray_cnn import MODEL, ChestXrayOptions, build
from tests.models.imaging.networks import list_shapes

PAPER = cast(ChestXrayOptions, MODEL.presets["paper"])
SMALL = cast(ChestXrayOptions, MODEL.presets["small"])

DATA = Path(__file__).parents[4] / "shared" / "data" / "chest" / "pneumoniamnist.npz"


def sizes(height: int, width: int | None = None, channels: int = 1) -> dict[str, int]:
    return {"channels": channels, "height": height, "width": width or height}


def count_by_hand(filters: Sequence[int], side: int, hidden: int, outputs: int, channels: int = 1) -> int:
    total = 0
    for before, after in zip([channels, *filters], filters, strict=False):
        total += 9 * before * after + after
    return total + side**2 * filters[-1] * hidden + hidden + hidden * outputs + outputs


@pytest.mark.parametrize(
    ("length", "side", "parameters"),
    [(64, 2, 503_425), (128, 6, 2_600_577), (150, 7, 3_452_545), (200, 10, 6_794_881)],
)
def test_paper_form_has_the_counted_parameters(length: int, side: int, parameters: int) -> None:
    module = build(PAPER, sizes(length), ())
    assert sum(each.numel() for each in module.parameters()) == parameters
    assert parameters == count_by_hand((32, 64, 128, 128), side, 512, 1)


def test_valid_blocks_lose_two_pixels_and_are_halved() -> None:
    module = build(PAPER, sizes(64), ())
    shapes = list_shapes(module, nn.MaxPool2d, {"image": torch.zeros(1, 1, 64, 64)})
    assert shapes == [(32, 31, 31), (64, 14, 14), (128, 6, 6), (128, 2, 2)]


def test_small_images_are_padded_because_valid_blocks_would_leave_nothing() -> None:
    module = build(PAPER, sizes(28), ())
    shapes = list_shapes(module, nn.MaxPool2d, {"image": torch.zeros(1, 1, 28, 28)})
    assert shapes == [(32, 14, 14), (64, 7, 7), (128, 3, 3), (128, 1, 1)]


@pytest.mark.parametrize(("length", "padding"), [(45, 1), (46, 0)])
def test_padding_begins_below_46_pixels(length: int, padding: int) -> None:
    module = build(PAPER, sizes(length, 80), ())
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    assert {layer.padding for layer in convolutions} == {(padding, padding)}
    assert module({"image": torch.zeros(2, 1, length, 80)}).shape == (2,)


@pytest.mark.parametrize(
    ("options", "image", "sentence"),
    [
        ({"padding": "valid"}, (64, 45), "expects a width of at least 46, got 45; write padding: same"),
        ({}, (15, 64), "expects a height of at least 16, got 15; write fewer filters"),
    ],
)
def test_image_that_vanishes_is_refused(options: dict[str, str], image: tuple[int, int], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        build(ChestXrayOptions.model_validate(options), sizes(*image), ())


@pytest.mark.parametrize("outputs", [(), (3,), (14,)])
def test_each_task_gets_its_outputs_from_each_record_alone(outputs: tuple[int, ...]) -> None:
    module = build(ChestXrayOptions(norm="group"), sizes(28, channels=3), outputs).eval()
    images = torch.rand(4, 3, 28, 28)
    together = module({"image": images})
    alone = torch.cat([module({"image": images[one : one + 1]}) for one in range(4)])
    assert together.shape == (4, *outputs)
    torch.testing.assert_close(together, alone)


def test_dropout_is_drawn_in_training_only_and_repeats_with_the_generator() -> None:
    module, images = build(PAPER, sizes(28), ()), {"image": torch.rand(8, 1, 28, 28)}
    torch.manual_seed(3)
    first, second = module(images), module(images)
    torch.manual_seed(3)
    assert torch.equal(module(images), first)
    assert not torch.equal(first, second)
    module.eval()
    assert torch.equal(module(images), module(images))


def test_small_preset_learns_pneumonia_from_real_radiographs() -> None:
    if not DATA.exists():
        pytest.skip(f"needs the radiographs of {DATA.name}")
    arrays = np.load(DATA)
    images = {
        part: torch.from_numpy(arrays[f"{part}_images"] / np.float32(255))[:, None] for part in ("train", "test")
    }
    labels = {part: arrays[f"{part}_labels"].reshape(-1) for part in ("train", "test")}
    torch.manual_seed(1)
    module = build(SMALL, sizes(28), ())
    optimiser = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(60):
        rows = torch.randint(len(images["train"]), (64,))
        loss = nn.functional.binary_cross_entropy_with_logits(
            module({"image": images["train"][rows]}), torch.from_numpy(labels["train"][rows]).float()
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        scores = module({"image": images["test"]}).numpy()
    assert roc_auc_score(labels["test"], scores) > 0.85


def test_three_classes_of_pneumonia_have_a_logit_each_from_the_same_features() -> None:
    """Normal, bacterial and viral instead of ill or not: two more rows of the last layer, and nothing else."""
    sizes = {"channels": 1, "height": 28, "width": 28}
    kinds, ill = build(ChestXrayOptions(), sizes, (3,)).eval(), build(ChestXrayOptions(), sizes, ()).eval()
    shapes = [{name: tuple(value.shape) for name, value in module.state_dict().items()} for module in (kinds, ill)]
    assert {name for name in shapes[0] if shapes[0][name] != shapes[1][name]} == {
        "layers.3.weight",
        "layers.3.bias",
    }
    assert (shapes[0]["layers.3.weight"], shapes[1]["layers.3.weight"]) == ((3, 512), (1, 512))
    images = torch.rand(2, 1, 28, 28)
    assert kinds({"image": images}).shape == (2, 3)
    ill.load_state_dict(
        {name: value[1:2] if name.startswith("layers.3") else value for name, value in kinds.state_dict().items()}
    )
    torch.testing.assert_close(ill({"image": images}), kinds({"image": images})[:, 1])
