"""Compute the Rényi divergence of each mechanism at one order, in decimal arithmetic.

Decimals have 50 digits, and ``exp`` and ``ln`` are correctly rounded. So every machine gets the same figures;
nothing depends on a platform's floating point.

Sources: Mironov 2017 (arXiv 1702.07476, propositions 6 and 7) for Laplace and Gaussian; Mironov, Talwar and Zhang
2019 (arXiv 1908.10530, section 3.3) for the Poisson-sub-sampled Gaussian at integer orders; ``docs/privacy.md`` for
the replacement of a site's update; ``privacy/accounting/correlated_noise.py`` for noise that is correlated over steps.
"""

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from functools import lru_cache
from math import comb
from typing import Final

ORDERS: Final = range(2, 257)
LARGER: Final = tuple(round(256 * 2 ** (quarter / 4)) for quarter in range(1, 25))
"""Up to 16384, a quarter of an octave apart: the best of them is within a hundredth of the best order between."""
STORED_ORDERS: Final = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256)
NANO: Final = 10**9
AT_LEAST: Final = 2**53 - 1  # the largest integer of canonical JSON (RFC 8785); in a curve: this amount or more
UNBOUNDED: Final = Decimal("Infinity")
DIGITS: Final = Context(prec=50, Emax=MAX_EMAX, Emin=MIN_EMIN)


def compute_gaussian_divergence(noise: float, count: int, order: int) -> Decimal:
    """Return the divergence of ``count`` Gaussians: order * count / (2 noise^2) (Mironov 2017, proposition 7)."""
    with localcontext(DIGITS):
        return Decimal(order) * count / (2 * Decimal(noise) ** 2)


def compute_banded_divergence(noise: float, bands: int, uses: int, order: int) -> Decimal:
    """Return the divergence of ``uses`` uses, ``bands`` steps apart or more, under banded noise.

    Each is a Gaussian with the sensitivity of a column: the coefficients C(2k, k) / 4^k of (1 - x)^(-1/2), for k below
    ``bands``.
    """
    with localcontext(DIGITS):
        column = sum((Decimal(comb(2 * k, k)) ** 2 / Decimal(16) ** k for k in range(bands)), Decimal(0))
        return column * compute_gaussian_divergence(noise, uses, order)


def compute_tree_divergence(noise: float, leaves: int, uses: int, order: int) -> Decimal:
    """Return the divergence of ``uses`` uses, each of one leaf of a binary tree of its own over ``leaves`` leaves.

    A leaf is in at most as many nodes as ``leaves`` has binary digits; each node is a Gaussian.
    """
    return compute_gaussian_divergence(noise, uses * leaves.bit_length(), order)


@lru_cache(maxsize=4096)
def compute_laplace_divergence(scale: float, order: int) -> Decimal:
    """Return the divergence of Laplace noise (Mironov 2017, proposition 6).

    ln[a/(2a-1) exp((a-1)/b) + (a-1)/(2a-1) exp(-a/b)] / (a-1), for order a and scale b.
    """
    with localcontext(DIGITS):
        a, b = Decimal(order), Decimal(scale)
        moment = (a * ((a - 1) / b).exp() + (a - 1) * (-a / b).exp()) / (2 * a - 1)
        return moment.ln() / (a - 1)


def compute_sampled_gaussian_divergence(noise: float, rate: float, steps: int, order: int) -> Decimal:
    """Return the divergence of ``steps`` Poisson-sampled Gaussians: steps * log(A) / (order - 1).

    A = sum_k C(order, k) (1-q)^(order-k) q^k exp((k^2-k) / (2 noise^2)), for q = ``rate``.
    """
    with localcontext(DIGITS):
        return steps * _compute_log_moment(noise, rate, order) / (order - 1)


@lru_cache(maxsize=4096)
def _compute_log_moment(noise: float, rate: float, order: int) -> Decimal:
    """Return log(A).

    All terms of A are positive, and 50 digits keep A - 1 exact enough down to q^2 = 1e-18.
    """
    with localcontext(DIGITS):
        term = total = (1 - Decimal(rate)) ** order
        weights = _list_weights(noise, rate, max(STORED_ORDERS[-1], 1 << (order - 1).bit_length()))
        for k, weight in enumerate(weights[:order], start=1):
            # C(order, k) / C(order, k - 1) = (order - k + 1) / k, and (k^2-k) / 2 grows by k - 1
            term *= weight * (order - k + 1) / k
            total += term
        return total.ln()


@lru_cache(maxsize=4)
def _list_weights(noise: float, rate: float, count: int) -> tuple[Decimal, ...]:
    """Return q / (1-q) exp((k-1) / noise^2) for k = 1 to ``count``, which the terms at all orders share."""
    with localcontext(DIGITS):
        q = Decimal(rate)
        growth = (1 / Decimal(noise) ** 2).exp()
        odds, power, weights = q / (1 - q), Decimal(1), list[Decimal]()
        for _ in range(count):
            weights.append(odds * power)
            power *= growth
        return tuple(weights)


@lru_cache(maxsize=4096)
def compute_replacement_divergence(noise: float, rate: float, order: int) -> Decimal:
    """Bound the divergence when a vector of norm 1, counted with chance ``rate``, becomes another one.

    The smaller of two bounds, which ``docs/privacy.md`` proves. Either the two are compared given the draw, where
    they are at most 2 apart (joint convexity). Or each is compared with no vector at all (Cauchy and Schwarz);
    this bound is the smaller one for nearly every rate below 1.
    """
    with localcontext(DIGITS):
        a, q = Decimal(order), Decimal(rate)
        drawn = 2 * a / Decimal(noise) ** 2
        if rate == 1:
            return drawn
        convex = (1 - q + q * ((a - 1) * drawn).exp()).ln()
        by_way_of_none = (
            _compute_log_moment(noise, rate, 2 * order) + _compute_log_moment(noise, rate, 2 * order - 1)
        ) / 2
        return min(convex, by_way_of_none) / (a - 1)
