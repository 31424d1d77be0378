"""Compute the range that a round's integers must hold, from public numbers alone.

Rules:

* No record is read: the range follows from sampling rate, clipping norm, steps, noise, and the sites' public
  patient counts.
* A public count is rounded down to a multiple of ten, so a site has up to ten patients more.
* With distributed noise a sum must not wrap around. At most every patient of the lots points the same way, and the
  noise reaches :data:`TAIL` standard deviations. A larger range makes the grid coarser and so the noise larger; the
  range that holds both solves a linear equation.
* With local noise a range that is too small clips values. One that is too large costs little, since the grid is
  refined from the first opened sum on (``privacy/secure_aggregation/quantise.py``). So the range of ``auto`` is
  generous.
* An ``auto`` range is rounded up to two digits. Machines may differ in the last bit of a logarithm, and all sites
  need the same grid.

Source: Bernstein's inequality for the size of a Poisson lot.
"""

import math
from collections.abc import Iterable
from typing import Final

COUNT_STEP: Final = 10
"""Public patient counts are rounded down to a multiple of this."""
TAIL: Final = 8.0
"""Standard deviations of the noise that must fit into the range: the chance of more is below 2^-49."""
_UNLIKELY: Final = 35.0
"""A lot is larger than :func:`compute_most_drawn` with a chance of at most exp(-35), 2^-50."""
_STEEPEST: Final = 10.0
"""Assumed norm of a gradient without clipping: mean gradients of the catalogue's models are smaller."""
_FEWEST: Final = 50
"""Assumed patients of the smallest site: the default minimum of a site's policy."""


def count_most_patients(counts: Iterable[int]) -> int:
    """Return the most patients that sites with these public ``counts`` can have together."""
    return sum(count + COUNT_STEP for count in counts)


def compute_most_drawn(rate: float, patients: int) -> float:
    """Return the most of ``patients`` in a Poisson sample at ``rate``; more have a chance of at most 2^-50."""
    variance = patients * rate * (1 - rate)
    # Bernstein: P(excess >= t) <= exp(-t^2 / (2 (variance + t/3))); solved for t where that is exp(-35)
    beyond = _UNLIKELY / 3 + math.sqrt((_UNLIKELY / 3) ** 2 + 2 * _UNLIKELY * variance)
    return min(float(patients), rate * patients + (beyond if rate < 1 else 0.0))


def compute_range_of_sums(largest_sum: float, noise: float, parameters: int, bits: int) -> float:
    """Return the least range that holds a sum and its noise, in clipping norms; infinite if ``bits`` are too few.

    With range R rounding makes the noise (1 + 2 R sqrt(d) / 2^bits) times as large. R must be at least the sum and
    :data:`TAIL` standard deviations of that noise.

    Args:
        largest_sum: in one coordinate, in clipping norms.
        noise: standard deviation of the noise without rounding, in clipping norms.
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
    direction: float | None = None,
) -> float:
    """Return a range that a site's update, noise included, hardly ever leaves.

    Args:
        learning_rate: of a local step.
        steps: local steps in a round.
        lots: lots whose gradients are averaged in each step.
        sampling_rate: of a lot.
        norm: the most that one patient adds to the sum of a step's gradients; None where nothing is clipped.
        noise_multiplier: sigma; None without privacy.
        corrected: whether control variates are added: the difference of two mean gradients.
        direction: the most that a coordinate of a step is long before the rate; None where it is its gradient.
    """
    if direction is not None:
        return round_up(learning_rate * steps * direction)
    lot = sampling_rate * _FEWEST
    fullest = compute_most_drawn(sampling_rate, _FEWEST) / lot
    steepest = (_STEEPEST if norm is None else norm) * fullest
    noise = 0.0 if noise_multiplier is None or norm is None else noise_multiplier * norm / lot
    longest = learning_rate * (steps * steepest + TAIL * noise * math.sqrt(steps / lots))
    # a control variate adds up to two more mean gradients to each step
    return round_up(3 * longest if corrected else longest)


def round_up(value: float) -> float:
    """Round a positive ``value`` up to two digits.

    >>> round_up(4127.3), round_up(0.0123), round_up(20.0)
    (4200.0, 0.013, 20.0)
    """
    if not math.isfinite(value):
        return value
    exponent = math.floor(math.log10(value)) - 1
    # a value a rounding error above two digits keeps them
    digits = math.ceil(value / 10.0**exponent * (1 - 1e-9))
    return float(f"{digits}e{exponent}")
