"""How large values become: the range that a round's integers must hold, from public numbers alone.

Rules:

* nothing here looks at a record: sampling rate, clipping norm, steps, noise, and the sites' public patient counts;
* a public count is rounded down to a multiple of ten, so a site has up to ten patients more;
* with distributed noise a sum must not wrap around: at most every patient of the lots points the same way, and the
  noise reaches :data:`TAIL` standard deviations. A larger range makes the grid coarser and with it the noise larger,
  so the range that holds both is the solution of a linear equation;
* with local noise a range that is too small cuts values, and one that is too large costs little: from the first opened
  sum on the grid is refined (``privacy/secure_aggregation/quantise.py``). So the range of ``auto`` is a generous one;
* an ``auto`` range is rounded up to two digits: machines may differ in the last bit of a logarithm, and all sites need
  the same grid.

Source: Bernstein's inequality for the size of a Poisson lot.
"""

import math
from collections.abc import Iterable
from typing import Final

COUNT_STEP: Final = 10
"""Public patient counts are rounded down to a multiple of it."""
TAIL: Final = 8.0
"""Standard deviations of the noise that must fit into the range: beyond lie less than 2^-49."""
_UNLIKELY: Final = 35.0
"""A lot is larger than :func:`compute_most_drawn` with a chance of at most exp(-35), 2^-50."""
_STEEPEST: Final = 10.0
"""Norm of a gradient that nothing clips: mean gradients of the catalogue's models stay below."""
_FEWEST: Final = 50
"""Patients of the smallest site: what a site's policy asks for unless its people change it."""


def count_most_patients(counts: Iterable[int]) -> int:
    """The most patients that sites with these public ``counts`` can have together."""
    return sum(count + COUNT_STEP for count in counts)


def compute_most_drawn(rate: float, patients: int) -> float:
    """The most of ``patients`` that a Poisson sample at ``rate`` takes, but for a chance of 2^-50."""
    variance = patients * rate * (1 - rate)
    beyond = _UNLIKELY / 3 + math.sqrt((_UNLIKELY / 3) ** 2 + 2 * _UNLIKELY * variance)
    return min(float(patients), rate * patients + (beyond if rate < 1 else 0.0))


def compute_range_of_sums(largest_sum: float, noise: float, parameters: int, bits: int) -> float:
    """The least range that holds a sum and its noise, in clipping norms; infinite where ``bits`` are too few.

    With range R rounding makes the noise (1 + 2 R sqrt(d) / 2^bits) times as large: R must be at least the sum and
    :data:`TAIL` standard deviations of that.

    Args:
        largest_sum: in one coordinate.
        noise: standard deviation of the noise without rounding.
        parameters: d.
        bits: of a value.
    """
    tail = TAIL * noise
    left = 1 - tail * 2 * math.sqrt(parameters) / (1 << bits)
    return (largest_sum + tail) / left if left > 0 else math.inf


def compute_range_of_updates(
    *,
    learning_rate: float,
    steps: int,
    lots: int,
    sampling_rate: float,
    norm: float | None,
    noise_multiplier: float | None,
    corrected: bool,
) -> float:
    """A range that a site's update hardly ever leaves, noise included.

    Args:
        learning_rate: of a local step.
        steps: local steps in a round.
        lots: whose gradients are averaged in each.
        sampling_rate: of a lot.
        norm: the most that one patient adds to the gradient of a step; None where nothing is clipped.
        noise_multiplier: sigma; None without privacy.
        corrected: whether control variates are added, which are the difference of two mean gradients.
    """
    lot = sampling_rate * _FEWEST
    fullest = compute_most_drawn(sampling_rate, _FEWEST) / lot
    steepest = (_STEEPEST if norm is None else norm) * fullest
    noise = 0.0 if noise_multiplier is None or norm is None else noise_multiplier * norm / lot
    longest = learning_rate * (steps * steepest + TAIL * noise * math.sqrt(steps / lots))
    return round_up(3 * longest if corrected else longest)


def round_up(value: float) -> float:
    """``value``, positive, rounded up to two digits.

    >>> rounded_up(4127.3), rounded_up(0.0123), rounded_up(20.0)
    (4200.0, 0.013, 20.0)
    """
    if not math.isfinite(value):
        return value
    exponent = math.floor(math.log10(value)) - 1
    digits = math.ceil(value / 10.0**exponent * (1 - 1e-9))
    return float(f"{digits}e{exponent}")
