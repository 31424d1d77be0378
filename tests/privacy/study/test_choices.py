"""Terms: which ways of training go together, and what an impossible combination is answered with."""

import copy
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import TermsError
from privacy.study import Terms, Training, parse_terms
from tests.privacy.vectors.generate import TERMS

START = "ab" * 32
SITES = {"privacy": {"unit": "site", "placement": "distributed"}, "training": {"weights": "uniform"}}
SHARED = {"privacy": {"placement": "distributed"}, "training": {"local_steps": 1}}
ORDERED = {
    "privacy": {"placement": "correlated", "correlation": {"matrix": "banded"}},
    "training": {"local_steps": 4},
}
PAID = {"evaluation": {"epsilon": 1}}
OFF = {"privacy": {"epsilon": "none", "delta": None, "clipping_norm": None}}


def terms_with(*changes: dict[str, dict[str, Any]]) -> Terms:
    """The golden terms with some keys of some parts replaced."""
    value = copy.deepcopy(TERMS)
    for change in changes:
        for part, fields in change.items():
            value[part].update(fields)
    return parse_terms(value)


@pytest.mark.parametrize(
    "changes",
    [
        [{"training": {"control_variates": True}}],
        [{"training": {"control_variates": True}}, OFF],
        [{"training": {"accumulate": 3}}],
        [{"task": {"kind": "binary", "positive_weight": 4.5}}],
        [SHARED],
        [ORDERED],
        [ORDERED, {"training": {"local_steps": 8, "accumulate": 3, "proximal": 0.1}}],
        [ORDERED, {"privacy": {"correlation": {"bands": 2}}}],
        [ORDERED, {"privacy": {"correlation": {"matrix": "tree"}}}],
        [SITES],
        [SITES, {"cohort": {"participation": 0.25}}],
        [SITES, {"privacy": {"adaptive_clipping": {}}}],
        [SITES, {"training": {"local_steps": 7, "proximal": 0.1, "accumulate": 2}}],
        [{"model": {"start": START, "trained": ["head"]}}],
        [{"model": {"start": START, "frozen": ["layers.0"]}}, SHARED],
        [{"model": {"start": START, "adapters": {"rank": 2}, "trained": ["head"]}}],
        [{"model": {"personal": ["head"]}}],
        [SITES, {"model": {"personal": ["head"]}, "evaluation": {"rounds": []}}],
        [PAID, {"evaluation": {"patience": 2}, "release": {"model": "best"}}],
        [OFF, {"evaluation": {"patience": 2}, "release": {"model": "best"}}],
    ],
)
def test_terms_of_ways_that_go_together_are_terms(changes: list[dict[str, Any]]) -> None:
    terms = terms_with(*changes)
    assert parse_terms(terms.model_dump(mode="json")) == terms


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ([SHARED, {"training": {"accumulate": 2}}], "a round is one global step"),
        ([SHARED, {"training": {"local_steps": 2}}], "a round is one global step"),
        ([SHARED, {"training": {"proximal": 1}}], "no local steps to pull back"),
        ([SHARED, {"training": {"control_variates": True}}], "no local steps to correct"),
        ([SHARED, {"training": {"weights": "uniform"}}], "every patient counts alike"),
        ([SHARED, {"model": {"personal": ["head"]}}], "too little noise to train layers of its own"),
        ([SHARED, {"privacy": {"unit": "record"}}], "the unit is the patient or the site"),
        ([SHARED, {"secure_aggregation": {"scheme": "open"}}], "one site's share has only a part of the noise"),
        ([SITES, {"secure_aggregation": {"scheme": "open"}}], "one site's share has only a part of the noise"),
        ([SHARED, {"cohort": {"colluders": 0}}], "each of them is an insider"),
        ([SITES, {"cohort": {"colluders": 0}}], "each of them is an insider"),
        ([{"privacy": {"placement": "correlated"}}], "write correlation: {matrix: banded}"),
        ([{"privacy": {"correlation": {}}}], "is for placement: correlated, the placement is local"),
        ([ORDERED, {"privacy": {"correlation": {"matrix": "tree", "bands": 2}}}], "bands is for matrix: banded"),
        ([ORDERED, {"privacy": {"correlation": {"bands": 5}}}], "a patient is used every 4 steps; write at most 4"),
        ([ORDERED, {"privacy": {"unit": "record"}}], "the unit is the patient, whose lot is fixed"),
        ([ORDERED, OFF], "correlated noise needs an epsilon"),
        ([ORDERED, {"training": {"sampling_rate": 0.3}}], "one over the number of lots"),
        ([ORDERED, {"training": {"sampling_rate": 1}}], "one over the number of lots"),
        ([ORDERED, {"training": {"local_steps": 6}}], "whole passes over the 4 lots, such as 8"),
        ([ORDERED, {"training": {"step": {"rule": "adam"}}}], "adam sums none"),
        ([ORDERED, {"training": {"control_variates": True}}], "carry noise from round to round themselves"),
        ([ORDERED, {"model": {"personal": ["head"]}}], "is carried on for shared layers"),
        ([{"training": {"control_variates": True, "proximal": 1}}], "both correct local steps"),
        ([{"privacy": {"unit": "site"}}], "expected an epsilon and placement: distributed"),
        ([SITES, OFF], "expected an epsilon and placement: distributed"),
        ([SITES, {"training": {"weights": "patients"}}], "every site counts alike"),
        ([SITES, {"training": {"control_variates": True}}], "only the update is noised"),
        ([SITES, {"model": {"personal": ["head"]}}], "own layers are trained without noise"),
        (
            [{"privacy": {"adaptive_clipping": {}}}],
            "is for updates of whole sites (unit: site), the unit is patient",
        ),
        ([{"cohort": {"participation": 0.5}}], "sites are drawn only where they are the unit"),
        ([{"model": {"trained": ["head"]}}], "trained needs start"),
        ([{"model": {"frozen": ["layers.0"]}}], "frozen needs start"),
        ([{"model": {"adapters": {"rank": 2}}}], "adapters needs start"),
        ([{"model": {"start": START, "frozen": ["a"], "trained": ["b"]}}], "say the same thing twice"),
        ([{"model": {"start": START, "frozen": ["a"], "adapters": {"rank": 2}}}], "leave out frozen"),
        ([{"model": {"start": "cafe"}}], "model.start: expected a SHA-256"),
        (
            [{"evaluation": {"patience": 2}}],
            "evaluation.patience would choose by test patients who are not paid for",
        ),
        (
            [{"release": {"model": "best"}}],
            "release.model: best would choose by test patients who are not paid for",
        ),
        ([{"evaluation": {"rounds": [], "patience": 2}}], "evaluation.rounds names none"),
        ([{"evaluation": {"every": 2}}], "say the same thing twice"),
        ([{"training": {"local_epochs": 2}}], "say the same thing twice"),
    ],
)
def test_terms_of_ways_that_exclude_each_other_are_refused_with_the_reason(
    changes: list[dict[str, Any]], sentence: str
) -> None:
    with pytest.raises(TermsError) as caught:
        terms_with(*changes)
    assert sentence in str(caught.value)


