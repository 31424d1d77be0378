"""Who must agree to a launch, and which quotas it would exceed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.small_study import small_terms, without_privacy
from client.admission.decisions import find_automatic_rule, make_requirement
from client.admission.quotas import EarlierStudy, list_earlier_studies, list_quota_reasons
from client.site.policy import AutomaticRule, Policy
from privacy.ledger import Ledger
from privacy.ledger.entries import About, Choice, Ending
from privacy.study import Terms
from tests.privacy.launch_makers import OPERATOR_KEY, SITE_KEYS, key_number, launch_of
from tests.privacy.ledger_makers import STEP, granted_ledger, plan, requirement

ADA = OPERATOR_KEY.public
SCORED = small_terms(evaluation={"rounds": [2], "epsilon": 1.0})
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def ruled(**bounds: object) -> Policy:
    rule = AutomaticRule.model_validate({"name": "quick", "epsilon_at_most": 4.0, **bounds})
    return Policy(operators={"ada": ADA.typed}, automatic=(rule,))


@pytest.mark.parametrize(
    ("bounds", "terms", "admits"),
    [
        ({}, SCORED, True),
        ({"epsilon_at_most": 3.9}, SCORED, False),
        ({"studies": ["small"]}, SCORED, True),
        ({"studies": ["smal"]}, SCORED, False),
        ({"models": ["logistic"]}, SCORED, True),
        ({"models": ["mlp"]}, SCORED, False),
        ({"models": ["logistic@1"]}, SCORED, True),
        ({"models": ["logistic@2"]}, SCORED, False),
        ({"operators": ["ada"]}, SCORED, True),
        ({"epsilon_at_most": 100}, without_privacy(), False),
        ({"without_privacy": True}, without_privacy(), True),
    ],
)
def test_rule_admits_what_is_within_every_bound_that_it_names(
    bounds: dict[str, object], terms: Terms, admits: bool
) -> None:
    assert (find_automatic_rule(terms, ADA, ruled(**bounds)) is not None) is admits


def test_rule_for_an_operator_is_not_for_another_who_takes_the_name() -> None:
    policy = ruled(operators=["ada"])
    assert find_automatic_rule(SCORED, key_number(9).public, policy) is None
    assert find_automatic_rule(SCORED, None, policy) is None


def test_requirement_names_rule_operator_epsilon_and_policy() -> None:
    launch, policy = launch_of(SCORED, SITE_KEYS), ruled()
    found = make_requirement(launch, policy)
    assert (found.persons, found.rule, found.operator_key) == (0, "quick", ADA.text)
    assert (found.epsilon, found.policy, found.launch) == (4.0, policy.digest, launch.digest)
    strict = make_requirement(launch, Policy(persons=2, release="person"))
    assert (strict.persons, strict.rule, strict.release) == (2, None, True)


# quotas ------------------------------------------------------------------------------------------------------


def reasons(policy: Policy, *earlier: EarlierStudy) -> list[str]:
    return [str(each) for each in list_quota_reasons(SCORED, ADA, policy, earlier, NOW)]


def earlier(epsilon: float, days: int, key: str = ADA.text) -> EarlierStudy:
    return EarlierStudy("old", key, epsilon, NOW - timedelta(days=days))


def test_year_counts_what_was_admitted_in_its_last_365_days() -> None:
    policy = Policy(epsilon_per_year=6)
    assert reasons(policy, earlier(2, 364)) == []
    assert reasons(policy, earlier(9, 365)) == []
    assert reasons(Policy(epsilon_per_year=4.3), *[earlier(0.1, 9)] * 3) == [], "three of 0.1 are 0.3"
    (reason,) = reasons(policy, earlier(2.5, 364, "x" * 43))
    assert "asks for epsilon 4; the studies of the last 365 days have asked for 2.5 of the 6" in reason


def test_operator_counts_what_their_key_has_launched_at_any_time() -> None:
    policy = Policy(epsilon_per_operator=6, operators={"ada": ADA.typed})
    assert reasons(policy, earlier(9, 1, "x" * 43)) == []
    (reason,) = reasons(policy, earlier(2.5, 4000))
    assert "the studies of its operator have asked for 2.5 of the 6" in reason


def test_ledger_counts_admitted_studies_that_have_paid_or_may_still(tmp_path: Path) -> None:
    """One that waits, one that was closed before it paid, one that has paid, one that is open."""
    with granted_ledger(tmp_path / "ledger.sqlite") as ledger:
        for study in ("waits", "unpaid", "paid", "open"):
            _admit(ledger, study, admitted=study != "waits")
        ledger.reserve("paid", 1, STEP)
        for study in ("unpaid", "paid"):
            ledger.give_back(study, Ending.WITHDRAWN)
        state = ledger.read_state()
        assert [each.study for each in list_earlier_studies(state)] == ["paid", "open"]
        assert [each.study for each in list_earlier_studies(state, but="open")] == ["paid"]


def _admit(ledger: Ledger, study: str, *, admitted: bool) -> None:
    ledger.require(requirement(study))
    if admitted:
        ledger.decide(study, About.ADMISSION, Choice.APPROVE, "Ada", launch=requirement(study).launch)
        ledger.allow(study, "breast-2026", plan(), "3" * 64)
