"""A study of statistics that is derived from one that trains."""

import pytest

from benchmarks.small_study import small_terms, without_privacy
from privacy.errors import TermsError
from server.feasibility.derive import derive_statistics_terms


def test_derived_study_counts_the_same_data_for_an_epsilon_of_its_own() -> None:
    trains = small_terms(cohort={"minimum": 4})
    terms = derive_statistics_terms(trains, epsilon=0.5, pairs=[("age", "ill")], differences=["age"], bins=6)
    assert terms.counts_only
    assert terms.data == trains.data  # so that it is the data that sites have registered
    assert (terms.asked_epsilon, terms.privacy.delta, terms.name) == (0.5, 1e-3, "small-feasibility")
    assert (terms.cohort.minimum, terms.cohort.maximum) == (4, 8)
    assert terms.task.model_dump()["bins"] == 6


def test_derived_study_of_one_without_privacy_needs_a_delta() -> None:
    with pytest.raises(TermsError, match="no privacy, so no delta; name one with --delta"):
        derive_statistics_terms(without_privacy(), epsilon=0.5)
    assert derive_statistics_terms(without_privacy(), epsilon=0.5, delta=1e-4).privacy.delta == 1e-4


def test_derived_study_with_an_unknown_column_is_refused() -> None:
    with pytest.raises(TermsError, match="the data have no 'weight'"):
        derive_statistics_terms(small_terms(), epsilon=0.5, columns=["weight"])


def test_derived_study_keeps_its_name_within_what_a_name_may_have() -> None:
    named = small_terms().model_copy(update={"name": "a" * 40})
    assert derive_statistics_terms(named, epsilon=0.5).name == "a" * 28 + "-feasibility"
