"""Convolutions over a patient's visits that join time early, late or slowly, and stay within one stretch of it or not.

::

    visit       v_t = tanh(W codes_t + b)
    filters     tanh of a convolution over a few visits in a row, of all coordinates
    features    the largest value of each filter over the visits
    outputs     U features + d

The visits end with the last one of the patient and are divided into ``windows`` of equal length. ``fusion`` says where
the windows come together:

==========  ====================================================================================================
``single``  nowhere: the last window alone is read
``early``   before the filters, which see all visits as one series
``late``    after the features: each window has its own, side by side; the filters are the same
``slow``    step by step: two neighbouring windows are joined and read by further filters, until one is left
==========  ====================================================================================================
"""

from collections.abc import Mapping
from typing import Final, Literal

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs
from models.layers.masked_max import masked_max


class PhenotypingCnnOptions(Options):
    """The options of ``phenotyping-cnn``.

    Attributes:
        fusion: ``single``, ``early``, ``late`` or ``slow``.
        windows: into how many stretches the visits are divided.
        embedding: numbers for each visit.
        filters: of each convolution.
        width: how many visits a filter sees.
        dropout: of the features, in training.
    """

    fusion: Literal["single", "early", "late", "slow"] = "slow"
    windows: Literal[2, 4, 8] = 4
    embedding: int = Field(default=50, ge=1, le=4096)
    filters: int = Field(default=100, ge=1, le=4096)
    width: Literal[1, 3, 5, 7] = 3
    dropout: float = Field(default=0.5, ge=0, le=0.95)


class PhenotypingCnn(nn.Module):
    """An embedding of visits, convolutions over windows of them, and a linear layer on the largest values."""

    def __init__(self, options: PhenotypingCnnOptions, codes: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        filters, reach = options.filters, options.width // 2
        self.embedding = nn.Linear(codes, options.embedding)
        self.filters = nn.Conv1d(options.embedding, filters, options.width, padding=reach)
        joints = options.windows.bit_length() - 1 if options.fusion == "slow" else 0
        self.joints = nn.ModuleList(
            nn.Conv1d(filters, filters, options.width, padding=reach) for _ in range(joints)
        )
        places = options.windows if options.fusion == "late" else 1
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(places * filters, count_outputs(outputs))
        self._options, self._outputs = options, outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs; (records, *outputs)."""
        options, present = self._options, inputs["present"]
        embedded = torch.tanh(self.embedding(inputs["visits"].float()))
        visits, present = align_to_the_end(embedded, present, options.windows)
        if options.fusion == "single":
            last = visits.shape[1] // options.windows
            visits, present = visits[:, -last:], present[:, -last:]
        windows: int = 1 if options.fusion in ("single", "early") else options.windows
        values = self._convolve(self.filters, visits, present, windows)
        for joint in self.joints:
            windows //= 2
            values = self._convolve(joint, values, present, windows)
        found = _divide(masked_max(*(_fold(each, windows) for each in (values, present))), windows)
        return shape_outputs(self.head(self.dropout(found.flatten(1))), self._outputs)

    def _convolve(
        self, layer: nn.Module, series: torch.Tensor, present: torch.Tensor, windows: int
    ) -> torch.Tensor:
        """Move filters over each of so many windows of a series; (records, visits, n) -> (records, visits, filters)."""
        there = present.unsqueeze(2).to(series)
        found = torch.tanh(layer(_fold(series * there, windows).movedim(1, 2))).movedim(1, 2)
        return found.reshape(series.shape[0], series.shape[1], -1)


def align_to_the_end(
    visits: torch.Tensor, present: torch.Tensor, windows: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move each record's visits, which stand first, to the end.

    Args:
        visits: (records, visits, width).
        present: the first ones, (records, visits).
        windows: of equal length, into which the new series can be divided.

    Returns:
        Both for as many visits as the windows hold.
    """
    records, count, width = visits.shape
    places = -(-count // windows) * windows
    # place p of the new series holds the visit p - (places - number of visits), where that is one
    from_visit = torch.arange(places, device=visits.device) - (places - present.sum(1, keepdim=True))
    found = visits.gather(1, from_visit.clamp(min=0).unsqueeze(2).expand(records, places, width))
    return found, from_visit >= 0


def _fold(series: torch.Tensor, windows: int) -> torch.Tensor:
    """Put the windows of each record one after the other on the first axis; the records' rows stay together."""
    return series.reshape(series.shape[0] * windows, series.shape[1] // windows, *series.shape[2:])


def _divide(rows: torch.Tensor, windows: int) -> torch.Tensor:
    """Return (records, windows, ...) of rows of ``windows`` for each record."""
    return rows.reshape(rows.shape[0] // windows, windows, *rows.shape[1:])


def build(options: PhenotypingCnnOptions, sizes: Sizes, outputs: tuple[int, ...]) -> PhenotypingCnn:
    """Build the network for visits of ``sizes["codes"]`` codes."""
    return PhenotypingCnn(options, sizes["codes"], outputs)


_PAPER: Final = {"visits": 40, "codes": 942}
_EXAMPLE: Final = {"visits": 8, "codes": 12}

MODEL: Final = ModelEntry(
    title="Phenotyping by convolutions over visits, with temporal fusion",
    domain="records",
    options=PhenotypingCnnOptions,
    build=build,
    tasks=("binary", "multiclass", "multilabel"),
    inputs=(
        Input("visits", "flag", ("visits", "codes"), "which codes a visit has"),
        Input("present", "flag", ("visits",), "which visits exist: the first ones"),
    ),
    citation="Cheng, Wang, Zhang and Hu 2016, Risk Prediction with Electronic Health Records: A Deep Learning "
    "Approach, Proceedings of the 2016 SIAM International Conference on Data Mining, 432-440",
    presets={
        "paper": PhenotypingCnnOptions(),
        **{name: PhenotypingCnnOptions.model_validate({"fusion": name}) for name in ("single", "early", "late")},
        "small": PhenotypingCnnOptions(windows=2, embedding=12, filters=12, dropout=0.0),
    },
    # visits 47,150, filters 15,100, head 101; two joints of 30,100; a head of 401
    counts=(
        Count("paper", _PAPER, (), 122_551),
        Count("single", _PAPER, (), 62_351),
        Count("early", _PAPER, (), 62_351),
        Count("late", _PAPER, (), 62_651),
        Count("small", _EXAMPLE, (), 1_057),
    ),
    example=_EXAMPLE,
    replaced=(
        Replacement(
            paper="calendar windows, one column for each day or week",
            here="windows of as many visits, which end with the last one",
            why="not because of privacy: most columns of a calendar are empty, and every one is read",
        ),
        Replacement(
            paper="the model is chosen by its figures on other patients while it learns",
            here="a number of rounds that is fixed in advance, or an evaluation that is paid for",
            why="a choice by patients' figures tells something of these patients",
        ),
    ),
)