@given(st.integers(1, 50), st.integers(1, 50))
def test_epochs_become_the_steps_of_so_many_passes(epochs: int, lots: int) -> None:
    fields = {"rounds": 1, "sampling_rate": 1 / lots, "learning_rate": 1, "local_epochs": epochs}
    assert Training.model_validate(fields).local_steps == epochs * lots


def test_terms_of_epochs_are_the_same_terms_as_of_their_steps() -> None:
    """One digest: what is frozen and signed has steps only."""
    value = copy.deepcopy(TERMS)
    del value["training"]["local_steps"]
    terms = parse_terms({**value, "training": {**value["training"], "local_epochs": 0.75}})
    assert terms.digest == terms_with({"training": {"local_steps": 3}}).digest
    assert "local_epochs" not in terms.to_bytes().decode()


def test_part_of_an_epoch_is_rounded_up_to_a_step() -> None:
    fields = {"rounds": 1, "sampling_rate": 0.3, "learning_rate": 1, "local_epochs": 1.5}
    assert Training.model_validate(fields).local_steps == math.ceil(1.5 / 0.3)


@pytest.mark.parametrize("epochs", [0, -1, "two", True, None])
def test_epochs_that_are_no_number_are_refused_by_name(epochs: object) -> None:
    value = copy.deepcopy(TERMS)
    del value["training"]["local_steps"]
    value["training"]["local_epochs"] = epochs
    with pytest.raises(TermsError, match="local_epochs: expected a positive number of passes"):
        parse_terms(value)


@pytest.mark.parametrize(("every", "rounds"), [(1, (1, 2, 3, 4)), (2, (2, 4)), (3, (3, 4)), (9, (4,))])
def test_every_few_rounds_includes_the_last(every: int, rounds: tuple[int, ...]) -> None:
    value = copy.deepcopy(TERMS)
    value["evaluation"] = {"every": every, "epsilon": "none"}
    assert parse_terms(value).evaluation.rounds == rounds


@pytest.mark.parametrize("every", [0, "two", True, 1.5])
def test_every_that_is_no_number_of_rounds_is_refused_by_name(every: object) -> None:
    value = copy.deepcopy(TERMS)
    value["evaluation"] = {"every": every, "epsilon": "none"}
    with pytest.raises(TermsError, match=r"evaluation\.every: expected a whole number of rounds"):
        parse_terms(value)
