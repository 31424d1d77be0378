"""Estimate how far other noise, or other test patients, would change the figures of a study's summed cells.

Both estimates are root mean square differences over resampled cells (a parametric bootstrap). They need only the
opened counts and the public noise level, and hold for every task:

* **likely counts**: in a histogram no cell is negative, and each of its rows (classes, for example) keeps its
  unclipped total: a constant is subtracted from the counts of a row, what becomes negative is set to zero, and the
  rest is rounded so that no sum from the first cell on changes by more than a half. Groups of sums stay as they are;
* **noise**: the public noise of each cell is added to the likely counts in each draw, and the task computes the
  figures. The difference contains the spread of the noise and the bias of clipping at zero. If noise exceeds the
  patients (:func:`is_mostly_noise`), it is only a lower bound;
* **chance**: as many test patients are drawn from the likely histogram in each draw, without noise; several
  histograms are drawn independently of each other. A figure gets no such estimate if it depends on a group of sums, or
  on a histogram to which a patient may add more than once: its cells do not tell how patients differ.

The counts seed the generator, so that the same counts give the same figures everywhere. ``deviation`` is the standard
deviation, over all sites together, of noise with a scale of one (``privacy/study/tasks/task.py``); 0 means no noise.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.task import Task, Values
from privacy.study.tasks.task import CellGroup, compute_squared_scales, count_cells

_DRAWS: Final = 200
_CELLS_OF_DRAWS: Final = 500_000
"""The most cells that all draws have together, so that large totals take no longer than small ones."""
_LEAST_DRAWS: Final = 20
_PROBES: Final = 4
_MOST_UNDEFINED: Final = 0.05
"""Largest share of draws that may leave a figure undefined; above it the figure gets no estimate."""

Groups = tuple[CellGroup, ...]
Cells = NDArray[np.int64]


def estimate_noise_errors(task: Task, groups: Groups, counts: Sequence[int], bins: int, deviation: float) -> Values:
    """Estimate how far the public noise in opened ``counts``, (cells,), changes each figure.

    None where the figure is not defined; 0 without noise.

    Raises:
        ValueError: the counts are not as many as the groups have cells.
    """
    likely, rng = _estimate_likely_counts(groups, counts), _make_generator(counts)
    own = task.compute_figures(likely.tolist(), bins)
    if not deviation:
        return {name: None if value is None else 0.0 for name, value in own.items()}
    deviations = deviation * np.sqrt(compute_squared_scales(groups))  # (cells,)
    drawn = _draw(task, bins, likely.size, lambda: likely + np.rint(rng.normal(0.0, deviations)).astype(np.int64))
    return _compare(own, drawn)


def estimate_chance_errors(task: Task, groups: Groups, counts: Sequence[int], bins: int) -> Values:
    """Estimate how far as many other test patients from the same population would change each figure.

    None where the figure is not defined, or its cells do not tell.

    Raises:
        ValueError: as :func:`estimate_noise_errors`.
    """
    likely, rng = _estimate_likely_counts(groups, counts), _make_generator(counts)
    own = task.compute_figures(likely.tolist(), bins)
    unknown = _find_dependent_figures(task, groups, likely, bins, own)
    if unknown >= own.keys():
        return dict.fromkeys(own)

    def draw_other_patients() -> Cells:
        return np.concatenate(
            [
                _draw_patients(rng, cells) if _counts_patients(group) else cells
                for group, cells in _split_groups(groups, likely)
            ]
        )

    found = _compare(own, _draw(task, bins, likely.size, draw_other_patients))
    return {name: None if name in unknown else value for name, value in found.items()}


def is_mostly_noise(groups: Groups, counts: Sequence[int], deviation: float) -> bool:
    """Return whether clipped noise is expected to add more patients than the first histogram has in sum.

    Clipped at zero, a cell of normal noise alone has the mean deviation / sqrt(2 pi). False without a histogram.
    """
    for group, cells in _split_groups(groups, np.array(counts, dtype=np.int64)):
        if group.histogram:
            made_up = group.cells * compute_first_deviation(groups, deviation) / math.sqrt(2 * math.pi)
            return deviation > 0 and made_up > int(cells.sum())
    return False


def compute_first_deviation(groups: Groups, deviation: float) -> float:
    """Compute the standard deviation of the noise in each cell of the first histogram, or else of the first group."""
    first = next((place for place, group in enumerate(groups) if group.histogram), 0)
    return deviation * math.sqrt(compute_squared_scales(groups)[count_cells(groups[:first])])


def _counts_patients(group: CellGroup) -> bool:
    return group.histogram and group.squared_sensitivity == 1


def _split_groups(groups: Groups, cells: Cells) -> list[tuple[CellGroup, Cells]]:
    if len(cells) != count_cells(groups):
        raise ValueError(f"expected {count_cells(groups)} cells, got {len(cells)} counts")
    ends = np.cumsum([group.cells for group in groups])[:-1]
    return list(zip(groups, np.split(cells, ends), strict=True))


def _estimate_likely_counts(groups: Groups, counts: Sequence[int]) -> Cells:
    """Estimate the most likely counts behind noised ``counts``; (cells,)."""
    rows = list[Cells]()
    for group, cells in _split_groups(groups, np.array(counts, dtype=np.int64)):
        if not group.histogram:
            rows.append(cells)
        else:
            rows += [_round(_project_onto_total(row.astype(np.float64))) for row in np.split(cells, group.rows)]
    return np.concatenate(rows)


def _project_onto_total(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Project ``cells`` (bins,) onto the nearest cells with the same sum (at least 0) and none negative.

    Source: Duchi et al. 2008, projection onto a simplex.
    """
    total = max(0.0, float(cells.sum()))
    if total == 0:
        return np.zeros_like(cells)
    # excess[k] is what must be subtracted from each cell if the k + 1 greatest stay positive. The last k at which
    # the smallest of these is still above its excess is the solution.
    falling = np.sort(cells)[::-1]
    excess = (np.cumsum(falling) - total) / np.arange(1, len(cells) + 1)
    kept = int(np.flatnonzero(falling > excess)[-1])
    likely: NDArray[np.float64] = np.maximum(cells - excess[kept], 0.0)
    return likely


