from typing import Any

import pytest
from pydantic import ValidationError

from privacy.study.tasks.regression import RegressionTerms
from privacy.study.tasks.task import CellGroup
from tests.privacy.study.tasks.contracts import make_contract

NUMBER: dict[str, Any] = {"type": "number", "name": "label", "low": -1, "high": 5}


def test_cells_of_one_number_are_truth_by_prediction() -> None:
    terms, contract = RegressionTerms(kind="regression"), make_contract(NUMBER)
    assert terms.find_misfit(contract) is None
    assert terms.list_targets() == ("label",)
    assert terms.compute_output_shape(contract) == ()
    for bins, cells in ((2, 4), (40, 1600), (100, 10_000), (10_000, 10_000)):
        assert terms.list_cell_groups(contract, bins) == (CellGroup("truth x prediction", cells),)


def test_cells_of_several_numbers_are_errors() -> None:
    terms, contract = RegressionTerms(kind="regression"), make_contract({**NUMBER, "shape": [7]})
    assert terms.find_misfit(contract) is None
    assert terms.compute_output_shape(contract) == (7,)
    for bins, cells in ((2, 2), (40, 40), (10_000, 10_000)):
        assert terms.list_cell_groups(contract, bins) == (CellGroup("mean absolute error", cells),)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (
            {**NUMBER, "name": "age"},
            "the task needs 'label', a number; the data have no tensor of this name, only age",
        ),
        (
            {"type": "flag", "name": "label"},
            "the task needs 'label' to be a number; in the data it is of type flag",
        ),
    ],
)
def test_misfit_says_what_the_data_lack(target: dict[str, Any], sentence: str) -> None:
    misfit = RegressionTerms(kind="regression").find_misfit(make_contract(target))
    assert misfit is not None
    assert misfit.startswith(sentence)


def test_unknown_loss_is_refused() -> None:
    with pytest.raises(ValidationError, match="squared"):
        RegressionTerms.model_validate({"kind": "regression", "loss": "absolute"})
