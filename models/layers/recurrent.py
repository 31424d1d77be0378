"""Recurrent layers of linear layers, unrolled over time, so that every patient's gradient is seen.

Rules:

* a step that is not present leaves the state as it was. So padding after the last step changes nothing, and a series
  that is turned round in time may begin with padding;
* the first state is zero, unless it is given;
* all steps go into the layer in one call of a linear layer; what comes from the state is one call a step.
"""

import torch
from torch import nn

_FORGET: float = 1.0
"""Added to a forget gate's input, so that a new memory keeps its content (Jozefowicz et al. 2015)."""


class PlainUnits(nn.Module):
    """Plain recurrent units: ``state = tanh(W step + U state + b)``.

    Source: Elman 1990, Finding structure in time, Cognitive Science 14:179-211.

    Args:
        inputs: how many numbers a step has.
        width: how many units.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.input = nn.Linear(inputs, width)
        self.state = nn.Linear(width, width, bias=False)
        self._width = width

    def forward(self, series: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return the state after every step; (records, time, width).

        Args:
            series: (records, time, inputs).
            present: (records, time), which steps there are.
        """
        states: list[torch.Tensor] = []
        state = series.new_zeros(series.shape[0], self._width)
        for step, here in zip(self.input(series).unbind(1), present.unsqueeze(2).unbind(1), strict=True):
            state = torch.where(here, torch.tanh(step + self.state(state)), state)
            states.append(state)
        return torch.stack(states, dim=1)


class GatedUnits(nn.Module):
    """Gated recurrent units (GRU).

    Source: Cho et al. 2014 (arXiv 1406.1078), equations 5 to 8: the reset gate is applied to the state, before the
    matrix. torch's GRU applies it after the matrix and has a second bias.

    Args:
        inputs: how many numbers a step has.
        width: how many units.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.input = nn.Linear(inputs, 3 * width)  # update gate, reset gate, candidate
        self.gates = nn.Linear(width, 2 * width, bias=False)
        self.candidate = nn.Linear(width, width, bias=False)
        self._width = width

    def forward(
        self,
        series: torch.Tensor,
        present: torch.Tensor,
        decay: torch.Tensor | None = None,
        first: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the state after every step; (records, time, width).

        Args:
            series: (records, time, inputs).
            present: (records, time), which steps there are.
            decay: (records, time, width), by which the state is multiplied before a step.
            first: the state before the first step, (records, width).
        """
        states: list[torch.Tensor] = []
        state = series.new_zeros(series.shape[0], self._width) if first is None else first
        steps = self.input(series).split([2 * self._width, self._width], dim=2)
        to_gates, to_candidate = (part.unbind(1) for part in steps)
        decays = None if decay is None else decay.unbind(1)
        for step, here in enumerate(present.unsqueeze(2).unbind(1)):  # (records, 1)
            before = state if decays is None else decays[step] * state
            update, reset = torch.sigmoid(to_gates[step] + self.gates(before)).chunk(2, dim=1)
            candidate = torch.tanh(to_candidate[step] + self.candidate(reset * before))
            state = torch.where(here, torch.lerp(candidate, before, update), state)
            states.append(state)
        return torch.stack(states, dim=1)


class LongShortTermMemory(nn.Module):
    """Long short-term memory (LSTM) with a forget gate and without peepholes.

    Source: Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000 for the forget gate.

    Args:
        inputs: how many numbers a step has.
        width: how many units.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.input = nn.Linear(inputs, 4 * width)  # input, forget and output gate, candidate
        self.state = nn.Linear(width, 4 * width, bias=False)
        self._width = width

    def forward(self, series: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return the state after every step; (records, time, width).

        Args:
            series: (records, time, inputs).
            present: (records, time), which steps there are.
        """
        states: list[torch.Tensor] = []
        state = memory = series.new_zeros(series.shape[0], self._width)
        for step, here in zip(self.input(series).unbind(1), present.unsqueeze(2).unbind(1), strict=True):
            new_state, new_memory = self.advance(step, state, memory)
            memory = torch.where(here, new_memory, memory)
            state = torch.where(here, new_state, state)
            states.append(state)
        return torch.stack(states, dim=1)

    def advance(
        self, entered: torch.Tensor, state: torch.Tensor, memory: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return state and memory after one step; (records, width) each.

        Args:
            entered: what ``input`` makes of the step, (records, 4 * width).
            state: before the step, (records, width).
            memory: before the step, (records, width).
        """
        enter, keep, leave, candidate = (entered + self.state(state)).chunk(4, dim=1)
        memory = torch.sigmoid(keep + _FORGET) * memory + torch.sigmoid(enter) * torch.tanh(candidate)
        return torch.sigmoid(leave) * torch.tanh(memory), memory


def read_both_ways(
    onward: nn.Module, back: nn.Module, series: torch.Tensor, present: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the states of two layers side by side, of which ``back`` begins at the end; (records, time, 2 * width).

    Args:
        onward: a layer of this file.
        back: another one, of the same width.
        series: (records, time, inputs).
        present: (records, time), which steps there are; None: all of them.
    """
    if present is None:
        present = torch.ones_like(series[:, :, 0], dtype=torch.bool)
    return torch.cat([onward(series, present), back(series.flip(1), present.flip(1)).flip(1)], dim=2)


def take_last_of_both(states: torch.Tensor) -> torch.Tensor:
    """Return where both ways of :func:`read_both_ways` end; (records, time, 2 * width) -> (records, 2 * width).

    The way onward ends at the last step, the way back at the first one.
    """
    width = states.shape[2] // 2
    return torch.cat([states[:, -1, :width], states[:, 0, width:]], dim=1)


def take_last_state(states: torch.Tensor) -> torch.Tensor:
    """Return the state after the last present step, zero if there is none; (records, time, width) -> (records, width).

    Steps that are not present keep the state, so it is the state at the end.
    """
    return states[:, -1]