def _round(cells: NDArray[np.float64]) -> Cells:
    """Round ``cells`` (bins,) to whole patients; sums from the first cell on are rounded, so that they stay."""
    return np.diff(np.rint(np.cumsum(cells)), prepend=0.0).astype(np.int64)


def _make_generator(counts: Sequence[int]) -> np.random.Generator:
    # Noised counts may be negative, and a seed may not.
    return np.random.default_rng([int(each) & 0xFFFFFFFF for each in counts])


def _draw_patients(rng: np.random.Generator, cells: Cells) -> Cells:
    total = int(cells.sum())
    return rng.multinomial(total, cells / total) if total else cells


def _find_dependent_figures(task: Task, groups: Groups, likely: Cells, bins: int, own: Values) -> set[str]:
    """Find the figures that depend on groups whose cells do not tell how patients differ, by moving these cells."""
    if all(_counts_patients(group) for group in groups):
        return set()
    rng, found = _make_generator(likely.tolist()), set[str]()
    for _ in range(_PROBES):
        moved = [
            cells if _counts_patients(group) else cells + rng.integers(0, 2 + np.abs(cells))
            for group, cells in _split_groups(groups, likely)
        ]
        other = task.compute_figures(np.concatenate(moved).tolist(), bins)
        found |= {name for name, value in own.items() if other[name] != value}
    return found


def _draw(task: Task, bins: int, cells: int, draw: Callable[[], Cells]) -> list[Values]:
    draws = max(_LEAST_DRAWS, min(_DRAWS, _CELLS_OF_DRAWS // cells))
    return [task.compute_figures(draw().tolist(), bins) for _ in range(draws)]


def _compare(own: Values, drawn: Sequence[Values]) -> Values:
    return {name: _compute_root_mean_square(value, [each[name] for each in drawn]) for name, value in own.items()}


def _compute_root_mean_square(own: float | None, drawn: Sequence[float | None]) -> float | None:
    defined = [value - own for value in drawn if value is not None and own is not None]
    if len(defined) < (1 - _MOST_UNDEFINED) * len(drawn):
        return None
    return float(np.sqrt(np.mean(np.square(defined))))
