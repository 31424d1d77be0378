"""Compute what a study would cost and transfer, before it is launched; for ``consilium study check``."""

import math
from pathlib import Path

from torch import nn

from models.catalogue import find_model
from models.errors import ModelError
from models.fit import build_study_module, describe_inputs, find_layers_of_round
from models.parameters.pretrained import load_public_weights
from models.parameters.trainable import count_by_kind, list_shared_ranges
from privacy.accounting.analytic_gaussian import compute_gaussian_epsilon
from privacy.accounting.calibration import compute_noise_multiplier
from privacy.accounting.correlated_noise import compute_final_error
from privacy.accounting.epsilon import epsilon_of, is_cut_short
from privacy.accounting.events import BandedGaussian, SiteUpdates, TreeGaussian, repeat_event
from privacy.errors import TermsError
from privacy.mechanisms.distributed_noise import SharedNoise
from privacy.mechanisms.value_range import COUNT_STEP
from privacy.secure_aggregation.round_layout import (
    compute_update_range,
    count_sealed_values,
    make_layout,
    make_shared_noise,
)
from privacy.study import Placement, Terms
from privacy.study.cost import compute_price_of_runs, compute_study_noise, make_private_event
from privacy.study.fixed_lots import count_bands, describe_excess
from privacy.study.launch import describe_oversize
from privacy.study.statistics_study import PARAMETERS
from privacy.study.tasks.task import count_cells
from server.study.check_result import (
    CorrelationCheck,
    NoPrivacyCheck,
    PrivacyCheck,
    RunsCost,
    SharedNoiseCheck,
    SiteUnitCheck,
    StageCheck,
    StudyCheck,
)
from server.study.check_statistics import check_statistics

FLOAT32_BYTES = 4


def count_parameters(terms: Terms) -> int:
    """Count the parameters of the study's model that are trained and shared, which sites exchange.

    Raises:
        TermsError: the catalogue does not have the model, or not with these options, or the model lacks a named
            layer.
    """
    return PARAMETERS if terms.counts_only else count_by_kind(_build_model(terms)).shared


def require_weights(terms: Terms, file: Path) -> None:
    """Refuse a ``file`` that is not the terms' public weights, or does not fit their model.

    Raises:
        TermsError: it is refused; the message says why.
    """
    if terms.model.start is None:
        raise TermsError(f"{file}: the study '{terms.name}' begins with no public weights (model.start)")
    try:
        load_public_weights(_build_model(terms), file, terms.model.start, terms.model.weight_names)
    except ModelError as error:
        raise TermsError(f"{file}: {error}") from None


def _build_model(terms: Terms) -> nn.Module:
    try:
        return build_study_module(terms)
    except ModelError as error:
        raise TermsError(str(error)) from None


