"""Stages of training: their rounds and rates, and what they may not be joined with."""

from typing import Any

import pytest

from benchmarks.small_study import small_terms
from privacy.errors import TermsError
from privacy.study import Terms
from privacy.study.cost import compute_study_noise

PRE = {"name": "pre", "objective": "layer-1", "rounds": 2, "learning_rate": 0.1}
FINE = {"name": "fine", "rounds": 3, "learning_rate": 0.5}


def staged(*stages: dict[str, Any], **training: Any) -> Terms:
    plain = {"local_steps": 3, "sampling_rate": 0.5, "stages": list(stages), **training}
    return small_terms(training={"rounds": 5, "learning_rate": 0.1, **plain})


def test_rounds_are_those_of_all_stages() -> None:
    terms = staged(PRE, FINE)
    stages = [terms.training.find_stage(number) for number in range(1, 6)]
    assert [stage and stage.name for stage in stages] == ["pre", "pre", "fine", "fine", "fine"]


def test_learning_rate_is_that_of_the_stage_and_its_schedule_begins_anew() -> None:
    terms = staged(PRE, FINE, schedule="linear")
    rates = [terms.training.compute_learning_rate(number) for number in range(1, 6)]
    assert rates == pytest.approx([0.1, 0.05, 0.5, 0.5 * 2 / 3, 0.5 / 3])
    assert terms.training.largest_learning_rate == 0.5


def test_stages_cost_what_as_many_plain_rounds_cost() -> None:
    plain = small_terms(training={"rounds": 5, "local_steps": 3, "sampling_rate": 0.5})
    assert compute_study_noise(staged(PRE, FINE)) == compute_study_noise(plain)


def test_number_of_rounds_that_is_not_that_of_the_stages_is_refused() -> None:
    with pytest.raises(TermsError, match="rounds is 4, the stages have 5; leave rounds out"):
        staged(PRE, FINE, rounds=4)


def test_control_variates_with_stages_are_refused() -> None:
    with pytest.raises(TermsError, match="a stage trains some layers only; leave it out with stages"):
        staged(PRE, FINE, control_variates=True)
