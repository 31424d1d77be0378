import pytest

from privacy.study.tasks.multilabel import MultilabelTerms
from tests.privacy.study.tasks.misfits import CONTRACT, describe_misfit, make_terms


def test_each_label_has_a_logit_and_a_histogram() -> None:
    terms = make_terms("multilabel", target="codes")
    assert isinstance(terms, MultilabelTerms)
    assert terms.find_misfit(CONTRACT) is None
    assert terms.list_targets() == ("codes",)
    assert terms.compute_output_shape(CONTRACT) == (7,)
    groups = terms.list_cell_groups(CONTRACT, 10)
    assert [(group.cells, group.squared_sensitivity, group.histogram) for group in groups] == [(20, 1, True)] * 7
    assert {group.rows for group in groups} == {2}


def test_all_labels_together_are_sums_that_a_patient_changes_by_their_number() -> None:
    (group,) = make_terms("multilabel", target="codes", per_label=False).list_cell_groups(CONTRACT, 10)
    assert (group.cells, group.squared_sensitivity, group.histogram) == (20, 49, False)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (
            "labels",
            "the task needs 'labels', flags of one axis, up to 10000 labels; the data have no tensor of this",
        ),
        ("grade", "needs 'grade' to be flags of one axis, up to 10000 labels; in the data it is of type id"),
        ("vessel", "needs 'vessel' to be flags of one axis, up to 10000 labels; in the data it is flag, 8x6"),
        ("many", "needs 'many' to be flags of one axis, up to 10000 labels; in the data it is flag, 20000"),
    ],
)
def test_a_target_that_is_no_row_of_flags_is_a_misfit(target: str, words: str) -> None:
    assert words in describe_misfit("multilabel", target=target)
