"""Count how much of an interval a set of intervals covers; what several of them cover counts once."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.bed import Interval

Ends = NDArray[np.int64]


class IntervalSet:
    """A set of intervals, joined where they touch or overlap."""

    def __init__(self, intervals: Iterable[Interval]) -> None:
        """Join ``intervals``."""
        found = dict[str, list[tuple[int, int]]]()
        for each in intervals:
            found.setdefault(each.chrom, []).append((each.start, each.end))
        self._spans = {chrom: _join(spans) for chrom, spans in found.items()}

    def count_covered(self, chrom: str, start: int, end: int) -> int:
        """Count the letters from ``start`` to before ``end`` that the set covers.

        >>> IntervalSet([Interval(1, "chr1", 5, 9), Interval(2, "chr1", 8, 12)]).count_covered("chr1", 0, 10)
        5
        """
        if chrom not in self._spans:
            return 0
        starts, ends = self._spans[chrom]
        first, stop = np.searchsorted(ends, start, "right"), np.searchsorted(starts, end, "left")
        return int((np.minimum(ends[first:stop], end) - np.maximum(starts[first:stop], start)).sum())


def _join(spans: list[tuple[int, int]]) -> tuple[Ends, Ends]:
    joined = list[list[int]]()
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end])
    both = np.array(joined, dtype=np.int64)
    return both[:, 0], both[:, 1]
