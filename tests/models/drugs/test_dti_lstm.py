import math

import pytest
import torch

from models.drugs.dti_lstm import MODEL, DtiLstmOptions, build
from models.entry import Count
from tests.models.counting import count_parameters


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_parameters_are_those_of_torchs_layers_less_their_second_biases() -> None:
    memory = torch.nn.LSTM(100, 64, num_layers=2, device="meta")
    torchs = sum(value.numel() for value in memory.parameters()) + 2 * 64 + 2
    assert torchs == 75_906
    assert MODEL.counts[0].parameters == torchs - 2 * 4 * 64


def test_outputs_are_those_of_the_equations() -> None:
    """One cell of one layer, twice: gates, memory and state by hand."""
    torch.manual_seed(0)
    network = build(DtiLstmOptions(width=1, layers=1, dropout=0.0), {"numbers": 2}, ())
    own = {name: value.detach().flatten().tolist() for name, value in network.named_parameters()}
    weight, bias, back = (own[f"memories.0.{name}"] for name in ("input.weight", "input.bias", "state.weight"))
    steps, state, memory = [[0.3, -0.7], [0.9, 0.2]], 0.0, 0.0
    for first, second in steps:
        enter, keep, leave, candidate = (
            weight[2 * gate] * first + weight[2 * gate + 1] * second + bias[gate] + back[gate] * state
            for gate in range(4)
        )
        memory = memory / (1 + math.exp(-keep - 1)) + math.tanh(candidate) / (1 + math.exp(-enter))
        state = math.tanh(memory) / (1 + math.exp(-leave))
    found = network({"compound": torch.tensor([steps[0]]), "protein": torch.tensor([steps[1]])})
    assert found.item() == pytest.approx(own["head.weight"][0] * state + own["head.bias"][0], rel=1e-5)


def test_compound_is_read_before_the_protein() -> None:
    torch.manual_seed(0)
    network = MODEL.build(MODEL.presets["small"], MODEL.example, (2,))
    first, second = torch.rand(3, 12), torch.rand(3, 12)
    one, other = ({"compound": first, "protein": second}, {"compound": second, "protein": first})
    assert network(one).shape == (3, 2)
    assert not torch.allclose(network(one), network(other))
