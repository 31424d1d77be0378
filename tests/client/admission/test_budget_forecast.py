"""What a budget has room for, against a ledger that is asked until it refuses."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.small_study import small_terms, without_privacy
from client.admission.budget_forecast import GrantRoom, advise_order, compute_grant_room, has_produced_results
from client.admission.rules import compute_price
from privacy.accounting.account import Account
from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.plan import Planned
from privacy.accounting.renyi import NANO, STORED_ORDERS
from privacy.errors import BudgetError, TermsError
from privacy.ledger import Ledger
from tests.privacy.ledger_makers import DATA, KEY, PATIENTS, TERMS, clock

STUDY = small_terms(evaluation={"rounds": [2], "epsilon": 1.0})
PLAN = compute_price(STUDY).plan


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "ledger.sqlite", KEY, "north", clock()) as made:
        made.register_population("small", DATA, 160, 1, PATIENTS, "c" * 64, "id")
        yield made


def account(ledger: Ledger) -> Account:
    return ledger.copy_state().find_account("small")


def admitted_until_refused(ledger: Ledger, plan: tuple[Planned, ...]) -> int:
    """How many more studies the ledger admits, one after the other."""
    for number in range(100):
        try:
            ledger.allow(f"more-{number}", "small", plan, TERMS)
        except BudgetError:
            return number
    raise AssertionError("more than a hundred fit")


# Room for more ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grants", [[(12.0, 3)], [(6.0, 3), (9.0, 4)], [(4.0, 3), (0.9, 8)]])
def test_room_for_more_is_what_the_ledger_admits(ledger: Ledger, grants: list[tuple[float, int]]) -> None:
    for granted, order in grants:
        ledger.grant("small", granted, 1e-3, order)
    ledger.allow("first", "small", PLAN, TERMS)
    room = compute_grant_room(account(ledger))
    assert room is not None
    assert room.like == "first"
    assert room.more == admitted_until_refused(ledger, PLAN)


def test_room_for_more_is_the_same_whatever_of_the_study_is_paid(ledger: Ledger) -> None:
    ledger.grant("small", 12.0, 1e-3, 3)
    ledger.allow("first", "small", PLAN, TERMS)
    before = compute_grant_room(account(ledger))
    ledger.reserve("first", 1, PLAN[0].event)
    ledger.pay_evaluation("first", 2, PLAN[1].event)
    assert compute_grant_room(account(ledger)) == before


def test_room_for_more_is_for_studies_like_the_last(ledger: Ledger) -> None:
    ledger.grant("small", 12.0, 1e-3, 3)
    ledger.allow("first", "small", PLAN, TERMS)
    smaller = compute_price(small_terms(privacy={"epsilon": 2.6}, evaluation={"rounds": []})).plan
    ledger.allow("second", "small", smaller, TERMS)
    room = compute_grant_room(account(ledger))
    assert room is not None
    assert (room.like, room.more) == ("second", admitted_until_refused(ledger, smaller))


def test_room_after_a_study_without_privacy_is_none_or_nothing(ledger: Ledger) -> None:
    assert compute_grant_room(account(ledger)) is None
    ledger.grant("small", 12.0, 1e-3, 3)
    bare = compute_price(without_privacy()).plan
    ledger.allow("bare", "small", bare, TERMS)
    assert compute_grant_room(account(ledger)) is None  # it has no price
    ledger.allow("first", "small", PLAN, TERMS)
    ledger.reserve("bare", 1, bare[0].event)
    assert compute_grant_room(account(ledger)) == GrantRoom("first", 0)


def test_results_are_seen_once_a_round_or_totals_are_paid(ledger: Ledger) -> None:
    ledger.grant("small", 12.0, 1e-3, 3)
    ledger.allow("first", "small", PLAN, TERMS)
    assert not has_produced_results(account(ledger))
    ledger.pay_evaluation("first", 1, PLAN[1].event)
    assert has_produced_results(account(ledger))


# Orders ----------------------------------------------------------------------------------------------------


def test_advice_admits_what_a_ledger_at_that_order_does(tmp_path: Path) -> None:
    """At several orders a real ledger is asked until it refuses."""
    advice = advise_order(30.0, 1e-3, [STUDY])
    assert [choice.order for choice in advice.choices] == list(STORED_ORDERS)
    for choice in advice.choices[::5]:
        with Ledger.create(tmp_path / f"{choice.order}.sqlite", KEY, "north", clock()) as ledger:
            ledger.register_population("small", DATA, 160, 1, PATIENTS, "c" * 64, "id")
            ledger.grant("small", 30.0, 1e-3, choice.order)
            assert admitted_until_refused(ledger, PLAN) == int(choice.admits), choice.order
    assert advice.best.admits == max(choice.admits for choice in advice.choices)


def test_price_and_conversion_of_an_order_are_the_studys_epsilon_there() -> None:
    events = [planned.event for planned in PLAN for _ in range(planned.times)]
    for choice in advise_order(6.0, 1e-3, [STUDY]).choices:
        there = Decimal(choice.price) / NANO + choice.conversion
        assert float(there) == pytest.approx(epsilon_of(events, 1e-3, orders=(choice.order,)), rel=1e-6)


def test_order_is_taken_as_told() -> None:
    advice = advise_order(6.0, 1e-3, [STUDY], order=8)
    assert (advice.taken.order, advice.best.order) == (8, 3)
    assert advice.taken.admits < advice.best.admits


def test_several_expected_studies_are_priced_together() -> None:
    other = small_terms(privacy={"epsilon": 2.0}, evaluation={"rounds": []})
    together, first, second = (advise_order(6.0, 1e-3, studies) for studies in ([STUDY, other], [STUDY], [other]))
    for both, one, two in zip(together.choices, first.choices, second.choices, strict=True):
        assert both.price == one.price + two.price


def test_expected_study_without_privacy_is_refused_by_name() -> None:
    with pytest.raises(TermsError, match=r"the study 'small' has no privacy \(epsilon: none\)"):
        advise_order(6.0, 1e-3, [STUDY, without_privacy()])
