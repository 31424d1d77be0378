"""The Renyi filters of one population: never over any grant, and a refusal changes nothing."""

import copy
import math
from collections import Counter
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.account import Account
from privacy.accounting.calibration import compute_noise_multiplier
from privacy.accounting.epsilon import compute_charge, compute_epsilon_offset, compute_renyi_limit, epsilon_of
from privacy.accounting.events import (
    AnyEvent,
    Bounded,
    BoundedContribution,
    Gaussian,
    Laplace,
    SampledGaussian,
    Unprotected,
)
from privacy.accounting.grant_order import choose_order, list_order_choices
from privacy.accounting.plan import Planned, Purpose, describe_event
from privacy.accounting.renyi import NANO, STORED_ORDERS
from privacy.accounting.renyi_filter import BudgetGrant, RenyiFilter
from privacy.errors import BudgetError


def round_of(noise: float = 2.0, rate: float = 0.05, steps: int = 10) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=noise, sampling_rate=rate, steps=steps)


def training(noise: float = 2.0, rounds: int = 10, rate: float = 0.05, steps: int = 10) -> Planned:
    return Planned(purpose=Purpose.TRAIN, event=round_of(noise, rate, steps), times=rounds)


def totals(noise: float = 20.0, times: int = 2) -> Planned:
    return Planned(purpose=Purpose.EVALUATE, event=Gaussian(noise_multiplier=noise, count=1), times=times)


def admit(account: Account, study: str, *plan: Planned) -> int | None:
    """What a ledger does: ask which grant pays, then write that down."""
    grant = account.find_grant(study, plan)
    account.allow(study, plan, grant)
    return grant


UNPROTECTED_TRAINING = Planned(purpose=Purpose.TRAIN, event=Unprotected(), times=3)
UNPROTECTED_TOTALS = Planned(purpose=Purpose.EVALUATE, event=Unprotected(), times=3)


@pytest.fixture
def granted() -> Account:
    account = Account("ward")
    account.add_grant(3, 1e-3, 8)
    return account


@pytest.fixture
def twice_granted() -> Account:
    """A grant with room for two studies of ten rounds, and a further one with room for five."""
    account = Account("ward")
    account.add_grant(1, 1e-3, 8)
    account.add_grant(1, 1e-4, 16)
    return account


def test_budget_before_anything_is_granted_is_nothing() -> None:
    budget = Account("ward").budget
    assert (budget.epsilon_granted, budget.delta, budget.epsilon_spent, budget.epsilon_left) == (None, None, 0, 0)
    assert budget.grants == ()


def test_budget_without_a_charge_is_all_left(granted: Account) -> None:
    budget, (grant,) = granted.budget, granted.budget.grants
    assert (budget.epsilon_granted, budget.epsilon_spent, budget.epsilon_left) == (3, 0, 3)
    assert grant.left == grant.limit == compute_renyi_limit(3, 1e-3, 8)


def test_budget_after_a_round_is_the_accountants(granted: Account) -> None:
    plan = training()
    admit(granted, "a", plan)
    granted.pay("a", Purpose.TRAIN, plan.event)
    budget, (grant,) = granted.budget, granted.budget.grants
    assert budget.epsilon_spent == pytest.approx(epsilon_of([plan.event], 1e-3, orders=[8]), abs=1e-4)
    assert grant.spent == compute_charge(round_of(), 8)
    assert grant.spent + grant.set_aside == 10 * compute_charge(round_of(), 8)
    assert grant.left == grant.limit - grant.spent - grant.set_aside
    assert granted.compute_study_epsilon("a", 1e-3) == epsilon_of([plan.event], 1e-3)


def test_budget_shows_spent_upwards_and_left_downwards(granted: Account) -> None:
    admit(granted, "a", training())
    granted.pay("a", Purpose.TRAIN, round_of())
    (grant,) = granted.budget.grants
    spent = Decimal(grant.spent) / NANO + compute_epsilon_offset(1e-3, 8)
    left = Decimal(grant.epsilon) - Decimal(grant.spent + grant.set_aside) / NANO - compute_epsilon_offset(1e-3, 8)
    assert 0 <= Decimal(str(grant.epsilon_spent)) - spent < Decimal("0.0001")
    assert 0 <= left - Decimal(str(grant.epsilon_left)) < Decimal("0.0001")


