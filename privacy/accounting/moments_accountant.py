"""Compute the epsilon of the classic moments accountant, for comparison with Abadi et al. 2016.

*For comparison only*: nothing is charged or admitted by this figure. It is sound, and never smaller than that of
:mod:`privacy.accounting.epsilon`, which takes more orders and a tighter conversion.

Rules:

* one step has the log moments alpha(l) = log max(E_0[(mu_0/mu)^l], E_mu[(mu/mu_0)^l]), with mu_0 = N(0, s^2) and
  mu = (1-q) mu_0 + q N(1, s^2). The second expectation is the larger one (Mironov, Talwar and Zhang 2019, arXiv
  1908.10530). It is l times the Rényi divergence of order l + 1;
* log moments add over steps (theorem 2.1 of the paper), and epsilon is the least (alpha(l) - log delta) / l over the
  integers l up to 32 (theorem 2.2, section 3.2).

>>> round(compute_moments_epsilon(noise=4.0, rate=0.01, steps=10_000, delta=1e-5), 4)
1.2586

Source: Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar and Zhang 2016, Deep learning with differential privacy (arXiv
1607.00133).
"""

from decimal import ROUND_CEILING, Decimal, localcontext
from typing import Final

from privacy.accounting.renyi import DIGITS, compute_gaussian_divergence, compute_sampled_gaussian_divergence
from privacy.errors import BudgetError

MOMENTS: Final = range(1, 33)
"""The moments that the paper looks at."""
_SHOWN: Final = Decimal("1e-12")


def compute_log_moment(noise: float, rate: float, steps: int, moment: int) -> Decimal:
    """Return alpha(``moment``) of ``steps`` Poisson-sampled Gaussians.

    Args:
        noise: standard deviation of the noise over the most that one patient can change.
        rate: each patient's chance to be in a step, 0 < q <= 1.
        steps: how many.
        moment: an integer from 1.
    """
    with localcontext(DIGITS):
        if rate == 1:
            return moment * compute_gaussian_divergence(noise, steps, moment + 1)
        return moment * compute_sampled_gaussian_divergence(noise, rate, steps, moment + 1)


def compute_moments_epsilon(noise: float, rate: float, steps: int, delta: float) -> float:
    """Return the classic moments accountant's epsilon at ``delta``, rounded up to 1e-12.

    *Guarantee*: (epsilon, delta)-DP for steps that were fixed in advance.

    *Privacy unit*: what is sampled and clipped as one, added or removed.

    *Edge cases*: a full batch (``rate`` 1) is a plain Gaussian; with very little noise the figure is huge, but finite;
    a delta near 1 gives 0 at the least, never less.

    Raises:
        BudgetError: delta is not between 0 and 1.
    """
    if not 0 < delta < 1:
        raise BudgetError(f"expected 0 < delta < 1, got {delta:g}")
    with localcontext(DIGITS):
        log_delta = Decimal(delta).ln()
        least = min((compute_log_moment(noise, rate, steps, each) - log_delta) / each for each in MOMENTS)
        return float(max(Decimal(0), least).quantize(_SHOWN, ROUND_CEILING))
