from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.study.tasks.survival import SurvivalTerms
from privacy.study.tasks.task import count_cells
from privacy.study.terms import MOST_CELLS
from tests.privacy.study.tasks.contracts import make_contract

TIME: dict[str, Any] = {"type": "number", "name": "time", "low": 0, "high": 3650}
EVENT: dict[str, Any] = {"type": "id", "name": "event", "values": 3}


def make_terms(**options: object) -> SurvivalTerms:
    return SurvivalTerms.model_validate({"kind": "survival", **options})


def test_cells_are_a_histogram_for_each_cause_and_horizon() -> None:
    contract = make_contract(TIME, EVENT)
    terms = make_terms(horizons=[365, 1825])
    assert terms.find_misfit(contract) is None
    assert terms.list_targets() == ("time", "event")
    assert terms.compute_output_shape(contract) == (41,)
    assert terms.list_horizon_edges(contract) == (2, 10)
    assert terms.list_horizon_times(contract) == (365, 1825)
    groups = terms.list_cell_groups(contract, 100)
    assert [group.name.split(":")[0] for group in groups] == [
        "cause 1 by 365",
        "cause 1 by 1825",
        "cause 2 by 365",
        "cause 2 by 1825",
    ]
    assert {group.cells for group in groups} == {20 * 3 * 20}
    assert {group.cells for group in terms.list_cell_groups(contract, 4)} == {20 * 3 * 4}


def test_cells_of_one_cause_tell_only_events_from_the_censored() -> None:
    contract = make_contract(TIME, {**EVENT, "values": 2})
    terms = make_terms()
    assert terms.compute_output_shape(contract) == (21,)
    assert terms.list_horizon_edges(contract) == (5, 10, 15)
    assert terms.list_horizon_times(contract) == (912.5, 1825, 2737.5)
    assert [group.cells for group in terms.list_cell_groups(contract, 100)] == [20 * 2 * 20] * 3


@given(st.integers(2, 11), st.integers(2, 200), st.integers(1, 5000).map(lambda half: 2 * half))
def test_cells_are_bounded_whatever_the_bins(values: int, intervals: int, bins: int) -> None:
    """No more than three histograms a cause; terms refuse what is more than ``MOST_CELLS``."""
    contract, terms = make_contract(TIME, {**EVENT, "values": values}), make_terms(intervals=intervals)
    assert terms.find_misfit(contract) is None
    edges = terms.list_horizon_edges(contract)
    assert 1 <= len(edges) <= 3
    assert all(1 <= edge < intervals for edge in edges)
    cells = count_cells(terms.list_cell_groups(contract, bins))
    assert cells <= 3 * (values - 1) * intervals * 3 * 20
    assert count_cells(terms.list_cell_groups(contract, 2)) <= cells
    if values <= 4 and intervals <= 20:
        assert cells <= MOST_CELLS


@pytest.mark.parametrize(("intervals", "edges"), [(2, (1,)), (3, (1, 2)), (4, (1, 2, 3)), (10, (2, 5, 8))])
def test_default_horizons_are_the_edges_nearest_to_the_quarters(intervals: int, edges: tuple[int, ...]) -> None:
    assert make_terms(intervals=intervals).list_horizon_edges(make_contract(TIME, EVENT)) == edges


@pytest.mark.parametrize(
    ("targets", "options", "sentence"),
    [
        ([EVENT], {}, "the task needs 'time', a number; the data have no tensor of this name"),
        ([TIME], {}, "the task needs 'event', an id: 0 for censored, then the causes; the data have no tensor"),
        (
            [TIME, {"type": "flag", "name": "event"}],
            {},
            "the task needs 'event' to be an id: 0 for censored, then the causes; in the data it is of type flag",
        ),
        (
            [{**TIME, "shape": [2]}, EVENT],
            {},
            "the task needs 'time' to be one number a record; in the data it is number, 2",
        ),
        (
            [TIME, {**EVENT, "values": 12}],
            {},
            "the task needs 'event' to be one id a record, of at most 11 values; in the data it is id of 12 words, one",
        ),
        ([TIME, EVENT], {"horizons": [730, 365]}, "horizons: expected rising times, each once"),
        (
            [TIME, EVENT],
            {"horizons": [365, 500]},
            "horizons: 500 is not where one of the 20 intervals of 'time' ends and another begins; the nearest is "
            "547.5",
        ),
        ([TIME, EVENT], {"horizons": [0]}, "horizons: 0 is not where one of the 20 intervals of 'time' ends"),
        ([TIME, EVENT], {"horizons": [3650]}, "horizons: 3650 is not where one of the 20 intervals of 'time' ends"),
    ],
)
def test_misfit_says_what_is_wrong(targets: list[dict[str, Any]], options: dict[str, Any], sentence: str) -> None:
    misfit = make_terms(**options).find_misfit(make_contract(*targets))
    assert misfit is not None
    assert misfit.startswith(sentence)


def test_horizons_of_fractions_are_edges() -> None:
    """A tenth is no binary fraction, and yet three tenths are the third edge of ten."""
    contract = make_contract({**TIME, "high": 1}, EVENT)
    terms = make_terms(intervals=10, horizons=[0.1, 0.3, 0.7])
    assert terms.find_misfit(contract) is None
    assert terms.list_horizon_edges(contract) == (1, 3, 7)