def test_allowance_covers_every_planned_round_and_no_more(granted: Account) -> None:
    plan = training(rounds=3)
    admit(granted, "a", plan, totals(times=1))
    for _ in range(3):
        granted.pay("a", Purpose.TRAIN, plan.event)
    granted.pay("a", Purpose.EVALUATE, totals().event)
    assert granted.budget.grants[0].set_aside == 0
    with pytest.raises(BudgetError, match="a round to train that is not, or no longer, in the plan"):
        granted.pay("a", Purpose.TRAIN, plan.event)


def test_round_with_less_noise_than_admitted_is_refused(granted: Account) -> None:
    admit(granted, "a", training(noise=2.0))
    with pytest.raises(BudgetError, match=r"noise multiplier 1\.9"):
        granted.pay("a", Purpose.TRAIN, round_of(noise=1.9))


def test_training_paid_as_an_evaluation_is_refused(granted: Account) -> None:
    admit(granted, "a", training())
    with pytest.raises(BudgetError, match="a round to evaluate that is not"):
        granted.pay("a", Purpose.EVALUATE, round_of())


def test_unprotected_round_of_a_private_study_is_refused(granted: Account) -> None:
    admit(granted, "a", training())
    with pytest.raises(BudgetError, match="unprotected"):
        granted.pay("a", Purpose.TRAIN, Unprotected())


def test_study_that_does_not_fit_is_refused_with_asked_and_left(granted: Account) -> None:
    admit(granted, "a", training())
    with pytest.raises(BudgetError, match=r"asks for epsilon \d+\.\d{4} .* \d\.\d{4} is left of 3 \(delta 0.001"):
        admit(granted, "b", training(noise=0.5))


def test_study_is_admitted_once(granted: Account) -> None:
    admit(granted, "a", training())
    with pytest.raises(BudgetError, match="has its allowance already"):
        admit(granted, "a", training())


def test_study_that_was_never_admitted_is_refused(granted: Account) -> None:
    for asked in (
        lambda: granted.pay("a", Purpose.TRAIN, round_of()),
        lambda: granted.compute_price("a", round_of()),
        lambda: granted.read_unused_amount("a"),
        lambda: granted.give_back("a"),
        lambda: granted.compute_study_epsilon("a", 1e-3),
    ):
        with pytest.raises(BudgetError, match="the study 'a' has no allowance"):
            asked()


def test_closed_study_gives_back_what_it_had_not_used(granted: Account) -> None:
    plan = training(rounds=10)
    admit(granted, "a", plan)
    granted.pay("a", Purpose.TRAIN, plan.event)
    assert granted.read_unused_amount("a") == 9 * compute_charge(round_of(), 8)
    granted.give_back("a")
    (grant,) = granted.budget.grants
    assert (grant.set_aside, grant.spent) == (0, compute_charge(round_of(), 8))
    with pytest.raises(BudgetError, match="is closed here"):
        granted.pay("a", Purpose.TRAIN, plan.event)
    with pytest.raises(BudgetError, match="is closed here"):
        granted.give_back("a")


def test_training_without_privacy_refuses_private_studies_for_ever(granted: Account) -> None:
    admit(granted, "before", training())
    admit(granted, "open", UNPROTECTED_TRAINING)
    granted.pay("open", Purpose.TRAIN, Unprotected())
    granted.give_back("open")
    with pytest.raises(BudgetError, match="without privacy by the study 'open'"):
        admit(granted, "after", training(rounds=1))
    with pytest.raises(BudgetError, match="without privacy by the study 'open'"):
        granted.pay("before", Purpose.TRAIN, round_of())
    admit(granted, "open-too", UNPROTECTED_TRAINING)
    budget = granted.budget
    assert (budget.protected, budget.epsilon_spent, budget.epsilon_left) == (False, None, 0)
    assert granted.compute_study_epsilon("open", 1e-3) is None


def test_unprotected_study_needs_no_grant() -> None:
    account = Account("ward")
    assert admit(account, "open", UNPROTECTED_TRAINING) is None
    account.pay("open", Purpose.TRAIN, Unprotected())
    assert not account.budget.protected


def test_study_admitted_without_a_price_cannot_be_given_one(granted: Account) -> None:
    admit(granted, "open", UNPROTECTED_TRAINING)
    with pytest.raises(BudgetError, match="admitted without a price"):
        granted.compute_price("open", round_of())


def test_unprotected_totals_mark_the_held_out_patients_only(granted: Account) -> None:
    admit(granted, "a", training(), UNPROTECTED_TOTALS)
    granted.pay("a", Purpose.EVALUATE, Unprotected())
    assert granted.budget.protected
    assert not granted.budget.held_out_protected
    admit(granted, "b", training(noise=8))


def test_private_study_without_a_grant_is_refused() -> None:
    with pytest.raises(BudgetError, match="has no privacy budget"):
        admit(Account("ward"), "a", training())