def check_study(
    terms: Terms, runs: int | None = None, patients: int | None = None, sites: int | None = None
) -> StudyCheck:
    """Compute parameters, bytes, prices and problems of a study from public numbers.

    Bytes are those of the largest exchange, which carries totals beside an update. Only certain problems are
    reported.

    Args:
        terms: the study.
        runs: compute also the price of this many runs together.
        patients: how many all sites have together, or at least; None if unknown.
        sites: how many are invited; None means as many as the terms allow.

    Raises:
        TermsError: the model cannot be built.
        BudgetError: no noise reaches the wanted epsilon.
    """
    if terms.counts_only:
        return check_statistics(terms, runs, sites)
    module = _build_model(terms)
    layers = count_by_kind(module)
    cells = count_cells(terms.cell_groups) if terms.evaluation.rounds else 0
    aggregation = terms.secure_aggregation
    invited = terms.cohort.maximum if sites is None else sites
    layout = make_layout(terms, count_sealed_values(terms, layers.shared), cells, sites=invited)
    privacy = _check_privacy(terms, layers.shared, runs, patients, invited)
    shares = privacy.shares if isinstance(privacy, PrivacyCheck) else None
    noise = privacy.noise_multiplier if isinstance(privacy, PrivacyCheck) else None
    return StudyCheck(
        most_site_patients=None,
        study=terms.name,
        terms_sha256=terms.digest,
        parameters=layers.shared,
        personal=layers.personal,
        frozen=layers.frozen,
        start=terms.model.start,
        model=terms.model.name,
        version=find_model(terms.model.name).version,
        inputs=describe_inputs(terms.model, terms.data),
        task=terms.task.kind,
        outputs=terms.task.compute_output_shape(terms.data),
        cells=cells,
        stages=_list_stages(module, terms),
        rounds=terms.training.rounds,
        exchanges=terms.last_round,
        bytes_up=layout.sealed_bytes,
        bytes_down=layout.compute_aggregate_bytes(invited),
        float32_bytes=FLOAT32_BYTES * layers.shared,
        ciphertexts=layout.parts,
        values_per_slot=layout.per_slot,
        sealed=layout.cipher.masked,
        value_range="auto" if aggregation.value_range is None else aggregation.value_range,
        first_range=None if shares else compute_update_range(terms, noise),
        privacy=privacy,
        problems=tuple(
            problem
            for problem in (
                shares and shares.problem,
                describe_excess(terms, layers.shared),
                describe_oversize(terms, invited),
                layout.excess,
            )
            if problem
        ),
    )


def _list_stages(module: nn.Module, terms: Terms) -> tuple[StageCheck, ...]:
    stages, first = [], 1
    for stage in terms.training.stages:
        layers = find_layers_of_round(module, terms, first)
        ranges = ((0, count_by_kind(module).shared),) if layers is None else list_shared_ranges(module, layers)
        stages.append(
            StageCheck(
                name=stage.name,
                objective=stage.objective,
                rounds=stage.rounds,
                learning_rate=stage.learning_rate,
                parameters=sum(end - start for start, end in ranges),
            )
        )
        first += stage.rounds
    return tuple(stages)


def _check_privacy(
    terms: Terms, parameters: int, runs: int | None, patients: int | None, sites: int
) -> PrivacyCheck | NoPrivacyCheck:
    promise, training = terms.privacy, terms.training
    if promise.epsilon is None or promise.delta is None:
        return NoPrivacyCheck()
    noise = compute_study_noise(terms)
    one = make_private_event(terms, noise)
    distributed = promise.placement is Placement.DISTRIBUTED
    return PrivacyCheck(
        placement=promise.placement,
        shares=_check_shared_noise(terms, promise.delta, parameters, noise, patients, sites)
        if distributed
        else None,
        correlation=_check_correlation(terms, one, parameters)
        if isinstance(one, BandedGaussian | TreeGaussian)
        else None,
        epsilon=promise.epsilon,
        delta=promise.delta,
        unit=promise.unit,
        steps=training.rounds * one.steps,
        noise_multiplier=noise,
        orders_end_too_early=is_cut_short([repeat_event(one, training.rounds)], promise.delta),
        epsilon_after_first_round=epsilon_of([one], promise.delta),
        smallest_population=round(1 / promise.delta),
        runs=None if runs is None else RunsCost(**compute_price_of_runs(terms, runs)._asdict()),
        test_patients_protected=not terms.evaluation.rounds or terms.evaluation.epsilon is not None,
        epsilon_in_all=terms.asked_epsilon or 0.0,
    )


