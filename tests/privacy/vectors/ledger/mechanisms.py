"""What the events of the golden ledgers cost, from the formulas in ``docs/ledger.md`` and nothing of ours.

Written to be compared with the formulas, not to be fast; 60 digits, so that no rounding here decides an integer.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, localcontext
from math import comb
from typing import Any

ORDERS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256)
DIGITS = Context(prec=60, Emax=10**9, Emin=-(10**9))
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


def curve(event: dict[str, Any], times: int = 1) -> list[int] | None:
    """Nano units at every order; None if nothing bounds the event."""
    if event["kind"] == "unprotected":
        return None
    return [times * charge(event, order) for order in ORDERS]


def charge(event: dict[str, Any], order: int) -> int:
    """Nano units at one order, rounded up."""
    with localcontext(DIGITS):
        return int((_divergence(event, order) * 10**9).to_integral_value(ROUND_CEILING))


def limit(epsilon: float, delta: float, order: int) -> int:
    """Nano units that (epsilon, delta) has room for at one order, rounded down."""
    with localcontext(DIGITS):
        a = Decimal(order)
        c = ((a - 1) / a).ln() - (Decimal(delta).ln() + a.ln()) / (a - 1)
        return int(((Decimal(epsilon) - c) * 10**9).to_integral_value(ROUND_FLOOR))


def _divergence(event: dict[str, Any], order: int) -> Decimal:
    a = Decimal(order)
    times = Decimal(event.get("steps") or event["count"])
    match event["kind"]:
        case "gaussian":
            return times * a / (2 * Decimal(event["noise_multiplier"]) ** 2)
        case "laplace":
            b = Decimal(event["scale"])
            moment = a / (2 * a - 1) * ((a - 1) / b).exp() + (a - 1) / (2 * a - 1) * (-a / b).exp()
            return times * moment.ln() / (a - 1)
        case "sampled-gaussian":
            return times * _sampled(event, order)
        case "distributed-gaussian":
            return times * (_sampled(event, order) + Decimal("1e-24"))
        case "site-updates":
            return times * (_replaced(event, order) + Decimal("1e-24"))
        case "banded-gaussian":
            # the coefficients of (1 - x)^(-1/2), one by one
            column, coefficient = Decimal(0), Decimal(1)
            for lag in range(int(event["bands"])):
                column += coefficient * coefficient
                coefficient *= (lag + Decimal("0.5")) / (lag + 1)
            return times / int(event["lots"]) * column * a / (2 * Decimal(event["noise_multiplier"]) ** 2)
        case "tree-gaussian":
            levels = len(bin(event["lots"])) - 2
            return times / int(event["lots"]) * levels * a / (2 * Decimal(event["noise_multiplier"]) ** 2)
        case "individual-gaussian":
            return int(event["paid_steps"]) * a / (2 * Decimal(event["noise_multiplier"]) ** 2)
        case "bounded-contribution":
            s, q, k = (
                Decimal(event[name]) for name in ("noise_multiplier", "sampling_rate", "records_per_patient")
            )
            if q == 1:
                return times * a * k * k / (2 * s * s)
            if k == 1:
                return times * _sampled(event, order)
            weights = _weights(q, int(k))
            moment = max(_present(s, weights, order), _absent(s, q, weights, order))
            return times * (moment * (1 + Decimal("1e-12"))).ln() / (a - 1)
    raise ValueError(event["kind"])


def _sampled(event: dict[str, Any], order: int) -> Decimal:
    s, q = Decimal(event["noise_multiplier"]), Decimal(event["sampling_rate"])
    return order / (2 * s * s) if q == 1 else _moment(s, q, order).ln() / (order - 1)


def _replaced(event: dict[str, Any], order: int) -> Decimal:
    s, q = Decimal(event["noise_multiplier"]), Decimal(event["participation"])
    given_the_draw = 1 - q + q * (2 * order * (order - 1) / (s * s)).exp()
    by_way_of_none = (_moment(s, q, 2 * order) * _moment(s, q, 2 * order - 1)).sqrt()
    return min(given_the_draw, by_way_of_none).ln() / (order - 1)


def _moment(s: Decimal, q: Decimal, order: int) -> Decimal:
    """A(order) of the sampled Gaussian."""
    terms = (
        comb(order, k)
        * (1 - q if k < order else Decimal(1)) ** (order - k)
        * q**k
        * ((k * k - k) / (2 * s * s)).exp()
        for k in range(order + 1)
    )
    return sum(terms, _ZERO)


def _weights(q: Decimal, records: int) -> list[Decimal]:
    return [comb(records, i) * q**i * (1 - q) ** (records - i) for i in range(records + 1)]


def _present(s: Decimal, weights: list[Decimal], order: int) -> Decimal:
    """E_N[(P/N)^a]: the coefficients of the power are a sum over how often each component was drawn."""
    factor = [weight * (-i * i / (2 * s * s)).exp() for i, weight in enumerate(weights)]
    coefficients = [Decimal(1)]
    for _ in range(order):
        coefficients = [
            sum(
                (coefficients[j - i] * factor[i] for i in range(len(factor)) if 0 <= j - i < len(coefficients)),
                _ZERO,
            )
            for j in range(len(coefficients) + len(factor) - 1)
        ]
    return sum((c * (Decimal(j * j) / (2 * s * s)).exp() for j, c in enumerate(coefficients)), _ZERO)


def _absent(s: Decimal, q: Decimal, weights: list[Decimal], order: int) -> Decimal:
    """E_N[(N/P)^(a-1)], summed in steps of 1/8 standard deviation to where the tails weigh less than 1e-50."""
    reach, most = 16, (1 - q) ** (-(len(weights) - 1) * (order - 1))
    while (tails := 2 * most * (-Decimal(reach * reach) / 2).exp()) > Decimal("1e-50"):
        reach *= 2
    total = _ZERO
    for n in range(-8 * reach, 8 * reach + 1):
        x = Decimal(n) / 8
        ratio = sum((w * (i * x / s - i * i / (2 * s * s)).exp() for i, w in enumerate(weights)), _ZERO)
        total += (-x * x / 2).exp() / (2 * PI).sqrt() / 8 * ratio ** (1 - order)
    return total + tails


_ZERO = Decimal(0)