def test_grant_at_an_order_without_room_is_refused() -> None:
    account = Account("ward")
    with pytest.raises(BudgetError, match=r"no room at order 2.*larger order"):
        account.add_grant(1, 1e-5, 2)
    assert account.filters == []


@pytest.mark.parametrize("order", [9, 255, 1, 512])
def test_grant_at_an_order_that_no_entry_carries_is_refused(order: int) -> None:
    with pytest.raises(BudgetError, match=rf"one of the orders 2, 3, .*256; got {order}"):
        Account("ward").add_grant(3, 1e-3, order)


def test_grants_add_up(twice_granted: Account) -> None:
    budget = twice_granted.budget
    assert (budget.epsilon_granted, budget.epsilon_left) == (2, 2)
    assert budget.delta == pytest.approx(1.1e-3)
    assert [grant.order for grant in budget.grants] == [8, 16]


def test_study_is_paid_from_the_first_grant_with_room_for_all_of_it(twice_granted: Account) -> None:
    small, large = training(rounds=1), training(rounds=20)
    fits = [
        compute_renyi_limit(1, 1e-3, 8) // compute_charge(round_of(), 8),
        compute_renyi_limit(1, 1e-4, 16) // compute_charge(round_of(), 16),
    ]
    large = training(rounds=fits[0] - 3)
    assert admit(twice_granted, "a", large) == 1  # three rounds are left of it
    assert admit(twice_granted, "b", training(rounds=4)) == 2
    assert admit(twice_granted, "c", training(rounds=3)) == 1
    assert admit(twice_granted, "d", small) == 2
    twice_granted.pay("b", Purpose.TRAIN, round_of())
    assert [grant.spent for grant in twice_granted.budget.grants] == [0, compute_charge(round_of(), 16)]
    assert twice_granted.compute_price("a", round_of()) == compute_charge(round_of(), 8)
    twice_granted.give_back("a")
    assert admit(twice_granted, "e", small) == 1


