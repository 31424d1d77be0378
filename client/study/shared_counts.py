"""Count a study's statistics at this site once, with its share of the noise, and pay for them.

What is durable when, is as in ``client/study/local_round.py``: the draw, then the payment, then the counts. A smaller
cohort gets the same counts with more noise.

Who may be counted with whom, after earlier studies, is in ``privacy/ledger/cohorts.py``: the ledger records the cohort
before the mask is released, and forgets none. Sums of several studies that are combined in another way are not looked
at: each of them is paid for, and adds its own noise (``docs/feasibility.md``).
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from client.study.context import StudyContext
from client.study.local_round import RoundWork, record_lost_work
from client.study.state import Counted
from client.training.jobs import ScoreModel
from privacy.mechanisms.shared_totals import add_noise_to_totals, compute_added_variances, compute_share_variances
from privacy.protocol.messages import Train
from privacy.randomness import from_os
from privacy.study.cost import make_evaluation_event
from privacy.study.tasks.task import compute_squared_scales

_BASE: Final = 0


def do_statistics_round(context: StudyContext, request: Train) -> RoundWork:
    """Count what ``request`` asks for, once; asked again, return what is stored, with noise for its cohort.

    Run by a site that holds the keys.

    Raises:
        BudgetError: the study's allowance has no room.
        RefusedError: ``lost``: the counts are paid, and are missing; as :func:`require_cohort_of_study`.
        TrainingError: counting failed.
    """
    require_cohort_of_study(context, request.cohort)
    counts = _count_with_noise(context, request)
    return RoundWork(np.empty(0, dtype=np.uint32), counts)


def _count_with_noise(context: StudyContext, request: Train) -> tuple[int, ...]:
    """Return this site's counts with noise enough for the cohort, (cells,); paid the first time."""
    store, study, noise = context.store, context.launch.study, context.state.evaluation_noise_multiplier
    honest, counted = len(request.cohort) - context.terms.cohort.colluders, context.state.counted
    assert noise is not None, "statistics always have noise, which the terms check"
    if counted is None:
        if context.ledger.read_state().has_paid_evaluation(study, _BASE) and not store.has_totals_draw(_BASE):
            raise record_lost_work(context, _BASE, "the statistics are paid, and their result is gone")
        draw = store.draw_totals_key(_BASE)
        context.ledger.pay_evaluation(study, _BASE, make_evaluation_event(context.terms, noise))
        counts = context.training.run(ScoreModel(store.read_model(), noise, None, draw, honest))
        counted = Counted(base=_BASE, counts=counts, honest=honest)
        store.keep_counted(counted)
    if counted.honest > honest:  # sites have dropped out: each of the others has to add more of the noise
        scales = compute_squared_scales(context.terms.cell_groups)
        held, wanted = (compute_share_variances(scales, noise, each) for each in (counted.honest, honest))
        more = add_noise_to_totals(counted.counts, compute_added_variances(held, wanted), from_os())
        counted = Counted(base=_BASE, counts=more, honest=honest)
        store.keep_counted(counted)
    return counted.counts


def require_cohort_of_study(context: StudyContext, cohort: Iterable[str]) -> None:
    """Refuse a cohort that is too near to an earlier one of the same population.

    Run by a site before it counts; before it releases its mask, :func:`record_cohort` does so again.

    Raises:
        RefusedError: ``release-refused``.
    """
    population, minimum = context.state.registration.population, context.terms.cohort.minimum
    context.ledger.read_state().cohorts.require_distant(population, cohort, minimum)


def record_cohort(context: StudyContext, cohort: Sequence[str]) -> None:
    """Record the cohort whose sum the own mask would open, or refuse it: another study may have come between.

    Run by a site, right before its mask leaves.

    Raises:
        RefusedError: ``release-refused``.
    """
    context.ledger.record_cohort(context.launch.study, cohort, context.terms.cohort.minimum)
