import re
from typing import Any

import pytest

from privacy.study.tasks.reconstruction import ReconstructionTerms
from tests.privacy.study.tasks.misfits import CONTRACT, describe_misfit, make_terms


def test_an_input_has_as_many_outputs_as_values() -> None:
    terms = make_terms("reconstruction", target="image", loss="cross-entropy")
    assert isinstance(terms, ReconstructionTerms)
    assert terms.find_misfit(CONTRACT) is None
    assert terms.list_targets() == ("image",)
    assert terms.compute_output_shape(CONTRACT) == (8, 6)
    (group,) = terms.list_cell_groups(CONTRACT, 9)
    assert (group.cells, group.squared_sensitivity, group.histogram) == (9, 1, True)


def test_a_mask_is_needed_too_and_has_a_cell_for_records_without_values() -> None:
    terms = make_terms("reconstruction", target="image", mask="observed")
    assert terms.find_misfit(CONTRACT) is None
    assert terms.list_targets() == ("image", "observed")
    assert [group.cells for group in terms.list_cell_groups(CONTRACT, 9)] == [10]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "the task needs 'features', numbers among the inputs; the data have no tensor of this name"),
        ({"target": "few"}, "needs 'few' to be numbers among the inputs; in the data it is of type flag"),
        ({"target": "age"}, "needs 'age' to be an input; in the data it is a target; inputs: image, signed"),
        (
            {"target": "signed", "loss": "cross-entropy"},
            "loss: cross-entropy needs values from 0 to 1; in the data 'signed' has values from -1 to 1; write",
        ),
        (
            {"target": "image", "mask": "seen"},
            "needs 'seen', flags of the shape of 'image'; the data have no tensor",
        ),
        (
            {"target": "image", "mask": "signed"},
            "needs 'signed' to be flags of .*; in the data it is of type number",
        ),
        (
            {"target": "image", "mask": "few"},
            "needs 'few' to be flags of the shape of 'image'; .* it is flag, 3, and 'image' is number, 8x6",
        ),
    ],
)
def test_a_target_that_is_no_input_of_numbers_is_a_misfit(fields: dict[str, Any], words: str) -> None:
    assert re.search(words, describe_misfit("reconstruction", **fields))
