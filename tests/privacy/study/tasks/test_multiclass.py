import re

import pytest
from pydantic import ValidationError

from privacy.study.tasks.multiclass import MulticlassTerms
from privacy.study.tasks.task import CellGroup
from tests.privacy.study.tasks.misfits import CONTRACT, describe_misfit, make_terms


def test_a_class_has_a_logit_and_a_histogram_for_each_value() -> None:
    terms = make_terms("multiclass", target="grade", class_weights=[1, 1, 2, 2, 4])
    assert isinstance(terms, MulticlassTerms)
    assert terms.find_misfit(CONTRACT) is None
    assert terms.list_targets() == ("grade",)
    assert terms.compute_output_shape(CONTRACT) == (5,)
    groups = terms.list_cell_groups(CONTRACT, 9)
    assert [group.cells for group in groups] == [18] * 5 + [25]
    assert [group.rows for group in groups] == [2] * 5 + [5]
    assert all(group.histogram and group.squared_sensitivity == 1 for group in groups)
    assert groups[-1] == CellGroup("truth x prediction", 25, rows=5)


def test_terms_that_name_no_loss_keep_their_digest() -> None:
    """The loss came later: what was signed before says the same as the default."""
    plain = make_terms("multiclass", target="grade")
    assert plain == make_terms("multiclass", target="grade", loss="cross_entropy")
    assert b"loss" not in plain.to_bytes()
    assert make_terms("multiclass", target="grade", loss="margin").digest != plain.digest


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("label", "needs 'label', an id of 2 to 1000 values, one a record; the data have no tensor of this name"),
        ("vessel", "needs 'vessel' to be an id of 2 to 1000 values, one a record; in the data it is of type flag"),
        ("words", "needs 'words' to be an id of 2 to 1000 values.* it is id of 5000 words, one value"),
        ("organs", "needs 'organs' to be an id of 2 to 1000 values, one.* it is id of 4 words, 4x8x6"),
    ],
)
@pytest.mark.parametrize("kind", ["multiclass", "ordinal"])
def test_a_target_that_is_no_class_is_a_misfit(kind: str, target: str, words: str) -> None:
    assert re.search(words, describe_misfit(kind, target=target))


def test_weights_of_another_number_than_classes_are_a_misfit() -> None:
    assert describe_misfit("multiclass", target="grade", class_weights=[1, 2]) == (
        "class_weights: expected 5 weights, one for each class of 'grade', got 2"
    )


@pytest.mark.parametrize("weight", [0, -1, 1001])
def test_a_weight_beyond_its_bounds_is_refused(weight: float) -> None:
    with pytest.raises(ValidationError):
        make_terms("multiclass", class_weights=[weight, 1])
