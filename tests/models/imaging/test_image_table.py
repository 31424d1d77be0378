from typing import cast

import pytest
import torch
from torch import nn

from models.errors import ModelError
from models.imaging.image_table import MODEL, ImageTableOptions, build
from models.layers.fusion import IntermediateFusion, LateFusion

PAPER = cast(ImageTableOptions, MODEL.presets["paper"])

SIZES = {"channels": 1, "height": 16, "width": 16, "features": 6}
OPTIONS = {
    "intermediate": ImageTableOptions(filters=(4, 8), units=(8, 6), hidden=5),
    "intermediate, no hidden layer": ImageTableOptions(filters=(4, 8), units=(8, 6), hidden=0),
    "late, mean": ImageTableOptions(filters=(4, 8), units=(8, 6), fusion="late"),
    "late, layer": ImageTableOptions(filters=(4, 8), units=(8, 6), fusion="late", rule="layer"),
}
ENCODERS = (9 * 4 + 4 + 8) + (9 * 4 * 8 + 8 + 16) + (6 * 8 + 8) + (8 * 6 + 6)  # with the norms' weights and biases


def draw(records: int) -> dict[str, torch.Tensor]:
    return {"image": torch.rand(records, 1, 16, 16), "features": torch.rand(records, 6)}


@pytest.mark.parametrize(
    ("fusion", "rest"),
    [
        ("intermediate", (14 * 5 + 5) + (5 * 3 + 3)),
        ("intermediate, no hidden layer", 14 * 3 + 3),
        ("late, mean", (8 * 3 + 3) + (6 * 3 + 3)),
        ("late, layer", (8 * 3 + 3) + (6 * 3 + 3) + (6 * 3 + 3)),
    ],
)
def test_fusion_adds_the_counted_parameters(fusion: str, rest: int) -> None:
    module = build(OPTIONS[fusion], SIZES, (3,))
    assert sum(each.numel() for each in module.parameters()) == ENCODERS + rest


@pytest.mark.parametrize("fusion", OPTIONS)
@pytest.mark.parametrize("outputs", [(), (3,)])
def test_outputs_come_from_each_record_alone_and_from_both_inputs(fusion: str, outputs: tuple[int, ...]) -> None:
    module, inputs = build(OPTIONS[fusion], SIZES, outputs), draw(4)
    together = module(inputs)
    assert together.shape == (4, *outputs)
    alone = [module({name: each[one : one + 1] for name, each in inputs.items()}) for one in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))
    for name in inputs:
        other = module(inputs | {name: draw(4)[name]})
        assert (
            not torch.isclose(other, together).flatten(1).all(1).any()
            if outputs
            else not torch.isclose(other, together).any()
        )


def test_late_mean_is_the_mean_of_two_whole_networks() -> None:
    module, inputs = build(OPTIONS["late, mean"], SIZES, (3,)), draw(4)
    assert isinstance(module.fusion, LateFusion)
    image, table = (module.fusion.branches[name](inputs[name]) for name in ("image", "features"))
    torch.testing.assert_close(module(inputs), (image + table) / 2)


def test_intermediate_head_reads_the_features_in_the_order_of_the_inputs() -> None:
    image, table = nn.Linear(2, 2), nn.Linear(3, 1)
    head = nn.Linear(3, 2)
    fusion = IntermediateFusion({"image": image, "features": table}, head)
    inputs = {"features": torch.rand(4, 3), "image": torch.rand(4, 2)}
    by_hand = (
        image(inputs["image"]) @ head.weight[:, :2].T + table(inputs["features"]) @ head.weight[:, 2:].T + head.bias
    )
    torch.testing.assert_close(fusion(inputs), by_hand)


def test_table_alone_decides_when_the_head_ignores_the_image() -> None:
    module = build(OPTIONS["intermediate, no hidden layer"], SIZES, ())
    assert isinstance(module.fusion, IntermediateFusion)
    with torch.no_grad():
        module.fusion.head[0].weight[:, :8] = 0  # type: ignore[index]
    inputs = draw(4)
    torch.testing.assert_close(module(inputs), module(inputs | {"image": draw(4)["image"]}))


def test_image_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ModelError, match="'image-table' with 3 blocks expects a width of at least 8, got 7"):
        build(PAPER, SIZES | {"width": 7}, ())
