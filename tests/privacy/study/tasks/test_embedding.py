from typing import Any

import pytest
from pydantic import ValidationError

from privacy.study.tasks.embedding import EmbeddingTerms
from privacy.study.tasks.task import CellGroup
from tests.privacy.study.tasks.contracts import make_contract

VISITS: dict[str, Any] = {"type": "flag", "name": "visits", "shape": [6, 40]}
PRESENT: dict[str, Any] = {"type": "flag", "name": "present", "shape": [6]}


def test_cells_are_recalls_and_one_for_no_neighbour() -> None:
    contract, terms = make_contract(VISITS, PRESENT), EmbeddingTerms(kind="embedding", window=3, top=(5,))
    assert terms.find_misfit(contract) is None
    assert terms.list_targets() == ("visits", "present")
    assert terms.compute_output_shape(contract) == (6, 40)
    assert terms.list_cell_groups(contract, 100) == (CellGroup("recall at 5", 102),)


def test_misfit_says_what_is_wrong() -> None:
    misfit = EmbeddingTerms(kind="embedding").find_misfit(make_contract(VISITS))
    assert misfit is not None
    assert misfit.startswith("the task needs 'present', flags (visits,); the data have no tensor of this name")


@pytest.mark.parametrize("window", [0, 101])
def test_window_of_no_use_is_refused(window: int) -> None:
    with pytest.raises(ValidationError, match="window"):
        EmbeddingTerms(kind="embedding", window=window)
