"""GRU-D: gated recurrent units for measurements that are taken at irregular times, where missingness tells something.

Two decays act as time passes without a measurement: of a variable's last value, towards its middle value, and of the
state, towards zero (Che et al. 2018)::

    decay     = exp(-softplus(w gap + b))                      one for each variable; for the state a full matrix
    value     = observed value, or decay * last value + (1 - decay) * middle value
    state     = decay_of_state * state
    state     = one step of gated units, whose inputs are the values and which of them were observed

Rules:

* ``values`` are from -1 to 1, and 0 is a variable's public middle value. A tensor has one range in the contract, so
  whoever makes the file scales each variable by its own public range first;
* a variable without any value so far counts as its middle value;
* what stands in ``values`` where nothing was observed does not matter.
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs
from models.layers.recurrent import GatedUnits, take_last_state

_SHARPNESS: Final = 10.0
"""Of the softplus: it differs from the paper's rectifier by at most log(2) / 10 = 0.07."""


class GruDOptions(Options):
    """The options of ``gru-d``: units, and the part of the last state that dropout sets to zero in training.

    ``width`` is the paper's for the 33 variables of PhysioNet 2012.
    """

    width: int = Field(default=49, ge=1, le=4096)
    dropout: float = Field(default=0.3, ge=0, le=0.95)


class GruD(nn.Module):
    """Decays, gated units over the steps, and a linear layer on the last state."""

    def __init__(self, options: GruDOptions, variables: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.state_decay = nn.Linear(variables, options.width)
        # after a matrix, whose number of inputs scales the first values of both
        self.value_decay = DiagonalLinear(variables)
        self.units = GatedUnits(2 * variables, options.width)
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(options.width, count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs after the last present step; (records, *outputs)."""
        present, gaps = inputs["present"], inputs["gaps"]
        observed = inputs["observed"] & present.unsqueeze(2)  # (records, time, variables)
        faded = compute_decay(self.value_decay(gaps)) * carry_forward(inputs["values"], observed)
        values = torch.where(observed, inputs["values"], faded)
        series = torch.cat([values, observed.to(values)], dim=2)  # (records, time, 2 * variables)
        states = self.units(series, present, compute_decay(self.state_decay(gaps)))
        return shape_outputs(self.head(self.dropout(take_last_state(states))), self._outputs)


class DiagonalLinear(nn.Module):
    """``w x + b`` with one weight and one bias for each variable."""

    def __init__(self, variables: int) -> None:
        super().__init__()
        # a study draws other values; these are finite and not all zero, which the engine's self-test needs
        self.weight = nn.Parameter(torch.ones(variables))
        self.bias = nn.Parameter(torch.zeros(variables))

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return (..., variables) of ``numbers`` (..., variables)."""
        return numbers * self.weight + self.bias


def compute_decay(rate: torch.Tensor) -> torch.Tensor:
    """Return ``exp(-softplus(rate))``, between 0 and 1, as the paper's ``exp(-max(0, rate))`` but smooth."""
    return torch.exp(-functional.softplus(rate, beta=_SHARPNESS))


def carry_forward(values: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """Return each variable's last observed value at every step, 0 before the first; (records, time, variables)."""
    steps = torch.arange(values.shape[1], device=values.device)[:, None]  # (time, 1)
    last = torch.where(observed, steps, -1).cummax(dim=1).values
    return values.gather(1, last.clamp(min=0)).masked_fill(last < 0, 0.0)


def build(options: GruDOptions, sizes: Sizes, outputs: tuple[int, ...]) -> GruD:
    """Build GRU-D for series of ``sizes["variables"]`` variables."""
    return GruD(options, sizes["variables"], outputs)


MODEL: Final = ModelEntry(
    title="GRU-D, for series with missing values",
    domain="records",
    options=GruDOptions,
    build=build,
    tasks=("binary", "multiclass", "ordinal", "multilabel", "regression", "survival"),
    inputs=(
        Input(
            "values", "number", ("time", "variables"), "measurements, 0 where missing; the middle of a range is 0"
        ),
        Input("observed", "flag", ("time", "variables"), "which variables were measured in a step"),
        Input("gaps", "number", ("time", "variables"), "time since a variable's last measurement, scaled"),
        Input("present", "flag", ("time",), "which steps exist: the first ones"),
    ),
    citation="Che, Purushotham, Cho, Sontag and Liu 2018, Recurrent Neural Networks for Multivariate Time Series with "
    "Missing Values, Scientific Reports 8:6085",
    repository="https://github.com/PeterChe1990/GRU-D",
    presets={"paper": GruDOptions(), "small": GruDOptions(width=8, dropout=0.0)},
    counts=(
        Count("paper", {"time": 48, "variables": 33}, (), 18_834),
        Count("small", {"time": 6, "variables": 4}, (), 465),
    ),
    example={"time": 6, "variables": 4},
    replaced=(
        Replacement(
            paper="missing values decay to the mean of the training patients",
            here="to the middle of the variable's range in the contract",
            why="means of patients are private; a public middle value costs nothing",
        ),
        Replacement(
            paper="batch normalisation",
            here="none",
            why="no layer may mix records; a gated state stays between -1 and 1 without it",
        ),
        Replacement(
            paper="decays exp(-max(0, w gap + b))",
            here="exp(-softplus(w gap + b)), at most 0.07 away in the exponent",
            why="a decay of 1 has no gradient under the rectifier and could never be learned again; smooth gradients "
            "vary less in length",
        ),
    ),
)
