from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from models.layers.recurrent import (
    GatedUnits,
    LongShortTermMemory,
    PlainUnits,
    read_both_ways,
    take_last_of_both,
    take_last_state,
)

INPUTS, WIDTH, TIME = 3, 4, 5


def _sigmoid(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-value))


@pytest.fixture(autouse=True)
def _same_numbers_in_every_run() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_gated_units_follow_the_equations() -> None:
    layer = GatedUnits(INPUTS, WIDTH)
    series, decay = torch.randn(1, TIME, INPUTS), torch.rand(1, TIME, WIDTH)
    found = layer(series, torch.ones(1, TIME, dtype=torch.bool), decay)[0].detach().numpy()
    into, bias = layer.input.weight.detach().numpy(), layer.input.bias.detach().numpy()
    gates, candidate = layer.gates.weight.detach().numpy(), layer.candidate.weight.detach().numpy()
    state = np.zeros(WIDTH)
    for step in range(TIME):
        state = state * decay[0, step].numpy()
        update, reset, new = (into @ series[0, step].numpy() + bias).reshape(3, WIDTH)
        update = _sigmoid(update + gates[:WIDTH] @ state)
        reset = _sigmoid(reset + gates[WIDTH:] @ state)
        new = np.tanh(new + candidate @ (reset * state))
        state = update * state + (1 - update) * new
        np.testing.assert_allclose(found[step], state, atol=1e-6)


def _copy_memory(layer: LongShortTermMemory, theirs: Any, ending: str = "") -> None:
    """Give torch's layer the same weights; its gates are in another order, and its forget bias is written out."""
    order = torch.arange(4 * WIDTH).view(4, WIDTH)[[0, 1, 3, 2]].flatten()  # torch: input, forget, cell, output
    with torch.no_grad():
        getattr(theirs, f"weight_ih_l0{ending}").copy_(layer.input.weight[order])
        getattr(theirs, f"weight_hh_l0{ending}").copy_(layer.state.weight[order])
        getattr(theirs, f"bias_ih_l0{ending}").copy_(layer.input.bias[order])
        getattr(theirs, f"bias_hh_l0{ending}").zero_()[WIDTH : 2 * WIDTH] = 1.0


def test_long_short_term_memory_is_that_of_torch_with_a_forget_bias_of_one() -> None:
    layer = LongShortTermMemory(INPUTS, WIDTH)
    theirs: Any = nn.LSTM(INPUTS, WIDTH, batch_first=True)
    _copy_memory(layer, theirs)
    series = torch.randn(2, TIME, INPUTS)
    torch.testing.assert_close(layer(series, torch.ones(2, TIME, dtype=torch.bool)), theirs(series)[0])


def test_both_ways_are_those_of_torch_in_two_directions() -> None:
    onward, back = LongShortTermMemory(INPUTS, WIDTH), LongShortTermMemory(INPUTS, WIDTH)
    theirs: Any = nn.LSTM(INPUTS, WIDTH, batch_first=True, bidirectional=True)
    _copy_memory(onward, theirs)
    _copy_memory(back, theirs, "_reverse")
    series = torch.randn(2, TIME, INPUTS)
    states, (last, _) = theirs(series)
    found = read_both_ways(onward, back, series)
    torch.testing.assert_close(found, states)
    torch.testing.assert_close(take_last_of_both(found), torch.cat([last[0], last[1]], dim=1))


def test_padding_changes_neither_way() -> None:
    onward, back, series = GatedUnits(INPUTS, WIDTH), GatedUnits(INPUTS, WIDTH), torch.randn(1, TIME, INPUTS)
    padded = read_both_ways(onward, back, series, torch.arange(TIME).unsqueeze(0) < 3)
    short = read_both_ways(onward, back, series[:, :3])
    torch.testing.assert_close(padded[:, :3], short)
    torch.testing.assert_close(take_last_of_both(padded), take_last_of_both(short))


def test_plain_units_are_those_of_torch() -> None:
    layer = PlainUnits(INPUTS, WIDTH)
    theirs: Any = nn.RNN(INPUTS, WIDTH, batch_first=True)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(layer.input.weight)
        theirs.weight_hh_l0.copy_(layer.state.weight)
        theirs.bias_ih_l0.copy_(layer.input.bias)
        theirs.bias_hh_l0.zero_()
    series = torch.randn(2, TIME, INPUTS)
    torch.testing.assert_close(layer(series, torch.ones(2, TIME, dtype=torch.bool)), theirs(series)[0])


@pytest.mark.parametrize("kind", [PlainUnits, GatedUnits, LongShortTermMemory])
def test_steps_that_are_not_present_leave_the_state_as_it_was(
    kind: type[PlainUnits | GatedUnits | LongShortTermMemory],
) -> None:
    layer, series = kind(INPUTS, WIDTH), torch.randn(1, TIME, INPUTS)
    states = layer(series, torch.tensor([[False, True, False, True, False]]))
    short = layer(series[:, [1, 3]], torch.ones(1, 2, dtype=torch.bool))
    assert not states[:, 0].any()
    torch.testing.assert_close(states[:, [1, 3]], short)
    assert torch.equal(states[:, 2], states[:, 1])
    assert torch.equal(take_last_state(states), states[:, 3])
