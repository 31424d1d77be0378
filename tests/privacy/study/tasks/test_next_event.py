from typing import Any

import pytest
from pydantic import ValidationError

from privacy.study.tasks.next_event import NextEventTerms
from privacy.study.tasks.task import CellGroup
from tests.privacy.study.tasks.contracts import make_contract

VISITS: dict[str, Any] = {"type": "flag", "name": "visits", "shape": [6, 40]}
PRESENT: dict[str, Any] = {"type": "flag", "name": "present", "shape": [6]}
LABELS: dict[str, Any] = {"type": "flag", "name": "groups", "shape": [6, 15]}


def make_terms(**options: object) -> NextEventTerms:
    return NextEventTerms.model_validate({"kind": "next-event", **options})


def test_cells_are_recalls_and_one_for_no_next_visit() -> None:
    contract, terms = make_contract(VISITS, PRESENT), make_terms()
    assert terms.find_misfit(contract) is None
    assert terms.list_targets() == ("visits", "present")
    assert terms.compute_output_shape(contract) == (6, 40)
    for bins in (2, 100, 10_000):
        want = (CellGroup("recall at 10", bins + 2), CellGroup("recall at 30", bins + 2))
        assert terms.list_cell_groups(contract, bins) == want


def test_labels_are_predicted_in_place_of_events() -> None:
    contract, terms = make_contract(PRESENT, LABELS), make_terms(labels="groups")
    assert terms.find_misfit(contract) is None
    assert terms.list_targets() == ("groups", "present")
    assert terms.compute_output_shape(contract) == (6, 15)
    assert terms.list_cell_groups(contract, 10) == (CellGroup("recall at 10", 12),)


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        ([PRESENT], "the task needs 'visits', flags (visits, codes); the data have no tensor of this name"),
        ([VISITS], "the task needs 'present', flags (visits,); the data have no tensor of this name"),
        (
            [{**VISITS, "type": "id", "values": 9}, PRESENT],
            "the task needs 'visits' to be flags (visits, codes); in the data it is of type id",
        ),
        (
            [{**VISITS, "shape": [6]}, PRESENT],
            "the task needs 'visits' to be flags (visits, codes) of at least two visits; in the data it is flag, 6",
        ),
        (
            [{**VISITS, "shape": [1, 40]}, {**PRESENT, "shape": [1]}],
            "the task needs 'visits' to be flags (visits, codes) of at least two visits; in the data it is flag, 1x40",
        ),
        (
            [VISITS, {**PRESENT, "shape": [7]}],
            "the task needs 'present' to be one flag for each of the 6 visits of 'visits'; in the data it is flag, 7",
        ),
        (
            [{**VISITS, "shape": [6, 10]}, PRESENT],
            "top: 'visits' has 10 codes, so that recall at 10 is always 1; name a smaller number",
        ),
    ],
)
def test_misfit_says_what_is_wrong(targets: list[dict[str, Any]], sentence: str) -> None:
    misfit = make_terms().find_misfit(make_contract(*targets))
    assert misfit is not None
    assert misfit.startswith(sentence)


def test_top_listed_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="a number is listed twice"):
        make_terms(top=[3, 3])
