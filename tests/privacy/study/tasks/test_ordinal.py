from privacy.study.tasks.ordinal import OrdinalTerms
from privacy.study.tasks.task import CellGroup
from tests.privacy.study.tasks.misfits import CONTRACT, make_terms


def test_a_grade_has_a_logit_for_each_step_and_truth_by_prediction() -> None:
    terms = make_terms("ordinal", target="grade")
    assert isinstance(terms, OrdinalTerms)
    assert terms.find_misfit(CONTRACT) is None
    assert terms.list_targets() == ("grade",)
    assert terms.compute_output_shape(CONTRACT) == (4,)
    for bins in (2, 100):
        assert terms.list_cell_groups(CONTRACT, bins) == (CellGroup("truth x prediction", 25, rows=5),)
