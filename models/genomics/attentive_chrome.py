"""AttentiveChrome: LSTMs over the bins of each histone mark, then over the marks, and attention that shows both.

Every mark has an LSTM of its own in both directions, and an attention over its bins. The summaries of the marks are
read as a short series by one more LSTM, with an attention over the marks.

All marks and directions step together, so that gates are computed for all of them at once; the weights stay separate.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs

_DIRECTIONS: Final = 2


class AttentiveChromeOptions(Options):
    """The options of ``attentive-chrome``.

    Attributes:
        bin_units: of each direction of the LSTMs over bins.
        mark_units: of each direction of the LSTM over marks.
        initial_bound: first values are uniform between minus this and this, 0.1 in the authors' program; without it
            they are those of the catalogue's linear layers, which begin the gates of a single number ten times as wide.
        places: with it the LSTMs over bins also read where each bin lies, a number from minus this at the window's
            beginning to this at its end. Without it, as in the paper, they learn place by counting.
    """

    bin_units: int = Field(default=32, ge=1, le=1024)
    mark_units: int = Field(default=16, ge=1, le=1024)
    initial_bound: float | None = Field(default=None, gt=0, le=1)
    places: float | None = Field(default=None, gt=0, le=100)


class Attention(NamedTuple):
    """Where the model looked, in each record.

    Attributes:
        bins: (records, marks, bins); the bins of a mark sum to 1.
        marks: (records, marks); the marks sum to 1.
    """

    bins: torch.Tensor
    marks: torch.Tensor


class LinearWithinBound(nn.Linear):
    """A linear layer whose first values lie between minus ``bound`` and ``bound`` (``models/parameters/initial.py``).

    Without a bound they are those of other linear layers.
    """

    def __init__(self, width: int, outputs: int, bound: float | None, *, bias: bool = True) -> None:
        super().__init__(width, outputs, bias=bias)
        self.initial_bound = bound


class BidirectionalLstms(nn.Module):
    """Separate LSTMs over several series of one length, each in both directions: two **lanes** for each series.

    Args:
        series: how many.
        width: numbers of a series at each step.
        units: of each direction.
        bound: of the first values, or None.
    """

    def __init__(self, series: int, width: int, units: int, bound: float | None = None) -> None:
        super().__init__()
        lanes = series * _DIRECTIONS
        self.inputs = nn.ModuleList(LinearWithinBound(width, 4 * units, bound) for _ in range(lanes))
        self.recurrences = nn.ModuleList(LinearWithinBound(units, 4 * units, bound) for _ in range(lanes))
        self._units = units

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Run all LSTMs; (records, series, steps, width) -> (records, series, steps, 2 * units)."""
        records, series, _, _ = values.shape
        lanes = torch.stack([values, values.flip(2)], dim=2).flatten(1, 2).unbind(1)  # (records, steps, width) each
        drive = torch.stack([layer(lane) for layer, lane in zip(self.inputs, lanes, strict=True)])
        state = cell = drive.new_zeros(len(lanes), records, self._units)
        states = []
        # unbind has one backward for all steps; a slice for each would fill as many tensors of the size of drive
        for entering in drive.unbind(2):  # (lanes, records, 4 * units)
            pairs = zip(self.recurrences, state.unbind(), strict=True)
            gates = entering + torch.stack([layer(own) for layer, own in pairs])
            enter, forget, new, leave = gates.chunk(4, dim=2)  # (lanes, records, units) each
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
            state = torch.sigmoid(leave) * torch.tanh(cell)
            states.append(state)
        found = torch.stack(states, dim=2)  # (lanes, records, steps, units)
        onward, back = found.view(series, _DIRECTIONS, *found.shape[1:]).unbind(1)
        return torch.cat([onward, back.flip(2)], dim=3).transpose(0, 1)  # (records, series, steps, 2 * units)


