"""Estimate how far other noise, or other test patients, would change the figures of a summed score histogram.

Both estimates are root mean square differences over resampled histograms (a parametric bootstrap). They need only
the opened counts and the public noise level:

* **likely histogram**: no cell is negative, and each class keeps its unclipped total: a constant is subtracted from
  the counts, and what becomes negative is set to zero;
* **noise**: the public noise is added to the likely histogram in each draw, and the figures are computed as in
  ``models/tasks/binary.py``. The difference contains the spread of the noise and the bias of clipping at zero. If
  noise exceeds the patients (:func:`is_mostly_noise`), it is only a lower bound;
* **chance**: as many test patients are drawn from the likely histogram in each draw, class by class, without noise.

The counts seed the generator, so that the same counts give the same figures everywhere.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_DRAWS: Final = 1000
_CELLS_AT_ONCE: Final = 1 << 20
_MOST_UNDEFINED: Final = 0.05
"""Largest share of draws that may leave a figure undefined; above it the figure gets no estimate."""

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """The root mean square difference of each figure; None where the figure is undefined."""

    auroc: float | None
    accuracy: float | None
    sensitivity: float | None
    specificity: float | None


def estimate_noise_errors(counts: Sequence[int], deviation: float) -> Errors:
    """Estimate how far noise of this standard deviation in each of ``counts``, (2 * bins,), changes the figures.

    Args:
        counts: bins of the negatives, then of the positives, as opened.
        deviation: standard deviation of all sites' noise together, in patients; 0 means no noise.

    Raises:
        ValueError: the counts are not twice an even number of bins.
    """
    likely, rng = _estimate_likely_counts(counts), _make_generator(counts)
    return _estimate_errors(
        likely, lambda draws: likely + np.rint(rng.normal(0.0, deviation, (draws, *likely.shape)))
    )


def is_mostly_noise(counts: Sequence[int], deviation: float) -> bool:
    """Return whether clipped noise is expected to add more patients than ``counts`` (2 * bins,) have in sum.

    Clipped at zero, a cell of normal noise alone has the mean deviation / sqrt(2 pi).
    """
    made_up = len(counts) * deviation / math.sqrt(2 * math.pi)
    return deviation > 0 and made_up > sum(counts)


def estimate_chance_errors(counts: Sequence[int]) -> Errors:
    """Estimate how far as many other test patients from the same population would change the figures.

    Raises:
        ValueError: as :func:`estimate_noise_errors`.
    """
    likely, rng = _estimate_likely_counts(counts), _make_generator(counts)
    totals = np.rint(likely.sum(axis=1)).astype(np.int64)

    def again(draws: int) -> Counts:
        classes = [
            rng.multinomial(total, cells / cells.sum(), draws) if total else np.zeros((draws, len(cells)))
            for total, cells in zip(totals, likely, strict=True)
        ]
        return np.stack(classes, axis=1).astype(np.float64)

    return _estimate_errors(likely, again)


def _estimate_likely_counts(counts: Sequence[int]) -> Counts:
    """Estimate the most likely histogram behind noised ``counts``; (2, bins)."""
    if not len(counts) or len(counts) % 4:
        raise ValueError(f"expected two classes of an even number of bins, got {len(counts)} counts")
    return np.stack([_project_onto_total(each) for each in np.array(counts, dtype=np.float64).reshape(2, -1)])


def _project_onto_total(cells: Counts) -> Counts:
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
    likely: Counts = np.maximum(cells - excess[kept], 0.0)
    return likely


def _make_generator(counts: Sequence[int]) -> np.random.Generator:
    # Noised counts may be negative, and a seed may not.
    return np.random.default_rng([int(each) & 0xFFFFFFFF for each in counts])


def _estimate_errors(likely: Counts, draw: Callable[[int], Counts]) -> Errors:
    # Several draws at once, but no more than fit the bound on memory.
    at_once = max(1, min(_DRAWS, _CELLS_AT_ONCE // likely.size))
    figures = [_compute_figures(draw(min(at_once, _DRAWS - done))) for done in range(0, _DRAWS, at_once)]
    drawn, own = np.concatenate(figures), _compute_figures(likely[None])[0]  # (draws, 4), (4,)
    differences = [_compute_root_mean_square(column - figure) for column, figure in zip(drawn.T, own, strict=True)]
    return Errors(*differences)


def _compute_root_mean_square(differences: Counts) -> float | None:
    defined = differences[~np.isnan(differences)]
    if len(defined) < (1 - _MOST_UNDEFINED) * len(differences):
        return None
    return float(np.sqrt(np.mean(defined**2)))


def _compute_figures(histograms: Counts) -> Counts:
    """Compute AUROC, accuracy, sensitivity, specificity (n, 4) of ``histograms`` (n, 2, bins); NaN if undefined."""
    cells = np.maximum(histograms, 0.0)
    negatives, positives = cells[:, 0], cells[:, 1]  # (n, bins) each
    half = cells.shape[2] // 2
    negative, positive = negatives.sum(axis=1), positives.sum(axis=1)  # (n,) each
    below = np.cumsum(negatives, axis=1) - negatives / 2  # a tie counts half
    rejected, found = negatives[:, :half].sum(axis=1), positives[:, half:].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack(
            [
                (positives * below).sum(axis=1) / (positive * negative),
                (rejected + found) / (negative + positive),
                found / positive,
                rejected / negative,
            ],
            axis=1,
        )
