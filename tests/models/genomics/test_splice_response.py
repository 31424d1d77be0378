from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import nn

from models.entry import Count
from models.errors import ModelError
from models.genomics.splice_response import MODEL, SpliceResponseOptions, build
from tests.models.counting import count_parameters


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_shapes_are_those_of_four_junctions() -> None:
    options = SpliceResponseOptions(filters=3, hidden=4)
    network = build(options, {"bases": 400}, (3,))
    values, shapes = torch.zeros(2, 4, 400), []
    for layer in network.layers:
        values = layer(values)
        if isinstance(layer, nn.Conv1d | nn.MaxPool1d):
            shapes.append(values.shape[2])
    assert shapes == [396, 198, 197, 98]
    assert values.shape == (2, 3)


def test_norms_of_the_paper_have_as_many_parameters_as_those_in_their_place() -> None:
    """Two numbers for each of 50 and 50 filters and 500 units."""
    counts = [
        sum(each.numel() for each in build(SpliceResponseOptions(norm=norm), {"bases": 400}, (3,)).parameters())
        for norm in ("group", "none")
    ]
    assert counts[0] - counts[1] == 2 * (50 + 50 + 500)


@torch.no_grad()
def test_convolutions_and_pools_are_those_of_a_loop() -> None:
    torch.manual_seed(0)
    options = SpliceResponseOptions(filters=3, kernels=(3, 2), hidden=5, norm="none", dropout=0.0)
    network = build(options, {"bases": 15}, (3,)).eval()
    sequence = torch.rand(4, 15)
    layers: Iterable[Any] = network.layers
    first, second, hidden, last = (each for each in layers if hasattr(each, "weight"))
    values = sequence
    for layer, kernel in ((first, 3), (second, 2)):
        places = range(values.shape[1] - kernel + 1)
        maps = torch.stack(
            [(layer.weight * values[:, at : at + kernel]).sum((1, 2)) + layer.bias for at in places], dim=1
        ).relu()
        pairs = range(maps.shape[1] // 2)
        values = torch.stack([torch.maximum(maps[:, 2 * at], maps[:, 2 * at + 1]) for at in pairs], dim=1)
    expected = last.weight @ (hidden.weight @ values.flatten() + hidden.bias).relu() + last.bias
    torch.testing.assert_close(network({"sequence": sequence[None]})[0], expected)


def test_fewer_letters_than_the_convolutions_need_are_refused() -> None:
    build(SpliceResponseOptions(), {"bases": 10}, ())
    with pytest.raises(
        ModelError, match="at least 10 places for kernels of 5, 2 and pools of 2, 2; the data have 9"
    ):
        build(SpliceResponseOptions(), {"bases": 9}, ())
