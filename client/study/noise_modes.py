"""Distinguish the three noise modes: where noise is added, what a site seals, how the opened sum is read.

================  ===========================  ====================================
================================
mode              terms                        what a site seals                     mean update from the opened sum
================  ===========================  ====================================
================================
``LOCAL``         ``local``, ``correlated`` or weight * update + residual, rounded   sum / weight of the cohort
                  no privacy                   to the grid
``GLOBAL_STEP``   placement ``distributed``    clipped gradients of one lot, with    - rate * sum / expected lot
                                               this site's share of the noise
``SITE_UPDATE``   unit ``site``                clipped update of the whole site,     sum / expected sites
                                               with its share of the noise
================  ===========================  ====================================
================================

In ``LOCAL`` each site's noise protects its update alone. What rounding leaves is sent in a later round (error
feedback, Seide et al. 2014). In the other modes one share's noise does not protect it alone, so nothing is fed
back: a residual would keep something of patients that was not paid for.

Pure functions of public numbers and of vectors that the caller holds: no file, no key, no ledger.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.parameters.vector import Vector
from privacy.mechanisms.distributed_noise import SharedNoise, count_values_at_edge, decode_opened_sum
from privacy.mechanisms.site_clipping import compute_mean_update, compute_next_norm
from privacy.randomness import KeyStream
from privacy.secure_aggregation.quantise import (
    Grid,
    Quantised,
    compute_next_halvings,
    count_means_at_edge,
    dequantise,
    quantise,
)
from privacy.secure_aggregation.round_layout import compute_weight, make_grid, make_shared_noise
from privacy.study import Placement, Terms, Unit


class NoiseMode(StrEnum):
    """Where noise is added, and to what."""

    LOCAL = "local"
    GLOBAL_STEP = "global-step"
    SITE_UPDATE = "site-update"


Residual = Vector | NDArray[np.float32] | float
"""(P,) what rounding has left, as it is stored; 0 before the first round."""


class RoundedUpdate(NamedTuple):
    """What a site seals with local noise, and the residual that rounding left, (P,)."""

    quantised: Quantised
    residual: Vector


class MeanUpdate(NamedTuple):
    """The mean update and the next round's settings, from an opened sum.

    Attributes:
        update: (P,) the mean update.
        at_edge: values of the sum at the edge of its range.
        halvings: of the range, from the next round on.
        clipping_norm: of the next round; None where none is clipped.
    """

    update: Vector
    at_edge: int
    halvings: int
    clipping_norm: float | None


@dataclass(frozen=True)
class PublicRound:
    """Public facts of a round that every site has.

    Attributes:
        number: the round.
        patients: the cohort with its public patient counts.
        reference: patients that weigh 1.
        noise_multiplier: sigma; None without privacy.
        halvings: of the range, so far.
        room: patients that the range holds; 0 where the sum is not over patients.
        clipping_norm: of this round; None where none is clipped.
    """

    number: int
    patients: Mapping[str, int]
    reference: int
    noise_multiplier: float | None
    halvings: int = 0
    room: int = 0
    clipping_norm: float | None = None


def find_noise_mode(terms: Terms) -> NoiseMode:
    """Return the mode of a study."""
    if terms.privacy.unit is Unit.SITE:
        return NoiseMode.SITE_UPDATE
    return NoiseMode.GLOBAL_STEP if terms.privacy.placement is Placement.DISTRIBUTED else NoiseMode.LOCAL


def round_update(update: Vector, weight: float, residual: Residual, grid: Grid, stream: KeyStream) -> RoundedUpdate:
    """Round a weighted update to the grid, with what earlier rounds left.

    Run by a site, with local noise.

    Args:
        update: (P,) of local training, noise included; if it can be written, it becomes the residual of this round.
        weight: of this site.
        residual: (P,) what rounding has left so far.
        grid: of the round.
        stream: secret randomness, which decides how values between two steps are rounded.
    """
    wanted = np.require(update, requirements="W")
    wanted *= weight
    wanted += residual
    quantised = quantise(wanted, grid, stream)  # overwrites ``wanted`` with the residual
    return RoundedUpdate(quantised, wanted)


def make_round_noise(
    terms: Terms, parameters: int, noise_multiplier: float | None, clipping_norm: float | None, room: int
) -> SharedNoise:
    """Return the numbers of the noise that a cohort adds together, for a model of so many shared ``parameters``."""
    assert noise_multiplier is not None, "distributed noise needs an epsilon, which the terms check"
    return make_shared_noise(terms, parameters, noise_multiplier, clipping_norm, room)


def read_mean_update(terms: Terms, parameters: int, opened: NDArray[np.int64], facts: PublicRound) -> MeanUpdate:
    """Turn an opened sum, (d,), into the mean update of its cohort.

    Run by every site alike. The sum is divided after it was opened, by public numbers. So a drop-out changes no
    other site's integers.
    """
    match find_noise_mode(terms):
        case NoiseMode.LOCAL:
            return _compute_mean_of_updates(terms, opened, facts)
        case NoiseMode.GLOBAL_STEP:
            return _compute_global_step(terms, parameters, opened, facts)
        case NoiseMode.SITE_UPDATE:
            return _compute_mean_of_sites(terms, parameters, opened, facts)


def _compute_mean_of_updates(terms: Terms, opened: NDArray[np.int64], facts: PublicRound) -> MeanUpdate:
    grid, sites = make_grid(terms, facts.halvings, facts.noise_multiplier), len(facts.patients)
    # in the order of names: a sum of floats depends on its order, and every site needs the same bits
    weight = sum(compute_weight(terms, facts.patients[name], facts.reference) for name in sorted(facts.patients))
    mean = dequantise(opened, sites, grid)
    mean /= weight
    return MeanUpdate(
        mean,
        count_means_at_edge(opened, sites, grid),
        compute_next_halvings(opened, sites, grid, facts.halvings),
        facts.clipping_norm,
    )


def _compute_global_step(
    terms: Terms, parameters: int, opened: NDArray[np.int64], facts: PublicRound
) -> MeanUpdate:
    """Take one gradient step on the cohort's noised sum, divided by its expected lot: never by the true one."""
    noise, training = _make_noise(terms, parameters, facts), terms.training
    lot = training.sampling_rate * sum(facts.patients.values())  # public, unlike the patients that were drawn
    step = -training.compute_learning_rate(facts.number) * decode_opened_sum(opened, noise) / lot  # (P,)
    return MeanUpdate(
        step, count_values_at_edge(opened, noise, len(facts.patients)), facts.halvings, facts.clipping_norm
    )


def _compute_mean_of_sites(
    terms: Terms, parameters: int, opened: NDArray[np.int64], facts: PublicRound
) -> MeanUpdate:
    """Divide the sum by how many sites of the cohort were expected to count: how many did is secret."""
    privacy, norm, sites = terms.privacy, facts.clipping_norm, len(facts.patients)
    assert norm is not None, "whole updates are clipped, which the terms check"
    noise = _make_noise(terms, parameters, facts)
    # the fixed denominator of McMahan et al. 2018 (arXiv 1710.06963)
    total, expected = decode_opened_sum(opened, noise), terms.cohort.participation * sites
    return MeanUpdate(
        compute_mean_update(total, privacy.adaptive_clipping, expected),
        count_values_at_edge(opened, noise, sites),
        facts.halvings,
        compute_next_norm(total, norm, privacy, expected),
    )


def _make_noise(terms: Terms, parameters: int, facts: PublicRound) -> SharedNoise:
    return make_round_noise(terms, parameters, facts.noise_multiplier, facts.clipping_norm, facts.room)
