"""Three networks over the events of a record, each with its own sense of time; the outputs are their mean.

============  ==================================================================================================
memory        events of equal stretches of time are averaged; a long short-term memory reads the stretches that
              have any, oldest first, with the logarithm of the time since the one before
attention     ``[e; tanh(W time)]`` of every event, weights by a small network, their weighted sum, a hidden layer
stumps        for every code: was it seen within 24 hours, a week, 30 days, ever; at least once, at least twice;
              a weight for each answer, which is 0 or 1
============  ==================================================================================================

``e`` is the vector of an event's code, the same for the memory and the attention. ``time`` is four public functions of
the hours before the prediction: ``log(1 + h)``, ``exp(-h / a)``, ``exp(-h / b)`` and whether ``h < a``, where a and b
are the first two of ``within_hours``.

The mean of logits has fixed weights, and the three are one module: a patient's gradient of all of them is clipped once.

Rule: code 0 is none and has no part in anything, whatever its hours.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs
from models.layers.masked_softmax import masked_softmax
from models.layers.recurrent import LongShortTermMemory, take_last_state

_TIMES: Final = 4

Hours = Annotated[float, Field(gt=0, le=1e6)]


class EventEnsembleOptions(Options):
    """The options of ``event-ensemble``.

    Attributes:
        embedding: numbers for each code.
        units: of the memory.
        bin_hours: how long a stretch of time is.
        bins: how many stretches there are; what is older belongs to the oldest one.
        times: numbers for an event's time, in the attention.
        scorer: units of the network that weighs events.
        hidden: units of the attention's hidden layer.
        within_hours: stretches of time of the stumps, besides ever; the first two are those of the attention too.
        at_least: how often a code was seen, for the stumps.
    """

    embedding: int = Field(default=32, ge=1, le=4096)
    units: int = Field(default=64, ge=1, le=4096)
    bin_hours: Hours = 12.0
    bins: int = Field(default=60, ge=1, le=1000)
    times: int = Field(default=16, ge=1, le=1024)
    scorer: int = Field(default=32, ge=1, le=4096)
    hidden: int = Field(default=64, ge=1, le=4096)
    within_hours: tuple[Hours, ...] = Field(default=(24.0, 168.0, 720.0), min_length=2, max_length=8)
    at_least: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field(default=(1, 2), min_length=1, max_length=4)


class EventEnsemble(nn.Module):
    """Vectors of codes, the three networks, and the mean of what they give."""

    def __init__(self, options: EventEnsembleOptions, codes: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        numbers = count_outputs(outputs)
        self.embedding = nn.Embedding(codes, options.embedding, padding_idx=0)
        self.memory = BinnedMemory(options, numbers)
        self.attention = TimeAwareAttention(options, numbers)
        self.stumps = Stumps(options, codes, numbers)
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs; (records, *outputs)."""
        events, hours = inputs["events"], inputs["hours"]
        vectors, there = self.embedding(events), events != 0
        found = [
            self.memory(vectors, hours, there),
            self.attention(vectors, hours, there),
            self.stumps(events, hours),
        ]
        return shape_outputs(torch.stack(found).mean(0), self._outputs)

    @torch.no_grad()
    def read_attention(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the weights that the attention gives to ``events``; (records, events)."""
        events = inputs["events"]
        return {"events": self.attention.weigh(self.embedding(events), inputs["hours"], events != 0)[0]}


class BinnedMemory(nn.Module):
    """A long short-term memory over stretches of time, and a linear layer on its last state."""

    def __init__(self, options: EventEnsembleOptions, numbers: int) -> None:
        super().__init__()
        self.units = LongShortTermMemory(options.embedding + 1, options.units)
        self.head = nn.Linear(options.units, numbers)
        self._hours, self._bins = options.bin_hours, options.bins

    def forward(self, vectors: torch.Tensor, hours: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Return (records, numbers) of events: vectors, hours before the prediction, and which there are."""
        means, present = average_bins(vectors, hours, there, self._hours, self._bins)
        gaps = torch.log1p(self._hours * count_steps_since(present)).unsqueeze(2)
        found: torch.Tensor = self.head(take_last_state(self.units(torch.cat([means, gaps], dim=2), present)))
        return found


def average_bins(
    vectors: torch.Tensor, hours: torch.Tensor, there: torch.Tensor, bin_hours: float, bins: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Average the vectors of each stretch of time, oldest first; (records, bins, width) and which have any."""
    place = bins - 1 - (hours / bin_hours).long().clamp(0, bins - 1)  # (records, events)
    of_bin = functional.one_hot(place, bins).to(vectors) * there.unsqueeze(2)  # (records, events, bins)
    events = of_bin.sum(1).unsqueeze(2)  # (records, bins, 1)
    return of_bin.transpose(1, 2) @ vectors / events.clamp(min=1), events.squeeze(2) > 0


def count_steps_since(present: torch.Tensor) -> torch.Tensor:
    """Count at each step the steps since the last present one before it, 0 if there is none; (records, steps)."""
    steps = torch.arange(present.shape[1], device=present.device)
    last = torch.where(present, steps, -1).cummax(dim=1).values
    before = torch.cat([torch.full_like(last[:, :1], -1), last[:, :-1]], dim=1)
    return torch.where(before < 0, 0, steps - before)


class TimeAwareAttention(nn.Module):
    """Attention to events by their codes and times, and a hidden layer on their weighted sum."""

    def __init__(self, options: EventEnsembleOptions, numbers: int) -> None:
        super().__init__()
        width = options.embedding + options.times
        self.time = nn.Linear(_TIMES, options.times)
        self.scorer = nn.Linear(width, options.scorer)
        self.score = nn.Linear(options.scorer, 1, bias=False)  # the softmax would remove a bias
        self.hidden = nn.Linear(width, options.hidden)
        self.head = nn.Linear(options.hidden, numbers)
        self._recent, self._older = options.within_hours[:2]

    def forward(self, vectors: torch.Tensor, hours: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Return (records, numbers) of events: vectors, hours before the prediction, and which there are."""
        weights, described = self.weigh(vectors, hours, there)
        found: torch.Tensor = self.head(torch.relu(self.hidden((weights.unsqueeze(2) * described).sum(1))))
        return found

    def weigh(
        self, vectors: torch.Tensor, hours: torch.Tensor, there: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights of events, (records, events), and what they weigh, (records, events, width)."""
        recent = (hours < self._recent).to(hours)
        basis = [torch.log1p(hours), torch.exp(-hours / self._recent), torch.exp(-hours / self._older), recent]
        described = torch.cat([vectors, torch.tanh(self.time(torch.stack(basis, dim=2)))], dim=2)
        scores = self.score(torch.tanh(self.scorer(described))).squeeze(2)
        return masked_softmax(scores, there), described


class Stumps(nn.Module):
    """A weight for each answer to a fixed list of questions about codes and times."""

    def __init__(self, options: EventEnsembleOptions, codes: int, numbers: int) -> None:
        super().__init__()
        self._within, self._at_least = (*options.within_hours, float("inf")), options.at_least
        self._codes = codes
        self.weights = nn.Linear((codes - 1) * len(self._within) * len(self._at_least), numbers)

    def forward(self, events: torch.Tensor, hours: torch.Tensor) -> torch.Tensor:
        """Return (records, numbers) of codes and the hours before the prediction, (records, events) each."""
        found: torch.Tensor = self.weights(self.ask(events, hours).flatten(1))
        return found

    def ask(self, events: torch.Tensor, hours: torch.Tensor) -> torch.Tensor:
        """Answer each question by 0 or 1; (records, stretches of time, how often, codes but code 0)."""
        none = hours.new_zeros(events.shape[0], self._codes)
        counts = torch.stack(
            [none.scatter_add(1, events, (hours < within).to(hours)) for within in self._within], dim=1
        )
        often = [counts >= least for least in self._at_least]
        return torch.stack(often, dim=2)[..., 1:].to(hours)


def build(options: EventEnsembleOptions, sizes: Sizes, outputs: tuple[int, ...]) -> EventEnsemble:
    """Build the three networks for events of ``sizes["codes"]`` kinds, with code 0, which is none."""
    return EventEnsemble(options, sizes["codes"], outputs)


_PAPER: Final = {"events": 1000, "codes": 1001}
_EXAMPLE: Final = {"events": 12, "codes": 20}

MODEL: Final = ModelEntry(
    title="Three networks over the events of a record, averaged",
    domain="records",
    options=EventEnsembleOptions,
    build=build,
    tasks=("binary", "multiclass", "multilabel"),
    inputs=(
        Input("events", "id", ("events",), "codes of the record in any order, 0 for none", "codes"),
        Input("hours", "number", ("events",), "how long before the prediction each was"),
    ),
    citation="Rajkomar, Oren, Chen et al. 2018, Scalable and accurate deep learning with electronic health records, "
    "npj Digital Medicine 1:18",
    presets={
        "paper": EventEnsembleOptions(),
        "small": EventEnsembleOptions(
            embedding=8, units=6, bin_hours=0.25, bins=4, times=4, scorer=6, hidden=8, within_hours=(0.25, 0.5)
        ),
    },
    # vectors 32,032, memory 25,153, attention 4,881, stumps 8,001: widths of ours, since the paper's text has none
    counts=(
        Count("paper", _PAPER, (), 70_067),
        Count("small", _EXAMPLE, (), 883),
    ),
    example=_EXAMPLE,
    replaced=(
        Replacement(
            paper="stumps that boosting picks one after another, and a network on them",
            here="all stumps of a public list of times and counts, a weight for each",
            why="which stump is picked is decided by all patients: no clipping bounds what one of them changes, and "
            "picks that are paid for would take the budget of many steps",
        ),
        Replacement(
            paper="three models that are trained apart, several of each",
            here="one module with one loss of the mean, and one vector for each code in two of the networks",
            why="three trainings are three prices; one gradient is clipped once, and one table takes less noise than "
            "two",
        ),
        Replacement(
            paper="a vocabulary, and steps in the values of measurements, from the cohort",
            here="those of the contract",
            why="which codes there are, and how values are spread, is about patients",
        ),
        Replacement(
            paper="every attribute of every entry of a FHIR record is an event",
            here="the events that the contract has",
            why="not because of privacy: every site must have them",
        ),
    ),
    figures="In 216,221 adults of two centres the paper reports an AUROC of 0.93 to 0.94 for death in hospital, 0.75 "
    "to 0.76 for readmission and 0.85 to 0.86 for a long stay (Rajkomar et al. 2018).",
)
