"""Compute the price of noise that is correlated over steps: DP-FTRL's tree, and banded matrix factorisation.

A ledger charges it as events (:class:`privacy.accounting.events.BandedGaussian`, ``TreeGaussian``). The mechanisms
are in ``privacy/mechanisms/correlated_noise.py``.

Neither needs sampling or shuffling: the order of the records may be known. Neighbours differ in one record, which is
replaced by zeros wherever it takes part. That is the same as leaving it out where the lot of a record depends on
nothing but the record's own name, and sums are divided by public numbers.

**Tree** (Kairouz et al. 2021, arXiv 2103.00039). All T sums of the first t gradients are read off a binary
tree whose nodes have noise s C each. A record that is used once is in floor(log2 T) + 1 nodes, so the tree is one
Gaussian release of noise s / sqrt(levels): order a costs a levels / (2 s^2).

**Banded factorisation** (Choquette-Choo et al. 2023, arXiv 2306.08153). The sums are B (C x + z), with BC
the matrix of prefix sums and C lower triangular with b bands. Uses of a record are at least b steps apart, so the
columns of its uses do not overlap, and k uses change C x by at most sqrt(k) times the longest column, whatever its
gradients are. C is here the Toeplitz matrix of the coefficients of (1 - x)^(-1/2), 1, 1/2, 3/8 ..., cut off after b
(Fichtenberger, Henzinger and Upadhyay 2023): not the optimum, but within a few per cent of it, and the same on every
machine. b = 1 is independent noise.

**Round by round.** A round takes every lot m times, in the same order. Let g = x + y be the sums of this round and of
the rounds whose noise y it carries on. Then C g = C x + z, and the round's own z is independent of all that anybody
has seen before. So given the past a round is one Gaussian release of C x over its steps. A patient's uses leave
traces there that do not overlap, and add up to m columns at most: sqrt(m) times the longest one. This holds whichever
round is carried on, also if its sum was lost, was never opened, or is carried on twice, and although gradients depend
on earlier sums (Denisov et al. 2022, arXiv 2202.08312, theorem 2.1). What k uses are charged in rounds is the price
of the whole matrix.

>>> round(epsilon_of_tree(noise=1.13, steps=1600, delta=1e-6), 2)
18.71
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.adaptive_filters import convert_zcdp


def count_tree_levels(steps: int) -> int:
    """Return in how many nodes of a tree over ``steps`` leaves one leaf is.

    >>> [count_tree_levels(steps) for steps in (1, 2, 8, 1600)]
    [1, 2, 4, 11]
    """
    return steps.bit_length()


def epsilon_of_tree(noise: float, steps: int, delta: float, epochs: int = 1) -> float:
    """Return the epsilon at ``delta`` of a tree over ``steps`` steps, with a new one in each of ``epochs`` epochs.

    *Guarantee*: (epsilon, delta)-DP for a record that takes part once an epoch.

    *Edge cases*: one step is one Gaussian release; records that take part twice in a tree are not covered.
    """
    return convert_zcdp(epochs * count_tree_levels(steps) / (2 * noise**2), delta)


def make_band(bands: int) -> NDArray[np.float64]:
    """Return the first ``bands`` coefficients of (1 - x)^(-1/2); (bands,)."""
    band = np.ones(bands)
    for k in range(1, bands):
        band[k] = band[k - 1] * (2 * k - 1) / (2 * k)
    return band


def compute_banded_sensitivity(bands: int, steps: int) -> float:
    """Return the most that a record can change C x, in clipping norms; its uses are ``bands`` or more steps apart."""
    return math.sqrt(math.ceil(steps / bands)) * float(np.linalg.norm(make_band(bands)))


def epsilon_of_banded(noise: float, bands: int, steps: int, delta: float) -> float:
    """Return the epsilon at ``delta`` of ``steps`` steps with banded noise, ``noise`` times the clipping norm.

    *Guarantee*: (epsilon, delta)-DP for a record whose uses are at least ``bands`` steps apart: it is in at most
    ceil(steps / bands) of them.

    *Edge cases*: one band is independent noise and full participation.
    """
    return convert_zcdp(compute_banded_sensitivity(bands, steps) ** 2 / (2 * noise**2), delta)


def compute_prefix_error(bands: int, steps: int) -> float:
    """Return the root mean square of the noise in the prefix sums, over the noise of one step."""
    squares = np.cumsum(_sum_inverse(bands, steps) ** 2)  # of each row
    return float(np.sqrt(squares.mean()))


@lru_cache(maxsize=64)
def compute_window_error(bands: int, window: int) -> float:
    """Return the standard deviation of the noise in the sum of ``window`` steps in a row, over that of one step.

    After 4 times as many steps, which is the most up to then: each earlier step adds a square.
    """
    sums = _sum_inverse(bands, 5 * window)
    return float(np.linalg.norm(sums - np.concatenate([np.zeros(window), sums[:-window]])))


def compute_final_error(bands: int, steps: int) -> float:
    """Return the standard deviation of the noise in the sum of all ``steps`` steps, over the noise of one step."""
    # each length of the band brings them nearer to their limit by a factor of four, as its smallest root says
    known = _sum_inverse(bands, min(steps, 20 * bands))
    return math.sqrt(float(known @ known) + (steps - len(known)) * float(known[-1]) ** 2)


def _sum_inverse(bands: int, steps: int) -> NDArray[np.float64]:
    """Return the cumulative sums of the inverse series of the band; (steps,), the last row of B = A C^-1 reversed."""
    inverse = np.zeros(steps)
    band = make_band(min(bands, steps))
    for t in range(steps):
        past = inverse[max(0, t - len(band) + 1) : t][::-1]
        inverse[t] = (t == 0) - float(band[1 : 1 + len(past)] @ past)
    return np.cumsum(inverse)


def compute_tree_error(steps: int) -> float:
    """Return the root mean square of the noise in a tree's prefix sums: step t reads as many nodes as t has ones."""
    return math.sqrt(sum(t.bit_count() for t in range(1, steps + 1)) / steps)
