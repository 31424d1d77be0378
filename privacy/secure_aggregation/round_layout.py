"""Compute the shape of a round's sealed vector from public numbers: the same at every site.

The layout follows from the launch alone, so the coordinator knows it too. The range of the values may also depend
on the noise, and on ``room``: how many patients the round's sum must hold. Every view names ``room``.
"""

import math

from privacy.accounting.correlated_noise import compute_window_error
from privacy.canonical import compute_digest
from privacy.mechanisms.distributed_noise import SharedNoise
from privacy.mechanisms.site_clipping import compute_joint_norm
from privacy.mechanisms.value_range import compute_most_drawn, compute_range_of_updates
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.quantise import Grid
from privacy.study import Placement, Terms, Unit, Weights
from privacy.study.fixed_lots import carries_noise, count_bands, count_lots
from privacy.study.launch import Launch
from privacy.study.tasks.task import count_cells


def layout_of(launch: Launch, number: int, base: int) -> Layout:
    """Return the layout of round ``number``, trained from the model after round ``base``.

    A training round carries every shared parameter. Where the model of ``base`` is evaluated, the same vector
    carries its totals.
    """
    terms = launch.terms
    values = count_sealed_values(terms, launch.parameters) if terms.trains(number) else 0
    counts = count_cells(terms.cell_groups) if terms.evaluates(number, base) else 0
    return make_layout(terms, values, counts, sites=len(launch.roster))


def make_layout(terms: Terms, values: int, counts: int, *, sites: int) -> Layout:
    """Make the layout of a vector of ``values`` and ``counts`` in a study that invites ``sites`` sites.

    No cohort is larger than the roster, so fields have room for the sum of so many and not for the most that the
    terms allow.
    """
    aggregation = terms.secure_aggregation
    return Layout(
        parameters=values,
        counts=counts,
        bits=aggregation.bits,
        maximum_sites=sites,
        scheme=aggregation.scheme,
    )


def find_largest_layout(launch: Launch) -> Layout:
    """Return the layout of the round with the most parts: one that carries totals beside an update, if any does."""
    base = max(launch.terms.evaluation.rounds, default=0)
    return max((layout_of(launch, 1, each) for each in (base, 0)), key=lambda layout: layout.parts)


def compute_largest_aggregate(launch: Launch) -> int:
    """Return the most bytes that an aggregate of the study can have."""
    return find_largest_layout(launch).compute_aggregate_bytes(len(launch.roster))


def count_sealed_values(terms: Terms, parameters: int) -> int:
    """Count the values that a site seals in a training round.

    There is one for each shared parameter. With adaptive clipping one more says whether the update's norm was
    within the clipping norm.
    """
    return parameters + (terms.privacy.adaptive_clipping is not None)


def make_grid(terms: Terms, halvings: int, noise_multiplier: float | None = None) -> Grid:
    """Make the quantiser's grid of a study with local noise, its range halved ``halvings`` times.

    ``noise_multiplier`` matters only where the range is ``auto``.
    """
    return Grid(compute_update_range(terms, noise_multiplier), terms.secure_aggregation.bits).halve(halvings)


def compute_update_range(terms: Terms, noise_multiplier: float | None) -> float:
    """Return the range of a site's update in the first round of a study with local noise."""
    if terms.secure_aggregation.value_range is not None:
        return terms.secure_aggregation.value_range
    training, privacy = terms.training, terms.privacy
    noisy = noise_multiplier is not None and privacy.unit is not Unit.SITE
    each = terms.data.records_per_patient if privacy.unit is Unit.RECORD else 1
    if noise_multiplier is not None and privacy.placement is Placement.CORRELATED:
        noise_multiplier *= _compute_spread(terms)
    return compute_range_of_updates(
        learning_rate=training.largest_learning_rate,
        steps=training.local_steps,
        lots=training.accumulate,
        sampling_rate=training.sampling_rate,
        norm=None if privacy.clipping_norm is None else privacy.clipping_norm * each,
        noise_multiplier=noise_multiplier,
        corrected=training.control_variates,
        direction=training.step.bound_direction(noisy),
    )


def _compute_spread(terms: Terms) -> float:
    """Return the noise in the sum of a round's correlated steps over that of as many independent ones."""
    lots, steps = count_lots(terms), terms.training.lots
    if carries_noise(terms):
        return compute_window_error(count_bands(terms), steps) / math.sqrt(steps)
    return math.sqrt(lots.bit_count() / lots)  # of each pass the nodes of the whole tree are left


def compute_shape_digest(
    launch: Launch, number: int, base: int, halvings: int, room: int = 0, noise_multiplier: float | None = None
) -> str:
    """Compute one digest over layout, grid and weights; it must be equal at all sites of a cohort."""
    terms = launch.terms
    if terms.privacy.placement is Placement.DISTRIBUTED and noise_multiplier is not None:
        value_range = make_shared_noise(terms, launch.parameters, noise_multiplier, room=room).value_range
    else:
        value_range = compute_update_range(terms, noise_multiplier)
    return compute_digest(
        {
            "layout": layout_of(launch, number, base).digest,
            "value_range": value_range,
            "halvings": halvings,
            "weights": terms.training.weights,
        }
    )


def make_shared_noise(
    terms: Terms, parameters: int, noise_multiplier: float, clipping_norm: float | None = None, room: int = 0
) -> SharedNoise:
    """Make the noise parameters of a study whose noise is distributed.

    Args:
        terms: the study's terms.
        parameters: how many parameters of the model are shared.
        noise_multiplier: sigma.
        clipping_norm: of this round, with adaptive clipping; None takes the terms'.
        room: the most patients that all sites have together; 0 where this is not known, or where whole updates are
            added, because there are at most as many of these as sites.

    Raises:
        ValueError: the study has no privacy.
    """
    privacy, cohort = terms.privacy, terms.cohort
    norm = privacy.clipping_norm if clipping_norm is None else clipping_norm
    if norm is None:
        raise ValueError("a study without privacy has no noise to share")
    whole_updates, rate, written = (
        privacy.unit is Unit.SITE,
        terms.training.sampling_rate,
        terms.secure_aggregation.value_range,
    )
    numbers = SharedNoise(
        clipping_norm=compute_joint_norm(norm, privacy.adaptive_clipping) if whole_updates else norm,
        noise_multiplier=noise_multiplier,
        parameters=count_sealed_values(terms, parameters),
        bits=terms.secure_aggregation.bits,
        value_range=1.0 if written is None else written,
        colluders=cohort.colluders,
        largest_sum=float(cohort.maximum) if whole_updates else compute_most_drawn(rate, room),
        usual_sum=float(cohort.maximum) if whole_updates else rate * room,
        minimum=cohort.minimum,
    )
    return numbers.fit_range() if written is None else numbers


def compute_weight(terms: Terms, patients: int, reference: int) -> float:
    """Return the weight of a site with ``patients`` patients.

    ``reference`` patients weigh 1, and no site weighs more.
    """
    if terms.training.weights is Weights.UNIFORM:
        return 1.0
    return min(patients, reference) / reference
