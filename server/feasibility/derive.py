"""Derive a study of statistics from a study that trains: the same data and sites, another task, an epsilon of its own.

What does not follow from the study is the operator's choice: what the answer may cost, and what is counted.
"""

from collections.abc import Sequence

from privacy.errors import TermsError
from privacy.study import Terms, parse_terms

_SUFFIX = "-feasibility"
_LONGEST_NAME = 40


def derive_statistics_terms(
    terms: Terms,
    *,
    epsilon: float,
    delta: float | None = None,
    bins: int | None = None,
    columns: Sequence[str] = (),
    pairs: Sequence[tuple[str, str]] = (),
    differences: Sequence[str] = (),
) -> Terms:
    """Derive the terms of a study of statistics on the data of ``terms``.

    Args:
        terms: a study that trains.
        epsilon: what the statistics cost a patient.
        delta: of the statistics; None takes the study's.
        bins: into how many bins ranges are divided; None takes the usual number.
        columns: what is counted; empty means everything.
        pairs: whose correlation is wanted.
        differences: of which it is wanted how much sites differ.

    Raises:
        TermsError: there is no delta, or something named cannot be counted.
    """
    chosen = terms.privacy.delta if delta is None else delta
    if chosen is None:
        raise TermsError(f"{terms.name}: the study has no privacy, so no delta; name one with --delta")
    task = {
        "kind": "statistics",
        "columns": list(columns),
        "pairs": [list(pair) for pair in pairs],
        "differences": list(differences),
        **({} if bins is None else {"bins": bins}),
    }
    written = terms.model_dump(mode="json")
    return parse_terms(
        {
            "consilium": written["consilium"],
            "name": terms.name[: _LONGEST_NAME - len(_SUFFIX)].rstrip("-") + _SUFFIX,
            "purpose": f"Feasibility of '{terms.name}': {terms.purpose}"[:2000],
            "data": written["data"],
            "task": task,
            "privacy": {"epsilon": epsilon, "delta": chosen},
            "cohort": {**written["cohort"], "participation": 1.0, "colluders": max(1, terms.cohort.colluders)},
        }
    )
