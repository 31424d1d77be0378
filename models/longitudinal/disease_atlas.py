"""Disease-Atlas: trajectories of measurements and the time to events, jointly, from one memory of the visits.

::

    state_t     = long short-term memory over the visits: values, which were measured, the time since the visit before
    numbers     = mean and deviation of every variable at a later visit, from [state_t, time until then]
    yes or no   = the logit of every such variable at a later visit, likewise
    rate_k(i)   = softplus of a small network of [state of the last visit, time until the middle of interval i]
    outputs     = log of the probability of cause k in interval i, and of later than all

Within an interval a cause's rate is constant, so that what is left of the patients falls exponentially::

    left before i            = exp(-sum over earlier intervals of all rates)
    probability of k in i    = left before i * (1 - exp(-sum_k rate_k(i))) * rate_k(i) / sum_k rate_k(i)

These probabilities sum to one, so the loss of the task ``survival`` is the exponential model's likelihood of a time
that is known to an interval. The own loss is the trajectories': minus the log of the likelihood of what later visits
measured, the mean over every pair of a visit and a later one.

Rules:

* time counts from the last visit that the model is given; a visit's own time is the smallest gap, as in
  ``dynamic_deephit.py``;
* one dropout mask of a record serves all its visits (variational dropout);
* variables that are yes or no are the last ones, and yes is above the middle of the range.
"""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.errors import ModelError
from models.layers.heads import count_intervals
from models.layers.recurrent import LongShortTermMemory, take_last_state

_WIDEST: Final = 3.0
"""Of the logarithm of a deviation, both ways; values are from -1 to 1."""
_LEAST_RATE: Final = 1e-4
"""Of an interval: the logarithm of a rate stays finite."""


class DiseaseAtlasOptions(Options):
    """The options of ``disease-atlas``.

    Attributes:
        causes: as many as the task has.
        yes_or_no: how many of the variables, the last ones, are yes or no.
        memory: units of the memory over the visits.
        hidden: of each kind of output's layer.
        dropout: in training, of the visits' numbers and of the states.
        trajectory_loss: the weight of the own loss.
    """

    causes: int = Field(default=2, ge=1, le=10)
    yes_or_no: int = Field(default=0, ge=0, le=10_000)
    memory: int = Field(default=64, ge=1, le=4096)
    hidden: int = Field(default=32, ge=1, le=4096)
    dropout: float = Field(default=0.3, ge=0, le=0.95)
    trajectory_loss: float = Field(default=1.0, gt=0, le=1000)


class DiseaseAtlas(nn.Module):
    """A memory that all outputs share, and two layers for each kind of output."""

    middles: torch.Tensor

    def __init__(self, options: DiseaseAtlasOptions, variables: int, intervals: int) -> None:
        super().__init__()
        self._numbers = variables - options.yes_or_no
        self.memory = LongShortTermMemory(1 + 2 * variables, options.memory)
        self.events = _make_head(options, options.causes)
        self.numbers = _make_head(options, 2 * self._numbers) if self._numbers else None
        self.answers = _make_head(options, options.yes_or_no) if options.yes_or_no else None
        self.dropout = nn.Dropout(options.dropout)
        self._trajectory_loss = options.trajectory_loss
        # so many middles of intervals, in parts of the whole range
        self.register_buffer("middles", (torch.arange(intervals) + 0.5) / intervals, persistent=False)
        # first rates under which one event is expected within the whole range
        self._offset = math.log(math.expm1(1 / (intervals * options.causes)))

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``outputs``, (records, causes * intervals + 1), and ``own_loss`` of the trajectories, (records,)."""
        read = self._read(inputs)
        return {
            "outputs": compute_log_probabilities(self._compute_rates(take_last_state(read.states))),
            "own_loss": self._trajectory_loss * self._compute_trajectory_loss(read),
        }

    def _read(self, inputs: Mapping[str, torch.Tensor]) -> "_Visits":
        present = inputs["present"]
        observed = inputs["observed"] & present.unsqueeze(2)  # (records, time, variables)
        values = inputs["values"].masked_fill(~observed, 0.0)
        waited = inputs["gaps"].amin(2, keepdim=True).masked_fill(~present.unsqueeze(2), 0.0)
        visits = torch.cat([waited, values, observed.to(values)], dim=2)  # (records, time, 1 + 2 * variables)
        states = self._drop(self.memory(self._drop(visits), present))
        return _Visits(values, observed, waited.squeeze(2).cumsum(1), states)

    def _drop(self, series: torch.Tensor) -> torch.Tensor:
        """Drop the same of the last axis at all visits of a record; (records, time, numbers) both."""
        mask: torch.Tensor = self.dropout(torch.ones_like(series[:, :1]))
        return series * mask

    def _compute_rates(self, state: torch.Tensor) -> torch.Tensor:
        """Compute the rate of each cause in each interval; (records, memory) -> (records, causes, intervals)."""
        records, intervals = state.shape[0], self.middles.shape[0]
        middles = self.middles.expand(records, intervals).unsqueeze(2)
        at = torch.cat([state.unsqueeze(1).expand(-1, intervals, -1), middles], dim=2)
        return (functional.softplus(self.events(at) + self._offset) + _LEAST_RATE).transpose(1, 2)

    def _compute_trajectory_loss(self, read: "_Visits") -> torch.Tensor:
        """Compute the mean loss of all that was measured at a visit, predicted at each visit before; (records,)."""
        times, steps = read.times, read.times.shape[1]
        ahead = times.unsqueeze(1) - times.unsqueeze(2)  # (records, from, to)
        later = torch.ones(steps, steps, dtype=torch.bool, device=times.device).triu(1)
        at = torch.cat([read.states.unsqueeze(2).expand(-1, -1, steps, -1), ahead.unsqueeze(3)], dim=3)
        counted = later[None, :, :, None] & read.observed.unsqueeze(1)  # (records, from, to, variables)
        losses = self._compute_losses(at, read.values.unsqueeze(1)).masked_fill(~counted, 0.0)
        return losses.sum((1, 2, 3)) / counted.sum((1, 2, 3)).clamp(min=1)

    def _compute_losses(self, at: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Compute the loss of every value; ``at`` (records, from, to, memory + 1) -> (records, from, to, variables)."""
        losses = []
        if self.numbers is not None:
            mean, deviation = self.numbers(at).chunk(2, dim=3)
            losses.append(compute_normal_loss(mean, deviation, values[..., : self._numbers]))
        if self.answers is not None:
            said = self.answers(at)
            answers = (values[..., self._numbers :] > 0).to(said).expand_as(said)
            losses.append(functional.binary_cross_entropy_with_logits(said, answers, reduction="none"))
        return torch.cat(losses, dim=3)


