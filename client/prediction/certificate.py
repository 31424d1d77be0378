"""Compute how far an attacker may change an image without changing what is predicted, from counts of noisy draws.

The classifier that is certified is the smoothed one: the class that the model says most often when its noise layer
draws. From n draws come a lower bound p of how often it says the first class, and upper bounds of all others; q is the
largest. Both certificates are L2 radii, for noise of standard deviation s over the sensitivity of what precedes it:

=========  ========================================================================================================
PixelDP    the largest s e / sqrt(2 ln(1.25 / d)) for which p > exp(2e) q + (1 + exp(e)) d, over e up to 1 and d
           (Lecuyer et al. 2019, arXiv 1802.03471, proposition 2)
Cohen      s / 2 (Phi^-1(p) - Phi^-1(q)) (Cohen et al. 2019, arXiv 1902.02918, theorem 1), never smaller
=========  ========================================================================================================

Rules:

* an interval is that of Clopper and Pearson, one-sided, which holds for every n. Each of the bounds that are looked at
  is a hypothesis, and their errors add up (Bonferroni): with K classes there are 2K, because the draws also choose
  which class is first. With two classes q is 1 - p, and there are two;
* all radii of one image hold together with probability 1 - eta over the draws, whatever the image is;
* a radius of 0 means that nothing is certified, and the class may be wrong;
* the figure of PixelDP is found on a grid of d, where e is the largest that fits, so it is never above the true one.

>>> round(bound_below(95, 100, 0.05), 6), round(bound_above(3, 100, 0.05), 6)
(0.897747, 0.075711)
"""

import math
from typing import Final, NamedTuple

import numpy as np
from scipy.special import betaincinv, ndtri

ETA: Final = 0.05
"""The chance that a certificate of an image is wrong, over the draws."""
_GRID: Final = np.geomspace(1e-12, 0.5, 20_000)
_MOST_EPSILON: Final = 1.0  # of the classic Gaussian mechanism


class Certificate(NamedTuple):
    """What is certified of one image.

    Attributes:
        place: of the class that was said most often.
        below: lower bound of how often it is said.
        above: upper bound of how often any other class is said.
        pixeldp: radius by differential privacy.
        cohen: radius by the lemma of Neyman and Pearson.
    """

    place: int
    below: float
    above: float
    pixeldp: float
    cohen: float


def certify_counts(counts: "np.typing.NDArray[np.int64]", deviation: float, eta: float = ETA) -> Certificate:
    """Certify an image from how often each of its classes was said, ``counts`` (classes,).

    Args:
        counts: of two classes or more; their sum is the number of draws.
        deviation: of the noise, over the sensitivity of what precedes it.
        eta: the chance of error that is allowed.
    """
    draws, place = int(counts.sum()), int(counts.argmax())
    hypotheses = 2 if len(counts) == 2 else 2 * len(counts)
    below = bound_below(int(counts[place]), draws, eta / hypotheses)
    others = int(np.delete(counts, place).max())
    above = 1 - below if len(counts) == 2 else bound_above(others, draws, eta / hypotheses)
    return Certificate(
        place,
        below,
        above,
        compute_pixeldp_radius(below, above, deviation),
        compute_cohen_radius(below, above, deviation),
    )


def bound_below(successes: int, draws: int, error: float) -> float:
    """Return the one-sided lower bound of Clopper and Pearson of a chance, wrong with chance ``error`` at most."""
    return 0.0 if successes == 0 else float(betaincinv(successes, draws - successes + 1, error))


def bound_above(successes: int, draws: int, error: float) -> float:
    """Return the one-sided upper bound of Clopper and Pearson of a chance."""
    return 1 - bound_below(draws - successes, draws, error)


def compute_hoeffding_width(draws: int, error: float) -> float:
    """Return how far the mean of ``draws`` values in [0, 1] may be off, on one side (Hoeffding 1963).

    It bounds means of softmax outputs, where counts of classes are not enough.
    """
    return math.sqrt(math.log(1 / error) / (2 * draws))


def compute_pixeldp_radius(below: float, above: float, deviation: float) -> float:
    """Return PixelDP's L2 radius for Gaussian noise; 0 if nothing is certified."""
    epsilons = _find_largest_epsilons(below, above)
    sizes = np.where(epsilons > 0, epsilons, 0.0) / np.sqrt(2 * np.log(1.25 / _GRID))
    return deviation * float(sizes.max())


def compute_laplace_size(below: float, above: float, attack: float, epsilon: float) -> float:
    """Return PixelDP's L1 radius for Laplace noise of scale ``attack`` / ``epsilon``; 0 if nothing is certified.

    It is the scale times the largest e for which below > exp(2e) above.
    """
    return 0.0 if below <= above else attack / epsilon * math.log(below / above) / 2


def compute_cohen_radius(below: float, above: float, deviation: float) -> float:
    """Return Cohen's L2 radius for Gaussian noise; 0 if nothing is certified."""
    if below <= above:
        return 0.0
    return deviation / 2 * float(ndtri(below) - ndtri(above))


def _find_largest_epsilons(below: float, above: float) -> "np.typing.NDArray[np.float64]":
    """Find, for each d of the grid, the largest e up to 1 with below >= exp(2e) above + (1 + exp(e)) d.

    With x = exp(e) it is the root of above x^2 + d x + d - below = 0.
    """
    room = below - _GRID
    root = np.sqrt(np.maximum(0.0, _GRID**2 + 4 * above * room))
    # the form that loses no digits where above is small
    x = np.where(room > 0, 2 * room / (_GRID + root), 0.0)
    return np.minimum(_MOST_EPSILON, np.log(np.maximum(x, 1e-300)))