class AttentiveChrome(nn.Module):
    """Two levels of LSTMs and attention, and a linear head."""

    def __init__(self, options: AttentiveChromeOptions, marks: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        of_bins, of_marks = _DIRECTIONS * options.bin_units, _DIRECTIONS * options.mark_units
        bound = options.initial_bound
        numbers = 1 if options.places is None else 2
        self.bin_lstms = BidirectionalLstms(marks, numbers, options.bin_units, bound)
        # a bias would add the same to every score, which the softmax takes away again
        self.bin_scores = nn.ModuleList(LinearWithinBound(of_bins, 1, bound, bias=False) for _ in range(marks))
        self.mark_lstm = BidirectionalLstms(1, of_bins, options.mark_units, bound)
        self.mark_scores = LinearWithinBound(of_marks, 1, bound, bias=False)
        self.head = LinearWithinBound(of_marks, count_outputs(outputs), bound)
        self._outputs, self._places = outputs, options.places

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``signals`` (records, marks, bins); (records, *outputs)."""
        summary, _ = self._read(inputs["signals"])
        return shape_outputs(self.head(summary), self._outputs)

    @torch.no_grad()
    def read_attention(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the weights of ``marks``, (records, marks), and of each mark's ``bins``, (records, marks, bins)."""
        return self._read(inputs["signals"])[1]._asdict()

    def _read(self, signals: torch.Tensor) -> tuple[torch.Tensor, Attention]:
        """Return a summary of each record, (records, 2 * mark_units), and the attention that made it."""
        values = signals[:, :, :, None]
        if self._places is not None:
            where = torch.linspace(-self._places, self._places, signals.shape[2]).to(signals)
            values = torch.cat([values, where[:, None].expand_as(values)], dim=3)
        bins = self.bin_lstms(values)  # (records, marks, bins, 2 * bin_units)
        scores = [layer(own) for layer, own in zip(self.bin_scores, bins.unbind(1), strict=True)]
        of_bins = torch.stack(scores, dim=1).softmax(2)  # (records, marks, bins, 1)
        marks = self.mark_lstm((bins * of_bins).sum(2)[:, None])[:, 0]  # (records, marks, 2 * mark_units)
        of_marks = self.mark_scores(marks).softmax(1)  # (records, marks, 1)
        return (marks * of_marks).sum(1), Attention(of_bins.squeeze(3), of_marks.squeeze(2))


def build(options: AttentiveChromeOptions, sizes: Sizes, outputs: tuple[int, ...]) -> AttentiveChrome:
    """Build the network for ``marks`` signals; it takes any number of bins."""
    return AttentiveChrome(options, sizes["marks"], outputs)


MODEL: Final = ModelEntry(
    title="AttentiveChrome: histone marks to gene expression, with attention",
    domain="genomics",
    rate=4.0,
    options=AttentiveChromeOptions,
    build=build,
    tasks=("binary", "multiclass", "regression"),
    inputs=(
        Input("signals", "number", ("marks", "bins"), "reads of each histone mark in bins around a gene's start"),
    ),
    citation="Singh, Lanchantin, Sekhon and Qi 2017, Attend and predict: understanding gene regulation by selective "
    "attention on chromatin, Advances in Neural Information Processing Systems 30",
    repository="https://github.com/QData/AttentiveChrome",
    presets={"paper": AttentiveChromeOptions(), "small": AttentiveChromeOptions(bin_units=6, mark_units=4)},
    # LSTMs over bins 5 x 8,960, their attention 5 x 64, the LSTM over marks 10,496, its attention 32, the head 33
    counts=(
        Count("paper", {"marks": 5, "bins": 100}, (), 55_681),
        Count("small", {"marks": 5, "bins": 20}, (), 2_813),
    ),
    example={"marks": 5, "bins": 20},
    replaced=(
        Replacement(
            paper="the gradient of a batch is cut to length 1",
            here="the gradient of each patient is, by the study's clipping norm",
            why="only a bound for each patient bounds what one of them changes",
        ),
        Replacement(
            paper="LSTM layers of a library",
            here="the same equations and parameters, of linear layers",
            why="a library's LSTM hides the gradients of single records",
        ),
        Replacement(
            paper="first values between -0.1 and 0.1",
            here="the first values of the catalogue, or with initial_bound: 0.1 the paper's",
            why="this is not for privacy: studies that do not say so begin as they did",
        ),
    ),
)
