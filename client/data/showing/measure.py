"""Count what the files of a study hold, a few records at a time, in the bars of their views.

Rules:

* all records of a file are counted, also those of patients who object;
* a number is in the bin into which it falls after scaling; one on the edge of two bins in the upper one, the public
  maximum in the last one. Scaling has the precision of float32: a number is on an edge if it is nearer to it than a
  ten-thousandth of a bin;
* numbers beyond the range are counted apart, and in no bin.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.examples import Array
from client.data.showing.bars import Distribution, Part
from client.data.showing.views import View
from privacy.study.data.contract import Tensors
from privacy.study.data.tensors import Ids

BINS: Final = 20
MOST_BARS: Final = 20  # of words; the most frequent ones are shown
_EDGE_DIGITS: Final = 4
_BLOCK: Final = 1 << 20  # values at a time
_SET: Final = 0.5  # flags are 0 and 1, also in one-hot words
_NO_OR_YES: Final = ("no", "yes")

Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Beyond:
    """How many numbers of a column or tensor are below and above the public range, all over a file."""

    below: int = 0
    above: int = 0


def measure(
    views: Sequence[View],
    tensors: Tensors,
    training: Arrays,
    test: Arrays,
    beyond: tuple[Mapping[str, Beyond], Mapping[str, Beyond]],
) -> list[Distribution]:
    """Count what both files have in the bars of ``views``.

    Args:
        views: what is shown.
        tensors: every tensor of the contract.
        training: (records, *shape) each, by the tensor's name; of the training file.
        test: the same of the test file.
        beyond: of each file, numbers beyond the range, by the name of the view.
    """
    values = {tensor.name: tensor.values for tensor in tensors if isinstance(tensor, Ids)}
    tallies = [[_Tally(view, values.get(view.tensor, 0)) for view in views] for _ in ("training", "test")]
    for arrays, own in zip((training, test), tallies, strict=True):
        for name in dict.fromkeys(view.tensor for view in views):
            of_tensor = [tally for tally in own if tally.view.tensor == name]
            for block in _list_blocks(arrays, [tally.view for tally in of_tensor]):
                for tally in of_tensor:
                    tally.add(block)
    ended = [
        [tally.finish(of.get(tally.view.name, Beyond())) for tally in own]
        for own, of in zip(tallies, beyond, strict=True)
    ]
    return [_make_distribution(view, *parts) for view, *parts in zip(views, *ended, strict=True)]


def count_records(patients: Sequence[str]) -> tuple[int, int, dict[int, int]]:
    """Return how many records and patients there are, and how many patients have how many records."""
    each: dict[str, int] = {}
    for name in patients:
        each[name] = each.get(name, 0) + 1
    of_so_many: dict[int, int] = {}
    for count in each.values():
        of_so_many[count] = of_so_many.get(count, 0) + 1
    return len(patients), len(each), dict(sorted(of_so_many.items()))


class _Tally:
    """Counts of one view in one file."""

    def __init__(self, view: View, values: int) -> None:
        self.view = view
        self.total = 0
        self.missing = 0
        bars = {
            "numbers": BINS,
            "season": len(view.labels),
            "ids": values,
            "flags": len(view.labels) or len(_NO_OR_YES),
        }[view.form]
        self.counts: NDArray[np.int64] = np.zeros(bars, np.int64)

    def add(self, block: Mapping[str, NDArray[Any]]) -> None:
        """Count some records; ``block`` has the tensor and those that say what of it is there."""
        view = self.view
        array = block[view.tensor]
        steps = None if view.steps is None else block[view.steps]
        if view.stop is None:
            values = array if steps is None else array[steps]
            self.total += values.size
        else:
            there, existing = (
                _find_present(view, block),
                np.ones(array.shape[:-1], np.bool_) if steps is None else steps,
            )
            values = array[..., view.start : view.stop][there]  # (cells that are there, positions)
            self.total += len(values)
            self.missing += int(existing.sum()) - len(values)
        match view.form:
            case "numbers":
                self.counts += np.bincount(_find_bins(values.reshape(-1), view), minlength=BINS)
            case "season":
                self.counts += np.bincount(_find_months(values, view), minlength=len(self.counts))
            case "flags" if view.labels:
                self.counts += (values > _SET).sum(axis=0, dtype=np.int64)
            case _:
                self.counts += np.bincount(values.reshape(-1).astype(np.int64), minlength=len(self.counts))

    def finish(self, beyond: Beyond) -> Part:
        """Return the counts, without the numbers that were clipped into the first and the last bin."""
        if self.view.form == "numbers":
            self.counts[0] -= min(beyond.below, int(self.counts[0]))
            self.counts[-1] -= min(beyond.above, int(self.counts[-1]))
        return Part(tuple(self.counts.tolist()), self.total, self.missing, beyond.below, beyond.above)


def _find_present(view: View, block: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which cells, (records, ...) without the last axis, have a value."""
    array = block[view.tensor]
    there = np.ones(array.shape[:-1], np.bool_)
    if view.absent is not None:
        there &= array[..., view.absent] <= _SET
    if view.there is not None:
        there &= array[..., view.there] > _SET
    if view.observed is not None:
        there &= block[view.observed][..., view.start]
    if view.steps is not None:
        there &= block[view.steps]
    return there


def _find_bins(values: NDArray[Any], view: View) -> NDArray[np.int64]:
    """Return the bin of each number, 0 to ``BINS`` - 1."""
    places = (values.astype(np.float64) - view.low) / (view.high - view.low) * BINS
    return np.clip(np.floor(np.round(places, _EDGE_DIGITS)), 0, BINS - 1).astype(np.int64)


def _find_months(values: NDArray[Any], view: View) -> NDArray[np.int64]:
    """Return the month, 0 to 11, of each sine and cosine; (dates, 2), the first of January at angle 0."""
    sine, cosine = ((values.astype(np.float64) - view.low) / (view.high - view.low) * 2 - 1).T
    places: NDArray[np.float64] = np.arctan2(sine, cosine) / (2 * math.pi) % 1 * len(view.labels)
    return np.floor(np.round(places, _EDGE_DIGITS)).astype(np.int64) % len(view.labels)


def _list_blocks(arrays: Arrays, views: Sequence[View]) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the tensors that ``views``, all of one tensor, need, some records at a time."""
    names = {name for view in views for name in (view.tensor, view.observed, view.steps) if name is not None}
    array = arrays[views[0].tensor]
    step = max(1, _BLOCK // max(1, math.prod(array.shape[1:])))
    for start in range(0, len(array), step):
        yield {name: np.asarray(arrays[name][start : start + step]) for name in names}


def _make_distribution(view: View, training: Part, test: Part) -> Distribution:
    """Put the counts of both files side by side; of many words, the most frequent ones."""
    if view.form == "numbers":
        return Distribution(
            view.name, view.what, view.role, "numbers", (), training, test, view.range, view.logarithm, view.unit
        )
    labels = view.labels or (_NO_OR_YES if view.form == "flags" else ())
    both = np.array(training.counts) + np.array(test.counts)
    shown, others = np.arange(len(both)), 0
    if len(both) > MOST_BARS:
        shown = np.argsort(-both, kind="stable")[:MOST_BARS]
        others = int((both > 0).sum() - (both[shown] > 0).sum())
        shown = shown[both[shown] > 0]
    names = tuple(labels[place] if labels else str(place) for place in shown.tolist())
    first, second = (
        dataclasses.replace(part, counts=tuple(part.counts[place] for place in shown.tolist()))
        for part in (training, test)
    )
    return Distribution(view.name, view.what, view.role, "words", names, first, second, others=others)
