"""Compute what sampling *records* costs a patient who has several: the Rényi divergence of a mixture of Gaussians.

One step adds N(0, s^2) to a sum over records that are drawn independently with rate q. A patient with k records,
each clipped to 1, moves the sum by the number of their records that were drawn, B ~ Binomial(k, q). In the worst
case all of them point along one line (Charles et al. 2024, arXiv 2407.07737, section 3; Ganesh 2024, arXiv
2401.10294; the mixture of Gaussians of Choquette-Choo et al. 2024, arXiv 2310.15526, corollary 4.7).

So the neighbours are N = N(0, s^2) and P = sum_i w_i N(i, s^2) with w_i = C(k,i) q^i (1-q)^(k-i). Both directions
count:

* D(P || N) has a closed form at integer orders: with c_j the coefficients of (sum_i w_i e^(-i^2/2s^2) z^i)^a,
  E_N[(P/N)^a] = sum_j c_j e^(j^2/2s^2).
* D(N || P) has none. E_N[(N/P)^(a-1)] is summed by the trapezoidal rule. The integrand is analytic around the real
  line and dominated by a Gaussian, so the error of the rule falls exponentially in the number of nodes (Trefethen
  and Weideman 2014, theorem 5.1). The number of nodes is doubled until two sums agree to 1e-15. The nodes reach so
  far that the tails beyond them are below 1e-50; the tails are bounded by (N/P) <= (1-q)^-k, and added. The result
  is raised by 1e-12. If the most nodes do not suffice, the order has no bound.

Arithmetic is decimal throughout: the integers that a ledger stores are the same on every machine.
"""

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from functools import lru_cache
from math import comb
from typing import Final

UNKNOWN: Final = Decimal("Infinity")
MOST_RECORDS: Final = 64
"""The most records of one patient that an event may have."""

_DIGITS: Final = Context(prec=40, Emax=MAX_EMAX, Emin=MIN_EMIN)
_FIRST_REACH: Final = 16  # standard deviations; doubled until the tails are small enough
_BEYOND: Final = Decimal("1e-50")
_FIRST_STEP: Final = Decimal("0.25")  # standard deviations between nodes; halved at every doubling
_DOUBLINGS: Final = 6
_AGREE: Final = Decimal("1e-15")
_RAISED: Final = 1 + Decimal("1e-12")


@lru_cache(maxsize=4096)
def compute_several_records_divergence(
    noise_multiplier: float, sampling_rate: float, records: int, order: int
) -> Decimal:
    """Return the Rényi divergence of ``order``, in nats, of one step between a patient's presence and absence.

    Args:
        noise_multiplier: standard deviation of the noise over what one record can change.
        sampling_rate: each record's chance to be drawn, 0 < q < 1.
        records: the most that one patient has.
        order: an integer above 1.

    Returns:
        The larger of both directions, never below the truth; infinite if no bound was reached.
    """
    with localcontext(_DIGITS):
        present = _compute_log_moment(noise_multiplier, sampling_rate, records, order)
        absent = _compute_log_inverse_moment(noise_multiplier, sampling_rate, records, order)
        return max(present, absent) / (order - 1)


def _compute_weights(sampling_rate: float, records: int) -> list[Decimal]:
    q = Decimal(sampling_rate)
    return [comb(records, i) * q**i * (1 - q) ** (records - i) for i in range(records + 1)]


def _compute_log_moment(noise: float, rate: float, records: int, order: int) -> Decimal:
    """Return log E_N[(P/N)^order], by the power of a polynomial."""
    half = 1 / (2 * Decimal(noise) ** 2)
    powers = _make_power_list(noise, rate, records)
    while len(powers) < order:
        powers.append(_multiply_polynomials(powers[-1], powers[0]))
    growth = (2 * half).exp()
    total, factor, odd = Decimal(0), Decimal(1), half.exp()  # e^(j^2/2s^2) rises by e^((2j+1)/2s^2)
    for coefficient in powers[order - 1]:
        total += coefficient * factor
        factor *= odd
        odd *= growth
    return (total * _RAISED).ln()


@lru_cache(maxsize=16)
def _make_power_list(noise: float, rate: float, records: int) -> list[list[Decimal]]:
    """Return a list with the polynomial's first power; :func:`_compute_log_moment` appends the next ones."""
    half = 1 / (2 * Decimal(noise) ** 2)
    return [[weight * (-half * i * i).exp() for i, weight in enumerate(_compute_weights(rate, records))]]


def _multiply_polynomials(left: list[Decimal], right: list[Decimal]) -> list[Decimal]:
    product = [Decimal(0)] * (len(left) + len(right) - 1)
    for shift, factor in enumerate(right):
        for i, coefficient in enumerate(left):
            product[i + shift] += coefficient * factor
    return product


def _compute_log_inverse_moment(noise: float, rate: float, records: int, order: int) -> Decimal:
    """Return log E_N[(N/P)^(order-1)], by the trapezoidal rule."""
    most = (1 - Decimal(rate)) ** (-records * (order - 1))  # of (N/P)^(order-1)
    reach = _FIRST_REACH
    while (tails := 2 * most * (-(Decimal(reach) ** 2) / 2).exp()) > _BEYOND:
        reach *= 2
    previous = None
    for doubling in range(_DOUBLINGS):
        step = _FIRST_STEP / 2**doubling
        density = step / (2 * _PI).sqrt()
        nodes = (_compute_nodes(noise, rate, records, reach, level) for level in range(doubling + 1))
        total = density * sum(((order - 1) * ratio - square).exp() for level in nodes for square, ratio in level)
        if previous is not None and abs(total - previous) <= _AGREE * total:
            raised: Decimal = (total + tails) * _RAISED
            return raised.ln()
        previous = total
    return UNKNOWN


@lru_cache(maxsize=64)
def _compute_nodes(
    noise: float, rate: float, records: int, reach: int, doubling: int
) -> list[tuple[Decimal, Decimal]]:
    """Return x^2/2 and ln(N/P) at the nodes that this doubling adds, x in standard deviations."""
    step = _FIRST_STEP / 2**doubling
    last = int(reach / step)
    s, weights = Decimal(noise), _compute_weights(rate, records)
    logs = [(weight.ln() - (i / s) ** 2 / 2, i / s) for i, weight in enumerate(weights)]
    return [
        ((step * n) ** 2 / 2, -sum((constant + slope * step * n).exp() for constant, slope in logs).ln())
        for n in range(-last, last + 1)
        if doubling == 0 or n % 2  # even nodes were summed at the earlier doublings
    ]


_PI: Final = Decimal("3.141592653589793238462643383279502884197169399375105820974944592")