def test_study_is_never_paid_from_two_grants(twice_granted: Account) -> None:
    fits = [filter_.left // compute_charge(round_of(), filter_.granted.order) for filter_ in twice_granted.filters]
    rounds = max(fits) + 1
    assert rounds <= sum(fits)  # together they would do
    with pytest.raises(BudgetError, match="asks for epsilon"):
        admit(twice_granted, "a", training(rounds=rounds))


def test_study_charged_to_another_grant_than_the_first_with_room_is_refused(twice_granted: Account) -> None:
    for wrong in (2, None, 3):
        before = copy.deepcopy(twice_granted)
        with pytest.raises(BudgetError, match=rf"is paid from grant 1, not {wrong}"):
            twice_granted.allow("a", [training()], wrong)
        assert twice_granted == before


def test_spent_by_two_grants_adds_up_in_epsilon(twice_granted: Account) -> None:
    first = training(rounds=twice_granted.find_filter(1).left // compute_charge(round_of(), 8))
    for study, plan in (("a", first), ("b", training(rounds=1))):
        admit(twice_granted, study, plan)
        for _ in range(plan.times):
            twice_granted.pay(study, Purpose.TRAIN, plan.event)
    spent = epsilon_of([first.event] * first.times, 1e-3, orders=[8]) + epsilon_of([round_of()], 1e-4, orders=[16])
    assert twice_granted.budget.epsilon_spent == pytest.approx(spent, abs=2e-4)


def test_further_grant_leaves_the_first_as_it_was(granted: Account) -> None:
    admit(granted, "a", training())
    before = copy.deepcopy(granted.find_filter(1))
    granted.add_grant(5, 1e-4, 16)
    assert granted.find_filter(1) == before
    assert granted.budget.epsilon_granted == 8


def test_filter_of_a_grant_that_was_not_given_is_refused(granted: Account) -> None:
    for number in (0, 2):
        with pytest.raises(BudgetError, match=f"has 1 grants, not number {number}"):
            granted.find_filter(number)


def test_everything_open_is_spent_when_nobody_knows_what_became_of_it(twice_granted: Account) -> None:
    admit(twice_granted, "closed", training(rounds=2))
    twice_granted.pay("closed", Purpose.TRAIN, round_of())
    twice_granted.give_back("closed")
    admit(twice_granted, "open", training(rounds=3))
    twice_granted.pay("open", Purpose.TRAIN, round_of())
    twice_granted.spend_open_allowances()
    assert [grant.spent for grant in twice_granted.budget.grants] == [4 * compute_charge(round_of(), 8), 0]
    assert [grant.set_aside for grant in twice_granted.budget.grants] == [0, 0]
    with pytest.raises(BudgetError, match="is closed here"):
        twice_granted.pay("open", Purpose.TRAIN, round_of())
    assert twice_granted.budget.protected


def test_open_study_without_privacy_counts_as_trained(granted: Account) -> None:
    admit(granted, "open", UNPROTECTED_TRAINING)
    granted.spend_open_allowances()
    assert not granted.budget.protected


def test_taken_over_total_only_ever_raises_what_was_spent(granted: Account) -> None:
    known = granted.find_filter(1).granted
    granted.take_over(1, known, 500)
    granted.take_over(1, known, 400)
    assert granted.budget.grants[0].spent == 500


def test_grant_that_only_the_witness_knows_is_taken_over_at_its_place(granted: Account) -> None:
    lost = BudgetGrant(1, 1e-4, 16, compute_renyi_limit(1, 1e-4, 16))
    with pytest.raises(BudgetError, match="has 1 grants, not number 3"):
        granted.take_over(3, lost, 7)
    granted.take_over(2, lost, 7)
    assert granted.find_filter(2) == RenyiFilter(lost, spent=7)


def test_grant_known_otherwise_is_not_taken_over(granted: Account) -> None:
    with pytest.raises(BudgetError, match=r"grant 1 .* was given otherwise"):
        granted.take_over(1, BudgetGrant(4, 1e-3, 8, compute_renyi_limit(4, 1e-3, 8)), 7)
    assert granted.budget.grants[0].spent == 0


def test_order_chosen_for_a_typical_study_admits_most_of_it() -> None:
    # sigma 2.178, q 0.1, delta 1e-5, epsilon 3: PLD would admit 200 steps, order 8 admits 163, order 32 two
    step = round_of(2.178, rate=0.1, steps=1)
    order = choose_order(3, 1e-5, [Planned(purpose=Purpose.TRAIN, event=step, times=1)])
    admitted = {a: compute_renyi_limit(3, 1e-5, a) // compute_charge(step, a) for a in STORED_ORDERS}
    assert admitted[order] == max(admitted.values())
    assert (admitted[8], admitted[32]) == (163, 2)


def test_choices_of_order_say_what_each_admits_and_why() -> None:
    expected = [training(rounds=10), totals(times=2)]
    score = Gaussian(noise_multiplier=20, count=1)
    choices = {choice.order: choice for choice in list_order_choices(2, 1e-5, expected)}
    assert tuple(choices) == STORED_ORDERS
    for order, choice in choices.items():
        assert choice.conversion == compute_epsilon_offset(1e-5, order)
        assert choice.price == 10 * compute_charge(round_of(), order) + 2 * compute_charge(score, order)
        assert choice.admits == Fraction(max(0, compute_renyi_limit(2, 1e-5, order)), choice.price)
    assert choices[2].admits == 0  # the conversion alone takes more than 2
    best = choose_order(2, 1e-5, expected)
    assert choices[best].admits == max(choice.admits for choice in choices.values()) > 1


def test_choices_of_order_leave_out_what_has_no_price() -> None:
    assert list_order_choices(2, 1e-5, [training(), UNPROTECTED_TOTALS]) == list_order_choices(
        2, 1e-5, [training()]
    )


def test_order_for_an_unbounded_study_is_refused() -> None:
    with pytest.raises(BudgetError, match="name studies with an epsilon"):
        choose_order(3, 1e-5, [UNPROTECTED_TRAINING])


def test_order_for_a_grant_without_room_at_any_is_refused() -> None:
    with pytest.raises(BudgetError, match="admits nothing of the expected studies at any order"):
        choose_order(0.001, 1e-5, [training()])


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (round_of(), "sampled-gaussian, noise multiplier 2, sampling rate 0.05, steps 10"),
        (Laplace(scale=2, count=3), "laplace, scale 2, count 3"),
        (Unprotected(), "unprotected"),
    ],
)
def test_event_in_words_names_its_parameters(event: AnyEvent, words: str) -> None:
    assert describe_event(event) == words


@settings(max_examples=10, deadline=None)
@given(st.floats(0.2, 8), st.floats(0.01, 0.5), st.integers(1, 20), st.integers(1, 30))
def test_study_calibrated_to_the_whole_grant_is_never_refused(
    asked: float, rate: float, steps: int, rounds: int
) -> None:
    noise = compute_noise_multiplier(asked, 1e-4, rate, steps, rounds, orders=STORED_ORDERS)
    plan = training(noise=noise, rounds=rounds, rate=rate, steps=steps)
    account = Account("ward")
    account.add_grant(asked, 1e-4, choose_order(asked, 1e-4, [plan]))
    admit(account, "a", plan)
    for _ in range(rounds):
        account.pay("a", Purpose.TRAIN, plan.event)
    assert account.budget.epsilon_spent is not None
    assert account.budget.epsilon_spent <= math.ceil(asked * 1e4) / 1e4


events: st.SearchStrategy[Bounded] = st.sampled_from(
    [
        round_of(1.0),
        round_of(2.0),
        round_of(5.0, rate=1.0, steps=1),
        Gaussian(noise_multiplier=10, count=1),
        Laplace(scale=3, count=1),
        BoundedContribution(noise_multiplier=6, sampling_rate=0.02, records_per_patient=2, steps=3),
    ]
)
moves = st.lists(
    st.tuples(
        st.sampled_from(["allow", "allow", "pay", "pay", "claim", "close", "grant", "lose"]),
        st.sampled_from("abcdef"),
        st.sampled_from(list(Purpose)),
        events,
        st.integers(1, 40),
    ),
    min_size=10,
    max_size=40,
)


class Adversary:
    """Plays any moves, each chosen after the last was answered, and keeps its own list of what was paid."""

    def __init__(self) -> None:
        self.account = Account("ward")
        self.account.add_grant(1.5, 1e-3, 8)
        self.paid: dict[int, list[Bounded]] = {}
        self.plans: dict[str, tuple[Purpose, Bounded]] = {}
        self.lost: Counter[int] = Counter()

    def play(self, move: str, study: str, purpose: Purpose, event: Bounded, number: int) -> None:
        match move:
            case "allow":
                admit(self.account, study, Planned(purpose=purpose, event=event, times=number))
                self.plans[study] = purpose, event
            case "pay" | "claim":
                if move == "pay" and study in self.account.allowances:
                    purpose, event = self.plans[study]
                self.account.pay(study, purpose, event)
                grant = self.account.allowances[study].grant
                assert grant is not None
                self.paid.setdefault(grant, []).append(event)
            case "close":
                self.account.give_back(study)
            case "grant":
                self.account.add_grant(1.0, 1e-3, STORED_ORDERS[number % len(STORED_ORDERS)])
            case _:
                for each, filter_ in enumerate(self.account.filters, start=1):
                    self.lost[each] += filter_.set_aside
                self.account.spend_open_allowances()

    def check(self) -> None:
        for number, filter_ in enumerate(self.account.filters, start=1):
            granted, paid = filter_.granted, self.paid.get(number, [])
            assert filter_.spent == sum(compute_charge(event, granted.order) for event in paid) + self.lost[number]
            assert filter_.spent + filter_.set_aside <= granted.limit
            assert filter_.set_aside == sum(
                allowance.set_aside for allowance in self.account.allowances.values() if allowance.grant == number
            )
            # what is shown as spent at any time (the odometer) covers the true curve, and stays within the grant
            shown = filter_.epsilon_of(filter_.spent)
            assert epsilon_of(paid, granted.delta, orders=[granted.order]) <= float(shown) + 1e-12
            assert shown <= Decimal(granted.epsilon)


@settings(max_examples=200, deadline=None)
@given(moves)
def test_filters_against_any_adaptive_spender_stay_within_every_grant(
    sequence: list[tuple[str, str, Purpose, Bounded, int]],
) -> None:
    # Feldman and Zrnic 2021: whatever is asked next, each sum at the grant's one order is within its limit
    adversary = Adversary()
    for move, study, purpose, event, number in sequence:
        for _ in range(number if move == "pay" else 1):
            before = copy.deepcopy(adversary.account)
            try:
                adversary.play(move, study, purpose, event, number)
            except BudgetError:
                assert adversary.account == before
        adversary.check()


def test_adversary_does_exhaust_a_grant_of_several_studies() -> None:
    """The property above is not empty: spenders reach the last unit they can, and are then refused."""
    adversary = Adversary()
    step = round_of(2.0)
    fits = compute_renyi_limit(1.5, 1e-3, 8) // compute_charge(step, 8)
    for study in map(str, range(fits)):
        adversary.play("allow", study, Purpose.TRAIN, step, 1)
        adversary.play("pay", study, Purpose.TRAIN, step, 1)
    with pytest.raises(BudgetError, match=r"is left of 1\.5"):
        adversary.play("allow", "one-more", Purpose.TRAIN, step, 1)
    adversary.check()
    assert adversary.account.find_filter(1).left < compute_charge(step, 8)
