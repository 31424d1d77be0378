"""Care events: an autoencoder makes codes of single events, then memory over the codes predicts what follows.

An event is a vector of numbers in [0, 1], such as what was done and measured in some hours of a stay. Two stages share
one budget:

* objective ``events``: the autoencoder restores every event of a record from a copy in which some numbers were set to
  zero. A record's loss is the mean over its events, so that many events of one patient weigh as much as one;
* objective ``task``: layers of long short-term memory read the codes, event after event, with a linear layer on the
  last state. The encoder is trained with them, unless the stage's ``trained`` leaves it out; the decoder has done its
  work.

``reads: events`` gives the memory the events themselves, as the authors' code does; then the first stage is of no use.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.heads import count_outputs, shape_outputs
from models.layers.recurrent import LongShortTermMemory, take_last_state
from models.layers.sigmoid import LinearBeforeSigmoid


class CareEventsOptions(Options):
    """The options of ``care-events``.

    Attributes:
        hidden: widths of the encoder's layers, first to last; the last one is the code.
        corruption: the part of an event's numbers that is set to zero in the first stage.
        memory: units of each layer over the events, lowest first.
        dropout: in training, of each of these layers' states.
        reads: whether the memory reads ``codes``, or the ``events`` themselves.
    """

    hidden: tuple[Units, ...] = Field(default=(512, 256, 128, 64), min_length=1, max_length=8)
    corruption: float = Field(default=0.2, ge=0, lt=1)
    memory: tuple[Units, ...] = Field(default=(100, 50, 50), min_length=1, max_length=4)
    dropout: float = Field(default=0.5, ge=0, le=0.95)
    reads: Literal["codes", "events"] = "codes"


class CareEvents(nn.Module):
    """An encoder and a decoder of single events, and memory over their codes."""

    objective: str = "task"
    draws_randomly = True

    def __init__(self, options: CareEventsOptions, variables: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        widths = (variables, *options.hidden)
        self.encoder = _make_sigmoid_layers(widths)
        self.decoder = nn.Sequential(_make_sigmoid_layers(widths[:0:-1]), nn.Linear(widths[1], variables))
        read = widths[-1] if options.reads == "codes" else variables
        self.memory = nn.ModuleList(LongShortTermMemory(*ends) for ends in pairwise((read, *options.memory)))
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(options.memory[-1], count_outputs(outputs))
        self._corruption, self._reads_codes = options.corruption, options.reads == "codes"
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the outputs of ``values`` (records, time, variables), or the loss of the autoencoder."""
        values, present = inputs["values"], inputs["present"]
        if self.objective != "task":
            return {"own_loss": self._compute_restoration_losses(values, present)}
        series = self.encoder(values) if self._reads_codes else values
        for memory in self.memory:
            series = self.dropout(memory(series, present))
        return shape_outputs(self.head(take_last_state(series)), self._outputs)

    def _compute_restoration_losses(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Compute the mean cross-entropy over the events of each record, 0 if it has none; (records,)."""
        corrupted = values
        if self.training:
            corrupted = values * (torch.rand_like(values) >= self._corruption)
        restored = self.decoder(self.encoder(corrupted))
        losses = functional.binary_cross_entropy_with_logits(restored, values, reduction="none").mean(2)
        return losses.masked_fill(~present, 0.0).sum(1) / present.sum(1).clamp(min=1)


def _make_sigmoid_layers(widths: tuple[int, ...]) -> nn.Sequential:
    return nn.Sequential(
        *(layer for ends in pairwise(widths) for layer in (LinearBeforeSigmoid(*ends), nn.Sigmoid()))
    )


def build(options: CareEventsOptions, sizes: Sizes, outputs: tuple[int, ...]) -> CareEvents:
    """Build autoencoder and memory for events of ``variables`` numbers in [0, 1]."""
    return CareEvents(options, sizes["variables"], outputs)


MODEL: Final = ModelEntry(
    title="Codes of care events, then long short-term memory",
    domain="records",
    options=CareEventsOptions,
    build=build,
    tasks=("binary", "multiclass", "multilabel"),
    inputs=(
        Input("values", "number", ("time", "variables"), "what each event says, each 0, 1 or between"),
        Input("present", "flag", ("time",), "which events there are: the first ones"),
    ),
    citation="Beaulieu-Jones, Orzechowski and Moore 2018, Mapping patient trajectories using longitudinal extraction "
    "and deep learning in the MIMIC-III critical care database, Pacific Symposium on Biocomputing 23:123-132",
    repository="https://github.com/EpistasisLab/MIMIC_trajectories",
    presets={
        "paper": CareEventsOptions(),
        "events": CareEventsOptions(reads="events"),
        "small": CareEventsOptions(hidden=(6,), memory=(6,), dropout=0.0),
    },
    # the paper's events of 1,196 numbers: 1,571,820 in the autoencoder; 116,451 in memory and head over codes, 569,251
    # over the events themselves
    counts=(
        Count("paper", {"time": 50, "variables": 1_196}, (), 1_688_271),
        Count("events", {"time": 50, "variables": 1_196}, (), 2_141_071),
        Count("small", {"time": 6, "variables": 12}, (), 481),
    ),
    example={"time": 6, "variables": 12},
    objectives={"events": ("encoder", "decoder")},
    task_layers=("encoder", "memory", "head"),
    replaced=(
        Replacement(
            paper="each event is an example of the autoencoder",
            here="a patient is, with the mean over their events",
            why="the promise is made to patients, and one with many events must not count more",
        ),
        Replacement(
            paper="codes that the second stage does not change",
            here="the second stage trains the encoder too; trained: [memory, head] in its stage keeps the codes",
            why="few steps of the first stage are paid for, so the codes still lack what the task needs; a patient's "
            "gradient is clipped once, whatever it trains",
        ),
        Replacement(
            paper="recurrent dropout, within a memory's steps",
            here="dropout of the states between layers",
            why="this is not for privacy: one layer of memory serves all models",
        ),
        Replacement(
            paper="values scaled by their smallest and largest in the cohort",
            here="by the public ranges of the contract",
            why="a cohort's smallest and largest value are records of single patients",
        ),
        Replacement(
            paper="weights of the classes from the training patients, and training until its loss stops falling",
            here="a fixed public weight in the task's loss, and a fixed number of rounds",
            why="both would depend on the patients, and would have to be paid",
        ),
    ),
)
