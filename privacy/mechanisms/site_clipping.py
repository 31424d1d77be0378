"""Clip whole updates of sites (DP-FedAvg): what a site adds to the sum, and what every site computes from the sum.

Rules:

* A site's update is scaled down to the round's clipping norm S, however the site trained. An update that is not
  finite counts as zero.
* A site that was not drawn for the round contributes zeros. Each site draws in secret and does not send the result.
* With adaptive clipping one coordinate is appended to the update: (b - 1/2) beta S, where b is 1 if the update was
  within S, and beta is ``share``. So the joint vector has norm at most S' = S sqrt(1 + beta^2 / 4), and noise is
  added to one vector of that norm: the price of the quantile is part of the price of the update.
* The sum is divided by the number of sites that are expected to count, q times the cohort. This is a public number.
* S follows the noised quantile: S <- S (1 - eta (mean of b - gamma)), with the mean clamped to [0, 1]. This is the
  first order of exp(-eta (mean of b - gamma)). exp itself is not rounded alike on every machine, and all sites must
  get the same bits. S stays within a factor of 2^20 of its first value.

**Guarantee.** Replacing a site's update moves the joint vector by at most 2 S'; adding or removing it moves the
vector by at most S'. :class:`privacy.accounting.events.SiteUpdates` says what that costs a patient;
``docs/privacy.md`` has the proof.

Sources: McMahan, Ramage, Talwar and Zhang 2018 (arXiv 1710.06963) for whole updates and the fixed denominator;
Andrew, Thakkar, McMahan and Ramaswamy 2021 (arXiv 1905.03871) for the adaptive norm.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import KeyStream
from privacy.study import AdaptiveClipping, Privacy

Vector = NDArray[np.float64]

_MARGIN: Final = 1 - 1e-12
"""Clipping aims at this part of the norm: float64 loses less in a norm and a product."""
_FARTHEST: Final = float(1 << 20)  # factor by which S may move away from its first value
_COIN_BITS: Final = 53  # bits of a draw: the chance is rounded down to a multiple of 2^-53


def compute_joint_norm(norm: float, adaptive: AdaptiveClipping | None) -> float:
    """Return S', the largest norm of a site's contribution where updates are clipped to ``norm``."""
    return norm * _compute_joint_factor(adaptive)


def compute_norm_from_joint(joint: float, adaptive: AdaptiveClipping | None) -> float:
    """Return S, from S'."""
    return joint / _compute_joint_factor(adaptive)


def _compute_joint_factor(adaptive: AdaptiveClipping | None) -> float:
    return 1.0 if adaptive is None else math.sqrt(1 + adaptive.share * adaptive.share / 4)


def is_drawn(participation: float, stream: KeyStream) -> bool:
    """Draw whether a site's update counts in this round: with chance ``participation``, never more.

    Run by a site.
    """
    return int(stream.draw_below(1 << _COIN_BITS, 1)[0]) < math.floor(participation * 2.0**_COIN_BITS)


def make_contribution(update: Vector, norm: float, adaptive: AdaptiveClipping | None, *, counts: bool) -> Vector:
    """Make a site's contribution to the sum: its clipped update and, with adaptive clipping, b; (d,).

    Run by a site.

    Args:
        update: (P,) the change of the parameters by local training.
        norm: S of this round.
        adaptive: of the terms.
        counts: whether the site was drawn for this round.

    Returns:
        A vector of norm at most :func:`compute_joint_norm`; zeros if it does not count.
    """
    with np.errstate(over="ignore"):  # a length that overflows is not finite, so the update counts as zero
        length = float(np.sqrt(np.sum(np.square(update))))
    finite = math.isfinite(length)
    clipped = update * min(1.0, norm * _MARGIN / length) if finite and length else np.zeros_like(update)
    if adaptive is not None:
        answer = (0.5 if finite and length <= norm else -0.5) * adaptive.share * norm * _MARGIN
        clipped = np.append(clipped, answer)
    # a site that was not drawn does the same work: the time of its answer must not show the draw
    return clipped if counts else np.zeros_like(clipped)


def compute_mean_update(total: Vector, adaptive: AdaptiveClipping | None, expected: float) -> Vector:
    """Return the mean of the updates, from the opened sum (d,) of all contributions; (P,).

    Args:
        total: (d,) as opened, with noise.
        adaptive: of the terms.
        expected: number of sites that were expected to count.
    """
    return (total if adaptive is None else total[:-1]) / expected


def compute_next_norm(total: Vector, norm: float, privacy: Privacy, expected: float) -> float:
    """Return the clipping norm of the next round, the same bits at every site.

    Args:
        total: (d,) the opened sum; with adaptive clipping its last value is the sum of (b - 1/2) beta S.
        norm: S of this round.
        privacy: of the terms; its norm is that of the first round.
        expected: number of sites that were expected to count.
    """
    adaptive, first = privacy.adaptive_clipping, privacy.clipping_norm
    if adaptive is None or first is None:
        return norm
    within = min(1.0, max(0.0, float(total[-1]) / (adaptive.share * norm * expected) + 0.5))
    # first order of the exp(-rate * (within - quantile)) of Andrew et al. 2021, with the same bits on every machine
    moved = norm * (1.0 - adaptive.rate * (within - adaptive.quantile))
    return min(first * _FARTHEST, max(first / _FARTHEST, moved))