class _Visits(NamedTuple):
    """What is read of a record.

    Attributes:
        values: 0 where nothing was measured; (records, time, variables).
        observed: which were; likewise.
        times: of each visit, since the first one; (records, time).
        states: after each visit; (records, time, memory).
    """

    values: torch.Tensor
    observed: torch.Tensor
    times: torch.Tensor
    states: torch.Tensor


def compute_log_probabilities(rates: torch.Tensor) -> torch.Tensor:
    """Compute the log of the probability of every cause and interval, causes outside, and of later than all.

    Args:
        rates: positive, constant within an interval, per interval; (records, causes, intervals).

    Returns:
        (records, causes * intervals + 1); the probabilities of a record sum to one.
    """
    of_all = rates.sum(1)  # (records, intervals)
    spent = of_all.cumsum(1)
    within = torch.log(-torch.expm1(-of_all)) - (spent - of_all)  # of any event in the interval
    of_causes = within.unsqueeze(1) + rates.log() - of_all.log().unsqueeze(1)
    return torch.cat([of_causes.flatten(1), -spent[:, -1:]], dim=1)


def compute_normal_loss(mean: torch.Tensor, deviation: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Compute minus the log density of ``values``, without its constant.

    Args:
        mean: of a normal distribution.
        deviation: any real number, which becomes the logarithm of a deviation between -3 and 3.
        values: of the same shape, or broadcastable.
    """
    logarithm = _WIDEST * torch.tanh(deviation / _WIDEST)
    return 0.5 * ((values - mean) * torch.exp(-logarithm)).square() + logarithm


def _make_head(options: DiseaseAtlasOptions, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(options.memory + 1, options.hidden), nn.ELU(), nn.Linear(options.hidden, outputs)
    )


def build(options: DiseaseAtlasOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DiseaseAtlas:
    """Build Disease-Atlas for visits of ``sizes["variables"]`` variables.

    Raises:
        ModelError: the outputs are not one number for each cause and interval, and one more; or more variables are yes
            or no than there are.
    """
    intervals = count_intervals("disease-atlas", options.causes, outputs)
    if options.yes_or_no > sizes["variables"]:
        raise ModelError(
            f"model.options.yes_or_no: {options.yes_or_no} variables are yes or no, but the data have "
            f"{sizes['variables']} in all; write at most as many"
        )
    return DiseaseAtlas(options, sizes["variables"], intervals)


MODEL: Final = ModelEntry(
    title="Disease-Atlas, trajectories and survival jointly",
    domain="longitudinal",
    options=DiseaseAtlasOptions,
    build=build,
    tasks=("survival",),
    inputs=(
        Input(
            "values", "number", ("time", "variables"), "measurements, 0 where missing; the middle of a range is 0"
        ),
        Input("observed", "flag", ("time", "variables"), "which variables were measured at a visit"),
        Input("gaps", "number", ("time", "variables"), "time since a variable's last measurement, scaled"),
        Input("present", "flag", ("time",), "which visits exist: the first ones"),
    ),
    citation="Lim and van der Schaar 2018, Disease-Atlas: Navigating Disease Trajectories with Deep Learning, Machine "
    "Learning for Healthcare, arXiv:1803.10254",
    presets={
        "paper": DiseaseAtlasOptions(yes_or_no=5),
        "small": DiseaseAtlasOptions(yes_or_no=1, memory=8, hidden=8, dropout=0.0),
    },
    counts=(
        # 15 variables, 5 of them yes or no, and two causes. A memory with a second bias would have 256 more
        Count("paper", {"time": 16, "variables": 15}, (21,), 31_803),
        Count("small", {"time": 5, "variables": 4}, (9,), 897),
    ),
    example={"time": 5, "variables": 4},
    replaced=(
        Replacement(
            paper="the likelihood of a patient is a sum over all visits and horizons",
            here="the mean of the trajectories over what was measured, and events from the last visit on",
            why="the gradient of a patient with many visits would be longer, and clipped more than others'",
        ),
        Replacement(
            paper="the horizon of a prediction is drawn at random in training",
            here="all later visits of a record are horizons",
            why="its expected loss is the same, and no noise is added to a gradient that gets noise for privacy",
        ),
        Replacement(
            paper="event times exact, with an exponential distribution",
            here="event times in intervals, with a rate that is constant within each",
            why="the task counts events by interval, so that its totals are sums over patients; this is not for "
            "privacy",
        ),
        Replacement(
            paper="uncertainty from many passes with dropout",
            here="one pass without dropout; the trajectories have deviations of their own",
            why="predictions of a released model are the same every time; this is not for privacy",
        ),
        Replacement(
            paper="values scaled by the training patients' means and deviations",
            here="by the public ranges of the contract",
            why="means and deviations of patients are private",
        ),
    ),
)
