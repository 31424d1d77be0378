"""Count a study's statistics at this site once, with its share of the noise, and pay for them.

What is durable when, is as in ``client/study/local_round.py``: the draw, then the payment, then the counts. A smaller
cohort gets the same counts with more noise.

**Who is asked with whom.** The difference of two sums over cohorts that differ by one site is the statistics of that
site alone, with the noise of both sums. Patients are protected against that, and paid for; the site is not. So a site
seals statistics only with a cohort that is either the same as in its earlier studies of statistics on the same
population, or differs from each of them, on every side on which it differs, by at least as many sites as a cohort of
either study needs (``cohort.minimum``): a site that agreed to the earlier one with a larger minimum is not asked again
by a later one that leaves it out. Sums of several studies that are combined in another way are not looked at: each of
them is paid for, and adds its own noise (``docs/feasibility.md``).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from client.study.context import StudyContext
from client.study.local_round import RoundWork, record_lost_work
from client.study.state import Counted
from client.study.store import StudyStore
from client.training.jobs import ScoreModel
from privacy.errors import Error, RefusedError
from privacy.mechanisms.shared_totals import add_noise_to_totals, compute_added_variances, compute_share_variances
from privacy.protocol.messages import Train
from privacy.randomness import from_os
from privacy.refusal_codes import RefusalCode
from privacy.study.cost import make_evaluation_event
from privacy.study.tasks.task import compute_squared_scales

_BASE: Final = 0


def do_statistics_round(context: StudyContext, request: Train) -> RoundWork:
    """Count what ``request`` asks for, once; asked again, return what is stored, with noise for its cohort.

    Run by a site that holds the keys.

    Raises:
        BudgetError: the study's allowance has no room.
        RefusedError: ``lost``: the counts are paid, and are missing; as :func:`require_distant_cohort`.
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
    """Refuse a cohort of this study as :func:`require_distant_cohort` does.

    Run by a site before it counts, and again before it releases its mask: another study may have come between.
    """
    population, minimum = context.state.registration.population, context.terms.cohort.minimum
    require_distant_cohort(context.store.folder.parent, context.launch.study, population, cohort, minimum)


def require_distant_cohort(studies: Path, study: str, population: str, cohort: Iterable[str], minimum: int) -> None:
    """Refuse a cohort that differs by too few sites from one with which this site has counted before.

    Run by a site, before it admits a study of statistics, before it counts, and before it releases its mask.

    Args:
        studies: the folder of this site's studies.
        study: the one that is asked for.
        population: whose patients are counted.
        cohort: the sites that would be counted together.
        minimum: by how many sites cohorts must differ at least; by more, where the earlier study needs more.

    Raises:
        RefusedError: ``release-refused``; the message names the earlier study. Also where the state of any study
            here cannot be read.
    """
    asked = frozenset(cohort)
    for earlier, before, needed in _list_earlier_cohorts(studies, study, population):
        least = max(minimum, needed)
        for some in (asked - before, before - asked):
            if 0 < len(some) < least:
                raise RefusedError(
                    RefusalCode.RELEASE_REFUSED,
                    f"this site has counted the same patients in '{earlier}' with a cohort that differs by {len(some)} "
                    f"sites ({', '.join(sorted(some))}): both together would tell the statistics of these few sites; "
                    f"ask the same sites again, or a cohort that differs by at least {least}",
                )


def _list_earlier_cohorts(studies: Path, study: str, population: str) -> list[tuple[str, frozenset[str], int]]:
    """List by study the cohorts with which this site has released statistics of ``population``, and their minimum.

    Raises:
        RefusedError: the state of a study cannot be read.
    """
    found = []
    for path in sorted(studies.glob("*/state.json")):
        try:
            store = StudyStore(path.parent)
        except Error:  # a study that has ended never continues: nobody else would look at its folder again
            raise RefusedError(
                RefusalCode.RELEASE_REFUSED,
                f"with whom this site has counted before cannot be told, since its state of '{path.parent.name}' is "
                "damaged; its people restore that folder from their backup",
            ) from None
        released = store.state.released
        same = store.launch.study != study and store.state.registration.population == population
        if same and store.launch.terms.counts_only and released is not None:
            terms = store.launch.terms
            found.append((store.launch.study, frozenset(released.cohort), terms.cohort.minimum))
    return found
