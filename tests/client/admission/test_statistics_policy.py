"""Who may ask for statistics of a site's patients: nobody, unless its policy says so."""

from typing import Any

import pytest

from benchmarks.small_study import small_terms
from client.admission.decisions import find_automatic_rule
from client.admission.policy_bounds import list_policy_reasons, list_statistics_reasons
from client.admission.rules import compute_price
from client.site.policy import AutomaticRule, Policy
from privacy.accounting.plan import Purpose
from tests.privacy.launch_makers import OPERATOR_KEY, key_number
from tests.statistics_study import statistics_terms

ADA, EVE = OPERATOR_KEY.public, key_number(9).public
KNOWN = {"operators": {"ada": ADA.typed}}


@pytest.mark.parametrize(
    ("policy", "operator", "sentence"),
    [
        ({}, ADA, "given to nobody"),
        (KNOWN, ADA, "given to nobody"),
        ({"statistics": "operators", **KNOWN}, ADA, None),
        ({"statistics": "operators", **KNOWN}, EVE, "is not under 'operators'"),
        ({"statistics": "operators"}, ADA, "is not under 'operators'"),
        ({"statistics": "anybody"}, EVE, None),
        ({"statistics": "operators", **KNOWN}, None, None),  # before a launch nobody has asked yet
        ({}, None, "given to nobody"),
    ],
)
def test_statistics_are_for_those_whom_the_policy_names(
    policy: dict[str, Any], operator: Any, sentence: str | None
) -> None:
    reasons = [str(each) for each in list_statistics_reasons(statistics_terms(), Policy(**policy), operator)]
    assert [sentence in each for each in reasons] == ([] if sentence is None else [True])  # type: ignore[operator]
    assert not list(list_statistics_reasons(small_terms(), Policy(**policy), operator))


def test_bounds_of_the_policy_hold_for_statistics_with_their_epsilon_counted_once() -> None:
    assert not list(list_policy_reasons(statistics_terms(), Policy(epsilon_per_study=1.0), "ward"))
    (tight,) = list_policy_reasons(statistics_terms(), Policy(epsilon_per_study=0.9), "ward")
    assert "asks for epsilon 1, this site allows 0.9" in str(tight)
    (few,) = list_policy_reasons(statistics_terms(), Policy(minimum_sites=5), "ward")
    assert "this site asks for 5" in str(few)
    assert not list(list_policy_reasons(statistics_terms(), Policy(models=("mlp",)), "ward"))  # there is no model


@pytest.mark.parametrize(
    ("rule", "admits"),
    [
        ({}, False),
        ({"statistics": True}, True),
        ({"statistics": True, "epsilon_at_most": 0.5}, False),
        ({"statistics": True, "operators": ["ada"]}, True),
        ({"statistics": True, "studies": ["other"]}, False),
        ({"without_privacy": True}, False),
    ],
)
def test_automatic_rule_admits_statistics_only_if_it_says_so(rule: dict[str, Any], admits: bool) -> None:
    made = AutomaticRule.model_validate({"name": "quick", "epsilon_at_most": 4.0, **rule})
    policy = Policy(operators={"ada": ADA.typed}, automatic=(made,))
    assert (find_automatic_rule(statistics_terms(), ADA, policy) is not None) is admits


def test_price_of_statistics_is_one_event_of_all_patients() -> None:
    price = compute_price(statistics_terms())
    assert [(each.purpose, each.times, each.event.kind) for each in price.plan] == [
        (Purpose.EVALUATE, 1, "distributed-gaussian")
    ]
    assert price.noise_multiplier is None
    assert price.evaluation_noise_multiplier is not None
