from typing import Any

import pytest

from privacy.study.tasks.pairs import PairsTerms
from privacy.study.tasks.task import CellGroup
from tests.privacy.study.tasks.contracts import make_contract

NUMBER: dict[str, Any] = {"type": "number", "name": "label", "low": 4, "high": 12}


def test_cells_are_truth_by_prediction() -> None:
    terms, contract = PairsTerms(kind="pairs", strong=7), make_contract(NUMBER)
    assert terms.find_misfit(contract) is None
    assert terms.compute_output_shape(contract) == ()
    for bins, cells in ((2, 4), (100, 10_000), (10_000, 10_000)):
        assert terms.list_cell_groups(contract, bins) == (CellGroup("truth x prediction", cells),)


@pytest.mark.parametrize(
    ("strong", "bins", "first"),
    [(7, 8, 3), (7.4, 8, 3), (7.6, 8, 4), (4.01, 8, 1), (11.99, 8, 7), (4.01, 2, 1), (7, 10_000, 38)],
)
def test_strong_bins_begin_at_the_nearest_edge(strong: float, bins: int, first: int) -> None:
    assert PairsTerms(kind="pairs", strong=strong).find_strong_bin(make_contract(NUMBER), bins) == first


def test_strong_left_out_has_no_bin() -> None:
    assert PairsTerms(kind="pairs").find_strong_bin(make_contract(NUMBER), 8) is None


@pytest.mark.parametrize(
    ("target", "strong", "sentence"),
    [
        ({**NUMBER, "name": "kd"}, None, "the task needs 'label', a number; the data have no tensor of this name"),
        (
            {**NUMBER, "shape": [2, 3]},
            None,
            "the task needs 'label' to be one number a record; in the data it is number, 2x3",
        ),
        (NUMBER, 4, "strong is 4, expected a number within the range of 'label', more than 4 and less than 12"),
        (NUMBER, 13.5, "strong is 13.5, expected a number within the range of 'label'"),
    ],
)
def test_misfit_says_what_is_wrong(target: dict[str, Any], strong: float | None, sentence: str) -> None:
    misfit = PairsTerms(kind="pairs", strong=strong).find_misfit(make_contract(target))
    assert misfit is not None
    assert misfit.startswith(sentence)
