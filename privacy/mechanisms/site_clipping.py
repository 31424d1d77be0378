"""Whole updates of sites as the unit that is clipped (DP-FedAvg): what a site seals, and what all read from the sum.

Rules:

* a site's update is scaled down to the round's clipping norm S, whatever the site trained; one that is not finite
  counts as zero;
* a site that was not drawn for the round contributes zeros. It draws for itself, and nobody is told;
* with adaptive clipping one coordinate is joined to the update: (b - 1/2) beta S, where b is 1 if the update was
  within S, and ``share`` is beta. So the joint vector has norm at most S' = S sqrt(1 + beta^2 / 4), and what is
  noised is one vector of that norm: the quantile is paid for with the update;
* the sum is divided by the number of sites that are expected to count, q times the cohort: a public number;
* S follows the noised quantile: S <- S (1 - eta (mean of b - gamma)), the mean cut to [0, 1]. That is the first order
  of exp(-eta (mean of b - gamma)), since exp is not rounded alike on every machine and all sites must get the same
  bits. S stays within a factor of 2^20 of where it began.

**Guarantee.** Replacing a site's update moves the joint vector by at most 2 S', adding or removing it by at most S'.
What that costs a patient: :class:`privacy.accounting.events.SiteUpdates`; ``docs/privacy.md`` has the proof.

Sources: McMahan, Ramage, Talwar and Zhang 2018 (arXiv 1710.06963) for whole updates and the fixed denominator;
Andrew, Thakkar, McMahan and Ramaswamy 2021 (arXiv 1905.03871) for the norm.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import KeyStream
from privacy.study import AdaptiveClipping, Privacy

Vector = NDArray[np.float64]

_MARGIN: Final = 1 - 1e-12
"""Of the norm: more than float64 loses in a norm and a product."""
_FARTHEST: Final = float(1 << 20)
_COIN_BITS: Final = 53


def compute_joint_norm(norm: float, adaptive: AdaptiveClipping | None) -> float:
    """S', the largest norm of what a site contributes where updates are clipped to ``norm``."""
    return norm * _compute_joint_factor(adaptive)


def compute_norm_from_joint(joint: float, adaptive: AdaptiveClipping | None) -> float:
    """S, from S'."""
    return joint / _compute_joint_factor(adaptive)


def _compute_joint_factor(adaptive: AdaptiveClipping | None) -> float:
    return 1.0 if adaptive is None else math.sqrt(1 + adaptive.share * adaptive.share / 4)


def is_drawn(participation: float, stream: KeyStream) -> bool:
    """Run by a site. Whether its update counts in this round: with chance ``participation``, never with more."""
    return int(stream.draw_below(1 << _COIN_BITS, 1)[0]) < math.floor(participation * 2.0**_COIN_BITS)


def make_contribution(update: Vector, norm: float, adaptive: AdaptiveClipping | None, *, counts: bool) -> Vector:
    """Run by a site. What it adds to the sum: its clipped update and, with adaptive clipping, its answer; (d,).

    Args:
        update: (P,) what the site has trained.
        norm: S of this round.
        adaptive: of the terms.
        counts: whether the site was drawn.

    Returns:
        a vector of norm at most :func:`compute_joint_norm`; zeros if it does not count.
    """
    with np.errstate(over="ignore"):  # an infinite length is one that counts as zero
        length = float(np.sqrt(np.sum(np.square(update))))
    finite = math.isfinite(length)
    clipped = update * min(1.0, norm * _MARGIN / length) if finite and length else np.zeros_like(update)
    if adaptive is not None:
        answer = (0.5 if finite and length <= norm else -0.5) * adaptive.share * norm * _MARGIN
        clipped = np.append(clipped, answer)
    return clipped if counts else np.zeros_like(clipped)


def compute_mean_update(total: Vector, adaptive: AdaptiveClipping | None, expected: float) -> Vector:
    """The mean of the updates, from the opened sum (d,) of all contributions; (P,).

    Args:
        total: as opened, with noise.
        adaptive: of the terms.
        expected: sites that were expected to count.
    """
    return (total if adaptive is None else total[:-1]) / expected


def compute_next_norm(total: Vector, norm: float, privacy: Privacy, expected: float) -> float:
    """The clipping norm of the next round, the same bits at every site.

    Args:
        total: (d,) the opened sum; with adaptive clipping its last value is of the sites' answers.
        norm: S of this round.
        privacy: of the terms; its norm is that of the first round.
        expected: sites that were expected to count.
    """
    adaptive, first = privacy.adaptive_clipping, privacy.clipping_norm
    if adaptive is None or first is None:
        return norm
    within = min(1.0, max(0.0, float(total[-1]) / (adaptive.share * norm * expected) + 0.5))
    moved = norm * (1.0 - adaptive.rate * (within - adaptive.quantile))
    return min(first * _FARTHEST, max(first / _FARTHEST, moved))
