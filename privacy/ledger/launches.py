"""Count how often one study was launched, and what all its launches cost: the best of k runs is charged as k runs.

Every launch is a study of its own, with its own allowance. The choice of the best run uses the results of all runs,
so every report of one run says how many there were.

Rules:

* launches belong together when their studies have the same name and the same population, whatever else their terms
  say;
* their cost is what each grant has spent and set aside for them, at the grant's order and delta. How often a study
  is launched depends on results, so no other order may be chosen afterwards.
"""

import re
from typing import NamedTuple

from privacy.accounting.figures import round_up
from privacy.ledger.state import LedgerState


class Launches(NamedTuple):
    """Every launch of a study that a ledger has seen so far.

    Attributes:
        studies: their identifiers, in the order of their admission.
        same_terms: how many of them have exactly the terms of the study in question.
        epsilon: what all of them cost together, spent and set aside; None if nothing bounds it.
        delta: of the grants that pay.
        whole: whether the ledger has all its entries; one restored from a backup may lack launches.
    """

    studies: tuple[str, ...]
    same_terms: int
    epsilon: float | None
    delta: float
    whole: bool


def launches_of(ledger_state: LedgerState, study: str) -> Launches:
    """Return every launch of the study of which ``study`` is one launch.

    Raises:
        BudgetError: it was never admitted.
    """
    account = ledger_state.find_account_of_study(study)
    alike = [
        said
        for each in account.allowances
        if (said := ledger_state.find_allowance(each)) and _read_study_name(each) == _read_study_name(study)
    ]
    studies = tuple(said.study for said in alike)
    terms = [said.terms for said in alike if said.study == study]
    together = account.compute_committed_cost(studies)
    return Launches(
        studies=studies,
        same_terms=sum(said.terms in terms for said in alike),
        epsilon=None if together.epsilon is None else round_up(together.epsilon),
        delta=together.delta,
        whole=ledger_state.recovered is None,
    )


def _read_study_name(study: str) -> str:
    """Return the name that all launches of a study share: the identifier without the digits of the digest."""
    name, _, digits = study.rpartition("-")
    return name if re.fullmatch("[0-9a-f]{8}", digits) else study
