"""Compare probabilities with what happened: the points of a calibration plot.

``BINS`` bins of equal width; a point is the mean probability of a bin's records and the share of them that have the
label, with Wilson's 95 % interval (Wilson 1927). The records count as if each was a patient's only one.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

BINS: Final = 10


class Point(NamedTuple):
    """A bin of records: how many, their mean probability, the share with the label and its interval."""

    records: int
    probability: float
    share: float
    low: float
    high: float


def compute_points(probabilities: NDArray[np.float64], positive: NDArray[np.bool_]) -> list[Point]:
    """Compute the points of the bins that have records; both arguments are (records,)."""
    place = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    points = []
    for each in np.unique(place):
        own = place == each
        records, found = int(own.sum()), int(positive[own].sum())
        interval = binomtest(found, records).proportion_ci(method="wilson")
        points.append(
            Point(
                records,
                float(probabilities[own].mean()),
                found / records,
                float(interval.low),
                float(interval.high),
            )
        )
    return points
