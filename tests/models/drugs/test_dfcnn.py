import pytest
import torch

from models.drugs.dfcnn import MODEL, DfcnnOptions, build
from models.entry import Count
from tests.models.counting import count_parameters

SIZES = {"compound_numbers": 3, "protein_numbers": 2}


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_parameters_are_those_of_layers_that_widen_by_a_hundred() -> None:
    assert sum((600 + 100 * place + 1) * 100 for place in range(6)) + 1201 == MODEL.counts[0].parameters


def test_every_layer_and_the_head_read_all_before_them() -> None:
    torch.manual_seed(0)
    network = build(DfcnnOptions(width=2, layers=3, dropout=0.0), SIZES, ()).double()
    compound, protein = torch.rand(4, 3, dtype=torch.float64), torch.rand(4, 2, dtype=torch.float64)
    known = [*compound.T, *protein.T]
    for layer in network.layers:
        assert isinstance(layer, torch.nn.Linear)
        sums = [
            sum(w * each for w, each in zip(row, known, strict=True)) + bias
            for row, bias in zip(layer.weight, layer.bias, strict=True)
        ]
        known += [torch.where(each > 0, each, each.exp() - 1) for each in sums]
    want = sum(w * each for w, each in zip(network.head.weight[0], known, strict=True)) + network.head.bias
    torch.testing.assert_close(network({"compound": compound, "protein": protein}), want)


def test_protein_reaches_the_outputs_past_layers_that_say_nothing() -> None:
    network = build(DfcnnOptions(width=2, layers=2, dropout=0.0), SIZES, ())
    with torch.no_grad():
        for layer in network.layers:
            assert isinstance(layer, torch.nn.Linear)
            layer.weight.zero_()
    compound = torch.zeros(2, 3)
    found = network({"compound": compound, "protein": torch.tensor([[0.0, 0.0], [1.0, 1.0]])})
    assert not torch.isclose(found[0], found[1])


def test_score_of_a_compound_does_not_depend_on_the_other_candidates() -> None:
    network = MODEL.build(MODEL.presets["small"], MODEL.example, ()).train()
    inputs = {"compound": torch.rand(6, 12), "protein": torch.rand(6, 10)}
    alone = network({name: values[2:3] for name, values in inputs.items()})
    torch.testing.assert_close(network(inputs)[2:3], alone)
