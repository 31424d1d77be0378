"""Compute what a study of statistics would cost and transfer, before it is launched."""

from privacy.accounting.epsilon import epsilon_of, is_cut_short
from privacy.mechanisms.shared_totals import compute_most_counted_patients, compute_share_variances
from privacy.secure_aggregation.round_layout import make_layout
from privacy.study import Terms
from privacy.study.cost import compute_evaluation_noise, compute_price_of_runs, make_evaluation_event
from privacy.study.launch import describe_oversize
from privacy.study.statistics_study import NO_MODEL, PARAMETERS
from privacy.study.tasks.task import compute_squared_scales, count_cells
from server.study.check_result import PrivacyCheck, RunsCost, StudyCheck


def check_statistics(terms: Terms, runs: int | None = None, sites: int | None = None) -> StudyCheck:
    """Compute bytes and price of a study of statistics from public numbers.

    Args:
        terms: the study.
        runs: compute also the price of this many runs together.
        sites: how many are invited; None means as many as the terms allow.

    Raises:
        BudgetError: no noise reaches the wanted epsilon.
    """
    invited, cells = terms.cohort.maximum if sites is None else sites, count_cells(terms.cell_groups)
    layout = make_layout(terms, 0, cells, sites=invited)
    problems = list[str]()
    if invited < terms.cohort.minimum:
        problems.append(f"{invited} sites are invited, the terms need {terms.cohort.minimum} (cohort.minimum)")
    if (oversize := describe_oversize(terms, invited)) is not None:
        problems.append(oversize)
    most = _compute_most_site_patients(terms)
    if most < 1:
        problems.append(
            "the noise alone does not fit the 32 bits of a total, so every site would refuse; ask for less (columns, "
            "pairs, differences), or for a larger epsilon"
        )
    return StudyCheck(
        study=terms.name,
        terms_sha256=terms.digest,
        parameters=PARAMETERS,
        personal=0,
        frozen=0,
        start=None,
        model=NO_MODEL,
        version=None,
        inputs={},
        task=terms.task.kind,
        outputs=(),
        cells=cells,
        stages=(),
        rounds=0,
        exchanges=terms.last_round,
        bytes_up=layout.sealed_bytes,
        bytes_down=layout.compute_aggregate_bytes(invited),
        float32_bytes=4 * cells,
        ciphertexts=layout.parts,
        values_per_slot=layout.per_slot,
        sealed=layout.cipher.masked,
        value_range="auto",
        first_range=None,
        privacy=_check_privacy(terms, runs),
        most_site_patients=max(0, most),
        problems=tuple(problems),
    )


def _compute_most_site_patients(terms: Terms) -> int:
    """Compute with how many training patients a site still admits the study (``client/admission/rules.py``)."""
    noise = compute_evaluation_noise(terms)
    assert noise is not None, "statistics always have noise"
    fewest = terms.cohort.minimum - terms.cohort.colluders  # their shares are the largest
    variances = compute_share_variances(compute_squared_scales(terms.cell_groups), noise, fewest)
    return compute_most_counted_patients(variances)


def _check_privacy(terms: Terms, runs: int | None) -> PrivacyCheck:
    promise, noise = terms.privacy, compute_evaluation_noise(terms)
    assert promise.epsilon is not None, "statistics always have noise"
    assert promise.delta is not None, "and an epsilon comes with a delta"
    assert noise is not None, "so that there is a multiplier"
    event = make_evaluation_event(terms, noise)
    return PrivacyCheck(
        placement=promise.placement,
        correlation=None,
        shares=None,
        epsilon=promise.epsilon,
        delta=promise.delta,
        unit=promise.unit,
        steps=1,
        noise_multiplier=noise,
        orders_end_too_early=is_cut_short([event], promise.delta),
        epsilon_after_first_round=epsilon_of([event], promise.delta),
        smallest_population=round(1 / promise.delta),
        runs=None if runs is None else RunsCost(**compute_price_of_runs(terms, runs)._asdict()),
        test_patients_protected=True,
        epsilon_in_all=promise.epsilon,
    )
