"""A study that only counts: what need not be written, and what must not be."""

from typing import Any

import pytest

from benchmarks.small_study import small_terms
from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.events import DistributedGaussian
from privacy.errors import TermsError
from privacy.secure_aggregation.round_layout import layout_of
from privacy.study import parse_terms
from privacy.study.cost import (
    compute_evaluation_noise,
    compute_price_of_runs,
    compute_study_noise,
    compute_totals_deviation,
    make_evaluation_event,
)
from privacy.study.summary import describe_inputs, describe_prediction
from privacy.study.tasks.task import count_cells
from tests.privacy.launch_makers import launch_of
from tests.statistics_study import ASKED, statistics_terms


def test_statistics_terms_have_one_exchange_that_trains_nothing() -> None:
    terms = statistics_terms()
    assert terms.counts_only
    assert (terms.last_round, terms.trains(1), terms.evaluates(1, 0), terms.sums_patients) == (
        1,
        False,
        True,
        False,
    )
    assert terms.asked_epsilon == 1
    assert parse_terms(terms.model_dump(mode="json")) == terms
    assert not small_terms().counts_only


def test_statistics_terms_cost_their_epsilon_once() -> None:
    terms = statistics_terms()
    noise = compute_evaluation_noise(terms)
    assert noise is not None
    event = make_evaluation_event(terms, noise)
    assert event == DistributedGaussian(noise_multiplier=noise, sampling_rate=1.0, steps=1, colluders=1)
    assert 0.99 < epsilon_of([event], 1e-3) <= 1
    twice = compute_price_of_runs(terms, 2)
    assert twice.training == 0
    assert twice.evaluation == pytest.approx(epsilon_of([event, event], 1e-3))
    assert compute_totals_deviation(terms, 3.0, 4) == pytest.approx(3.0 * (4 / 3) ** 0.5)
    assert compute_totals_deviation(small_terms(), 3.0, 4) == 6.0
    with pytest.raises(TermsError, match="trains nothing"):
        compute_study_noise(terms)


def test_statistics_are_sealed_as_totals_alone() -> None:
    terms = statistics_terms(cohort={"minimum": 3}, task={**ASKED, "differences": []})
    layout = layout_of(launch_of(terms), 1, 0)
    assert (layout.parameters, layout.counts) == (0, count_cells(terms.cell_groups))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"privacy": {"epsilon": "none", "delta": None}}, "privacy.epsilon is none: statistics are always counted"),
        ({"privacy": {"placement": "local"}}, "leave out placement and unit"),
        ({"privacy": {"unit": "record"}}, "leave out placement and unit"),
        ({"model": {"name": "logistic"}}, "model: a study of statistics trains and releases no model"),
        ({"training": {"rounds": 2, "local_steps": 1, "sampling_rate": 1, "learning_rate": 1}}, "training: a study"),
        ({"evaluation": {"rounds": [0], "epsilon": 2}}, "evaluation: a study of statistics"),
        ({"evaluation": {"rounds": [0], "epsilon": 1, "records": "all"}}, "evaluation: a study of statistics"),
        ({"release": {"model": "average"}}, "release: a study of statistics"),
        ({"secure_aggregation": {"scheme": "open"}}, "scheme is open"),
        ({"cohort": {"minimum": 3}}, "the means of two could be computed"),
        ({"cohort": {"minimum": 4, "colluders": 2}}, "2 sites are unknown to insiders, expected at least 3"),
        ({"cohort": {"colluders": 0}}, "colluders is 0"),
        ({"task": {"columns": ["age", "agee"]}}, "no 'agee' that can be counted; they have ill, age, sex"),
        ({"task": {"columns": ["age", "age"]}}, "columns: a column is named twice"),
        ({"task": {"columns": ["sex"]}}, "'age' is not counted; counted are sex"),
        ({"task": {"pairs": [["age", "sex"]]}}, "expected a number or a column of two words that is never missing"),
        ({"task": {"pairs": [["age", "ill"], ["ill", "age"]]}}, "no pair twice"),
        ({"task": {"pairs": [["age"]]}}, "expected at least 2 entries"),
        ({"task": {"differences": ["age", "age"]}}, "differences: a column is named twice"),
        ({"task": {"bins": 1}}, "expected at least 2"),
    ],
)  # fmt: skip
def test_statistics_terms_with_a_mistake_are_refused_with_its_sentence(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(TermsError) as caught:
        statistics_terms(**changes)
    assert sentence in str(caught.value)


def test_differences_of_two_unknown_sites_may_not_be_asked_for_but_everything_else_may() -> None:
    assert statistics_terms(cohort={"minimum": 3}, task={**ASKED, "differences": []}).counts_only


def test_training_without_rounds_is_refused() -> None:
    with pytest.raises(TermsError, match=r"training\.rounds: expected at least 1, got 0"):
        small_terms(training={"rounds": 0}, evaluation={"rounds": []})


def test_statistics_study_is_described_by_what_it_counts() -> None:
    terms = statistics_terms(
        task={"kind": "statistics", "columns": ["age", "ill"], "pairs": [], "differences": ["age"]}
    )
    assert describe_prediction(terms) == "nothing; it counts 2 columns, and how much sites differ in age"
    assert describe_inputs(terms) == {"age": "number from 20 to 80", "ill": "one of 2 words"}
