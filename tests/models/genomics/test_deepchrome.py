import pytest
import torch
from torch import nn

from models.entry import Count
from models.errors import ModelError
from models.genomics.deepchrome import MODEL, DeepChromeOptions, build
from tests.models.counting import count_parameters


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: f"{count.preset}{count.outputs}")
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_shapes_are_those_of_the_paper() -> None:
    network = build(DeepChromeOptions(), {"marks": 5, "bins": 100}, (2,))
    values, shapes = torch.zeros(3, 5, 100), []
    for layer in network.layers:
        values = layer(values)
        if isinstance(layer, nn.Conv1d | nn.MaxPool1d | nn.Flatten | nn.Linear):
            shapes.append(tuple(values.shape[1:]))
    assert shapes == [(50, 91), (50, 18), (900,), (625,), (125,), (2,)]


def test_fewer_bins_than_a_filter_and_a_pool_need_are_refused() -> None:
    assert build(DeepChromeOptions(), {"marks": 5, "bins": 14}, ())({"signals": torch.zeros(2, 5, 14)}).shape == (
        2,
    )
    with pytest.raises(ModelError, match="at least 14 bins for a kernel of 10 and a pool of 5; the data have 13"):
        build(DeepChromeOptions(), {"marks": 5, "bins": 13}, ())
