"""A recurrent network over a record's steps: plain, gated or with long short-term memory, in one or two directions.

::

    step    = [values, which of them were measured]
    states  = one or more recurrent layers; in two directions, those of both side by side
    outputs = a linear layer on the last states: forwards that of the last step, backwards that of the first one

Missing values are zero and flagged. Nothing else of time enters: where it passes unevenly, see ``gru-d``.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs
from models.layers.recurrent import (
    GatedUnits,
    LongShortTermMemory,
    PlainUnits,
    read_both_ways,
    take_last_of_both,
    take_last_state,
)

_CELLS: Final[dict[str, type[PlainUnits | GatedUnits | LongShortTermMemory]]] = {
    "rnn": PlainUnits,
    "gru": GatedUnits,
    "lstm": LongShortTermMemory,
}


class RecurrentOptions(Options):
    """The options of ``recurrent``.

    Attributes:
        cell: ``rnn`` of plain units, ``gru`` of gated units, ``lstm`` with long short-term memory.
        widths: units of each layer, in each direction, lowest first.
        directions: 2 also reads from the last step to the first one.
        dropout: in training, of each layer's states.
    """

    cell: Literal["rnn", "gru", "lstm"] = "lstm"
    widths: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(default=(64,), min_length=1, max_length=4)
    directions: Literal[1, 2] = 1
    dropout: float = Field(default=0.0, ge=0, le=0.95)


class RecurrentLayer(nn.Module):
    """One cell over the steps, or two, of which the second one reads backwards."""

    def __init__(self, options: RecurrentOptions, inputs: int, width: int) -> None:
        super().__init__()
        cell = _CELLS[options.cell]
        self.forwards = cell(inputs, width)
        self.backwards = cell(inputs, width) if options.directions == 2 else None

    def forward(self, series: torch.Tensor, present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the states of every step, (records, time, directions * width), and the last of each direction.

        The last states are side by side, (records, directions * width).
        """
        if self.backwards is None:
            states: torch.Tensor = self.forwards(series, present)
            return states, take_last_state(states)
        states = read_both_ways(self.forwards, self.backwards, series, present)
        return states, take_last_of_both(states)


class Recurrent(nn.Module):
    """Recurrent layers and a linear layer on the last states of the highest one."""

    def __init__(self, options: RecurrentOptions, variables: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        below = 2 * variables
        self.layers = nn.ModuleList()
        for width in options.widths:
            self.layers.append(RecurrentLayer(options, below, width))
            below = options.directions * width
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(below, count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs after all present steps; (records, *outputs)."""
        present = inputs["present"]
        observed = inputs["observed"] & present.unsqueeze(2)  # (records, time, variables)
        values = inputs["values"].masked_fill(~observed, 0.0)
        series = last = torch.cat([values, observed.to(values)], dim=2)
        for layer in self.layers:
            series, last = layer(series, present)
            series = self.dropout(series)
        return shape_outputs(self.head(self.dropout(last)), self._outputs)


def build(options: RecurrentOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Recurrent:
    """Build the network for series of ``sizes["variables"]`` variables."""
    return Recurrent(options, sizes["variables"], outputs)


MODEL: Final = ModelEntry(
    title="Recurrent network: plain, gated or with long short-term memory",
    domain="longitudinal",
    options=RecurrentOptions,
    build=build,
    tasks=("binary", "multiclass", "ordinal", "multilabel", "regression", "survival"),
    inputs=(
        Input(
            "values", "number", ("time", "variables"), "measurements, 0 where missing; the middle of a range is 0"
        ),
        Input("observed", "flag", ("time", "variables"), "which variables were measured in a step"),
        Input("present", "flag", ("time",), "which steps exist: the first ones"),
    ),
    citation="Hochreiter and Schmidhuber 1997, Long short-term memory, Neural Computation 9:1735-1780; gated units: "
    "Cho et al. 2014, Learning phrase representations using RNN encoder-decoder for statistical machine translation, "
    "arXiv:1406.1078; two directions: Schuster and Paliwal 1997, Bidirectional recurrent neural networks, IEEE "
    "Transactions on Signal Processing 45:2673-2681",
    presets={
        "paper": RecurrentOptions(),
        "gated": RecurrentOptions(cell="gru", directions=2),
        "plain": RecurrentOptions(cell="rnn"),
        "small": RecurrentOptions(cell="gru", widths=(6,), directions=2),
    },
    counts=(
        Count("paper", {"time": 48, "variables": 33}, (), 33_601),
        Count("gated", {"time": 48, "variables": 33}, (), 50_433),
        Count("plain", {"time": 48, "variables": 33}, (), 8_449),
        Count("small", {"time": 6, "variables": 4}, (), 553),
    ),
    example={"time": 6, "variables": 4},
    replaced=(
        Replacement(
            paper="one long series, cut into pieces whose last state begins the next one",
            here="every record begins with the state zero",
            why="a state that outlives a record would carry one patient's values into the step of another",
        ),
    ),
)
