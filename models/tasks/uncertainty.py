"""How far another draw of the noise, or of the test patients, would move the figures of a summed score histogram.

Both are root mean square differences over resampled histograms (a parametric bootstrap), computed from what has been
opened and from public noise alone:

* **noise**: the histogram is taken to be the most likely one behind the counts: nothing negative, each class with its
  unclipped total (the counts, less the constant with which the rest adds up to it). The public noise is added to it
  again and again, and the figures are computed as ever (``models/tasks/binary.py``). So the difference holds what noise
  scatters, and what clipping cells at zero shifts.
  Where the noise drowns the patients (:func:`is_mostly_noise`), it is only a lower bound.
* **chance**: as many test patients are drawn again from that histogram, class by class, without noise.

The draws come from a generator that the counts seed: everybody who has the counts gets the same figures.
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
"""Of the draws: beyond it a figure has no spread worth naming."""

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Root mean square differences of each figure; None where the figure is undefined."""

    auroc: float | None
    accuracy: float | None
    sensitivity: float | None
    specificity: float | None


def estimate_noise_errors(counts: Sequence[int], deviation: float) -> Errors:
    """How far noise of this standard deviation in each of ``counts``, (2 * bins,), moves the figures.

    Args:
        counts: the negatives' bins, then the positives', as opened.
        deviation: of all sites' noise together, in patients; 0 is no noise.

    Raises:
        ValueError: the counts are not twice an even number of bins.
    """
    likely, rng = _estimate_likely_counts(counts), _make_generator(counts)
    return _estimate_errors(
        likely, lambda draws: likely + np.rint(rng.normal(0.0, deviation, (draws, *likely.shape)))
    )


def is_mostly_noise(counts: Sequence[int], deviation: float) -> bool:
    """Whether clipping at zero leaves more patients that noise made up than patients that were counted.

    A cell of noise alone is expected at deviation / sqrt(2 pi) once it is clipped.
    """
    made_up = len(counts) * deviation / math.sqrt(2 * math.pi)
    return deviation > 0 and made_up > sum(counts)


def estimate_chance_errors(counts: Sequence[int]) -> Errors:
    """How far other test patients, as many from the same population, would move the figures.

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
    """The most likely histogram behind noised ``counts``, (2, bins)."""
    if not len(counts) or len(counts) % 4:
        raise ValueError(f"expected two classes of an even number of bins, got {len(counts)} counts")
    return np.stack([_project_onto_total(each) for each in np.array(counts, dtype=np.float64).reshape(2, -1)])


def _project_onto_total(cells: Counts) -> Counts:
    """The nearest cells without a negative one that add up to what ``cells`` add up to, or to nothing.

    The projection onto a simplex (Duchi et al. 2008).
    """
    total = max(0.0, float(cells.sum()))
    if total == 0:
        return np.zeros_like(cells)
    falling = np.sort(cells)[::-1]
    excess = (np.cumsum(falling) - total) / np.arange(1, len(cells) + 1)
    kept = int(np.flatnonzero(falling > excess)[-1])
    likely: Counts = np.maximum(cells - excess[kept], 0.0)
    return likely


def _make_generator(counts: Sequence[int]) -> np.random.Generator:
    return np.random.default_rng([int(each) & 0xFFFFFFFF for each in counts])


def _estimate_errors(likely: Counts, draw: Callable[[int], Counts]) -> Errors:
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
    """AUROC, accuracy, sensitivity and specificity, (n, 4), of ``histograms``, (n, 2, bins); NaN if undefined."""
    cells = np.maximum(histograms, 0.0)
    negatives, positives = cells[:, 0], cells[:, 1]
    half = cells.shape[2] // 2
    negative, positive = negatives.sum(axis=1), positives.sum(axis=1)
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
