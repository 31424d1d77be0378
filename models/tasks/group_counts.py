"""Counts of several groups of cells: divide them by group, and tell how many patients they are of.

Counts are whole numbers of Python, which never overflow, so that ranks computed from them are exact.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from numpy.typing import NDArray

from models.tasks.histograms import clip_counts
from privacy.study.tasks.task import CellGroup, count_cells

Counts = NDArray[Any]
"""Whole numbers of Python in an array of objects."""


def split_counts(counts: Sequence[int], groups: tuple[CellGroup, ...]) -> list[Counts]:
    """Divide ``counts`` (cells,) by group, clipped at zero, because noise may have made them negative.

    Raises:
        ValueError: the counts are not as many as the groups have cells.
    """
    clipped = clip_counts(counts, count_cells(groups)).astype(object)
    ends = list(accumulate(group.cells for group in groups))
    return [clipped[end - group.cells : end] for group, end in zip(groups, ends, strict=True)]


def count_patients_of_histograms(counts: Sequence[int], groups: tuple[CellGroup, ...]) -> int:
    """Return the mean total of ``groups``, all of them histograms, rounded; at least 0.

    Every patient is once in each. Cells are not clipped: noise cancels in their sum, and clipping would add to it.

    Raises:
        ValueError: as :func:`split_counts`.
    """
    if len(counts) != count_cells(groups):
        raise ValueError(f"expected {count_cells(groups)} counts, got {len(counts)}")
    return max(0, round(sum(int(count) for count in counts) / len(groups)))