def _check_correlation(terms: Terms, one: BandedGaussian | TreeGaussian, parameters: int) -> CorrelationCheck:
    training, privacy, bands = terms.training, terms.privacy, count_bands(terms)
    assert privacy.epsilon is not None, "correlated noise needs an epsilon, which the terms check"
    assert privacy.delta is not None, "which comes with a delta"
    assert privacy.correlation is not None, "and says how it is correlated"
    steps, passes = training.rounds * one.steps, training.rounds * one.passes
    drawn = compute_noise_multiplier(
        privacy.epsilon, privacy.delta, training.sampling_rate, one.steps, rounds=training.rounds
    )
    # order 2 of a Gaussian with noise 1 over the sensitivity is 1
    whole = 1 / math.sqrt(repeat_event(one, training.rounds).compute_renyi_divergence(2))
    tree = math.sqrt(passes * one.lots.bit_count())
    return CorrelationCheck(
        matrix=privacy.correlation.matrix,
        lots=one.lots,
        passes=passes,
        bands=bands,
        exact_epsilon=compute_gaussian_epsilon(whole, privacy.delta),
        noise_left=one.noise_multiplier * (compute_final_error(bands, steps) if bands > 1 else tree),
        drawn_multiplier=drawn,
        drawn_noise_left=drawn * math.sqrt(steps),
        kept_bytes=8 * (bands - 1) * parameters,
    )


def _check_shared_noise(
    terms: Terms, delta: float, parameters: int, noise_multiplier: float, patients: int | None, cohort: int
) -> SharedNoiseCheck:
    """Compute the figures of distributed noise for ``cohort`` sites with ``patients`` patients (None: unknown)."""
    room = patients or 0 if terms.sums_patients else 0
    noise = make_shared_noise(terms, parameters, noise_multiplier, room=room)
    outside = make_private_event(terms, noise.compute_outsider_multiplier(cohort))
    whole = make_private_event(terms, noise_multiplier)
    held = None
    if terms.sums_patients and terms.secure_aggregation.value_range is not None:
        held = math.floor(max(0.0, noise.sum_held) / terms.training.sampling_rate)
    return SharedNoiseCheck(
        colluders=noise.colluders,
        epsilon_outside=epsilon_of([repeat_event(outside, terms.training.rounds)], delta),
        inflation=noise.inflation,
        proposed_bits=noise.propose_bits(cohort),
        value_range=noise.value_range,
        patients=patients,
        patients_held=held,
        share_units=math.sqrt(noise.compute_share_variance(cohort)),
        needed_range=noise.needed_range,
        problem=noise.describe_problem(cohort) or _describe_too_small_range(terms, noise, held),
        sites=_check_site_unit(terms, whole, noise, parameters) if isinstance(whole, SiteUpdates) else None,
    )


def _describe_too_small_range(terms: Terms, noise: SharedNoise, held: int | None) -> str | None:
    """Describe a range too small for the smallest cohort of the smallest sites; None if it is large enough."""
    fewest = terms.cohort.minimum * COUNT_STEP  # a site has at least one step of the public count
    if held is None or held >= fewest:
        return None
    return (
        f"secure_aggregation.value_range is {noise.value_range:g} clipping norms, which holds the noise and lots of "
        f"{held} patients of all sites together; {terms.cohort.minimum} sites have at least {fewest}: write "
        "secure_aggregation.value_range: auto"
    )


def _check_site_unit(terms: Terms, one: SiteUpdates, noise: SharedNoise, parameters: int) -> SiteUnitCheck:
    cohort, rounds, privacy = terms.cohort, terms.training.rounds, terms.privacy
    assert privacy.delta is not None, "distributed noise needs an epsilon, which comes with a delta"
    assert privacy.clipping_norm is not None, "and with a norm"
    deviation = math.sqrt(cohort.maximum * noise.compute_share_variance(cohort.maximum)) * noise.unit
    # The mean update is the sum over the expected number of sites in it; both are in units of the clipping norm.
    of_mean = deviation / (cohort.participation * cohort.maximum * privacy.clipping_norm)
    # Over R rounds the updates can add up to R times the norm, and the noise to sqrt(R) times that of one round.
    # The ratio falls by sqrt(R).
    return SiteUnitCheck(
        participation=cohort.participation,
        epsilon_of_site=epsilon_of([repeat_event(one.whole_site, rounds)], privacy.delta),
        noise_of_mean=of_mean,
        noise_to_signal_of_round=of_mean * math.sqrt(parameters),
        noise_to_signal=of_mean * math.sqrt(parameters / rounds),
    )
