"""The best evaluated model, and the end of patience, against plain readings of the rule."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.small_study import small_terms, without_privacy
from models.federated.early_stopping import RankedEvaluations
from models.tasks.binary import BinaryTask
from models.tasks.registry import list_figures
from privacy.study import Terms

Totals = tuple[int, ...]

TERMS = small_terms(evaluation={"bins": 4})
UNDEFINED: Totals = (5, 5, 0, 0, 0, 0, 0, -3)
"""Noise has left no positive patient."""


def patient_terms(patience: int | None) -> Terms:
    return without_privacy(evaluation={"bins": 4, "patience": patience})


def totals(wins: int, of: int = 10) -> Totals:
    """``of`` negative patients beside one positive, who scores above ``wins`` of them: an AUROC of wins / of."""
    return (wins, 0, of - wins, 0, 0, 1, 0, 0)


some_totals = st.lists(st.integers(-2, 4), min_size=8, max_size=8).map(tuple)


def test_auroc_of_the_tests_own_totals_is_as_said() -> None:
    assert [BinaryTask().compute_rank(totals(wins), 4) for wins in (0, 7, 10)] == [0, Fraction(7, 10), 1]
    assert BinaryTask().compute_rank(UNDEFINED, 4) is None


@pytest.mark.parametrize(
    ("figures", "best"),
    [
        ([], None),
        ([3], 0),
        ([3, 5, 4], 1),
        ([5, 5, 5], 0),
        ([None, 2, None, 1], 1),
        ([None, None], None),
        ([0], 0),
    ],
)
def test_best_is_the_earliest_of_the_greatest(figures: list[int | None], best: int | None) -> None:
    evaluations = [UNDEFINED if wins is None else totals(wins) for wins in figures]
    assert RankedEvaluations(TERMS, evaluations).best == best
    if figures:
        is_last = RankedEvaluations(TERMS, evaluations[:-1]).would_be_best(evaluations[-1])
        assert is_last == (best == len(figures) - 1)


@pytest.mark.parametrize(
    ("figures", "patience", "ends_at"),
    [
        ([5, 4, 6, 5, 5, 7], 2, 5),
        ([5, 5, 5], 2, 3),
        ([5, 4], 1, 2),
        ([1, 2, 3, 4], 1, None),
        ([5, None, None, 6], 2, 3),
        ([None, None, None, 5, 4], 1, 5),
        ([None, None, None], 1, None),
        ([5, 1, 1, 1], None, None),
    ],
)
def test_patience_ends_after_as_many_evaluations_without_a_better_one(
    figures: list[int | None], patience: int | None, ends_at: int | None
) -> None:
    ranked = RankedEvaluations(patient_terms(patience))
    over = [ranked.are_out_of_patience]
    for wins in figures:
        ranked.add(UNDEFINED if wins is None else totals(wins))
        over.append(ranked.are_out_of_patience)
    assert (over.index(True) if True in over else None) == ends_at


@given(st.lists(some_totals, max_size=12), st.integers(1, 4))
def test_patience_is_over_exactly_when_the_last_ones_are_no_better_than_the_best_before(
    evaluations: list[Totals], patience: int
) -> None:
    """Read off the sentence of the terms, with the figures that people are shown."""
    figures = [BinaryTask().compute_figures(each, 4)["auroc"] for each in evaluations]
    before = [figure for figure in figures[:-patience] if figure is not None]
    last = [figure for figure in figures[-patience:] if figure is not None]
    terms = patient_terms(patience)
    over = RankedEvaluations(terms, evaluations).are_out_of_patience
    assert over == (bool(before) and max(last, default=-1.0) <= max(before))


def test_figures_that_floats_cannot_tell_apart_are_told_apart() -> None:
    most = 10**9
    nearly, whole = totals(most - 2, most), totals(most - 1, most)
    close = (10**17, 0, 10**17 + 1, 0, 0, 1, 0, 0)
    closer = (10**17 + 1, 0, 10**17, 0, 0, 1, 0, 0)
    assert RankedEvaluations(TERMS, [nearly, whole]).best == 1
    assert float(close[0] / sum(close[:4])) == float(closer[0] / sum(closer[:4]))
    assert RankedEvaluations(TERMS, [close, closer]).best == 1


def test_totals_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 8 counts, got 3"):
        RankedEvaluations(TERMS, [(1, 2, 3)])


def test_best_of_a_task_whose_figure_is_an_error_is_the_one_with_less() -> None:
    terms = small_terms(task={"kind": "reconstruction"}, evaluation={"bins": 4})
    assert list_figures(terms.task, terms.data)[0].lower_is_better
    small, large = (5, 1, 0, 0), (0, 2, 3, 1)  # patients by their error
    assert RankedEvaluations(terms, [large, small]).best == 1
    assert RankedEvaluations(terms, [small, large]).best == 0
