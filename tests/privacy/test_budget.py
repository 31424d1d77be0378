"""The Renyi filter of one population: never over the grant, and a refusal changes nothing."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accountant import Gaussian, SampledGaussian, Unprotected, charge, epsilon, limit, noise_multiplier
from privacy.budget import Filter, Planned, Purpose, choose_order
from privacy.errors import BudgetError


def round_of(noise: float = 2.0, rate: float = 0.05, steps: int = 10) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=noise, sampling_rate=rate, steps=steps)


def training(noise: float = 2.0, rounds: int = 10, rate: float = 0.05, steps: int = 10) -> Planned:
    return Planned(purpose=Purpose.TRAIN, event=round_of(noise, rate, steps), times=rounds)


def totals(noise: float = 20.0, times: int = 2) -> Planned:
    return Planned(purpose=Purpose.EVALUATE, event=Gaussian(noise_multiplier=noise, count=1), times=times)


UNPROTECTED_TRAINING = Planned(purpose=Purpose.TRAIN, event=Unprotected(), times=3)
UNPROTECTED_TOTALS = Planned(purpose=Purpose.EVALUATE, event=Unprotected(), times=3)


@pytest.fixture
def granted() -> Filter:
    population = Filter("ward")
    population.grant(3, 1e-3, 8)
    return population


def test_budget_before_anything_is_granted_is_nothing() -> None:
    budget = Filter("ward").budget
    assert (budget.epsilon_granted, budget.epsilon_spent, budget.epsilon_left, budget.left) == (None, 0, 0, 0)


def test_budget_without_a_charge_is_all_left(granted: Filter) -> None:
    budget = granted.budget
    assert (budget.epsilon_spent, budget.epsilon_left, budget.left) == (0, 3, limit(3, 1e-3, 8))


def test_budget_after_a_round_is_the_accountants(granted: Filter) -> None:
    plan = training()
    granted.allow("a", [plan])
    granted.pay("a", Purpose.TRAIN, plan.event)
    budget = granted.budget
    assert budget.epsilon_spent == pytest.approx(epsilon([plan.event], 1e-3, orders=[8]), abs=1e-4)
    assert budget.spent + budget.set_aside == 10 * charge(round_of(), 8)
    assert budget.left == budget.limit - budget.spent - budget.set_aside


def test_allowance_covers_every_planned_round_and_no_more(granted: Filter) -> None:
    plan = training(rounds=3)
    granted.allow("a", [plan, totals(times=1)])
    for _ in range(3):
        granted.pay("a", Purpose.TRAIN, plan.event)
    granted.pay("a", Purpose.EVALUATE, totals().event)
    assert granted.budget.set_aside == 0
    with pytest.raises(BudgetError, match="a train round that is not, or no longer, in the plan"):
        granted.pay("a", Purpose.TRAIN, plan.event)


def test_round_with_less_noise_than_admitted_is_refused(granted: Filter) -> None:
    granted.allow("a", [training(noise=2.0)])
    with pytest.raises(BudgetError, match=r"noise multiplier 1\.9"):
        granted.pay("a", Purpose.TRAIN, training(noise=1.9).event)


def test_unprotected_round_of_a_private_study_is_refused(granted: Filter) -> None:
    granted.allow("a", [training()])
    with pytest.raises(BudgetError, match="unprotected"):
        granted.pay("a", Purpose.TRAIN, Unprotected())


def test_study_that_does_not_fit_is_refused_with_asked_and_left(granted: Filter) -> None:
    granted.allow("a", [training()])
    with pytest.raises(BudgetError, match=r"asks for epsilon \d+\.\d{4} .* \d\.\d{4} is left of 3 \(delta 0.001"):
        granted.allow("b", [training(noise=0.5)])


def test_study_is_admitted_once(granted: Filter) -> None:
    granted.allow("a", [training()])
    with pytest.raises(BudgetError, match="has its allowance already"):
        granted.allow("a", [training()])


def test_closed_study_gives_back_what_it_had_not_used(granted: Filter) -> None:
    plan = training(rounds=10)
    granted.allow("a", [plan])
    granted.pay("a", Purpose.TRAIN, plan.event)
    granted.give_back("a")
    assert granted.budget.set_aside == 0
    assert granted.budget.spent == charge(round_of(), 8)
    with pytest.raises(BudgetError, match="is closed here"):
        granted.pay("a", Purpose.TRAIN, plan.event)


def test_training_without_privacy_refuses_private_studies_for_ever(granted: Filter) -> None:
    granted.allow("before", [training()])
    granted.allow("open", [UNPROTECTED_TRAINING])
    granted.pay("open", Purpose.TRAIN, Unprotected())
    granted.give_back("open")
    with pytest.raises(BudgetError, match="without privacy by the study 'open'"):
        granted.allow("after", [training(rounds=1)])
    with pytest.raises(BudgetError, match="without privacy by the study 'open'"):
        granted.pay("before", Purpose.TRAIN, training().event)
    granted.allow("open-too", [UNPROTECTED_TRAINING])
    budget = granted.budget
    assert (budget.protected, budget.epsilon_spent, budget.epsilon_left) == (False, None, 0)


def test_unprotected_study_needs_no_grant() -> None:
    population = Filter("ward")
    population.allow("open", [UNPROTECTED_TRAINING])
    population.pay("open", Purpose.TRAIN, Unprotected())
    assert not population.budget.protected


def test_unprotected_totals_mark_the_held_out_patients_only(granted: Filter) -> None:
    granted.allow("a", [training(), UNPROTECTED_TOTALS])
    granted.pay("a", Purpose.EVALUATE, Unprotected())
    assert granted.budget.protected
    assert not granted.budget.held_out_protected
    granted.allow("b", [training(noise=8)])


def test_private_study_without_a_grant_is_refused() -> None:
    with pytest.raises(BudgetError, match="has no privacy budget"):
        Filter("ward").allow("a", [training()])


def test_second_grant_is_refused(granted: Filter) -> None:
    with pytest.raises(BudgetError, match="has its grant already"):
        granted.grant(5, 1e-3, 8)


def test_grant_at_an_order_without_room_is_refused() -> None:
    with pytest.raises(BudgetError, match=r"no room at order 2.*larger order"):
        Filter("ward").grant(1, 1e-5, 2)


def test_order_chosen_for_a_typical_study_admits_most_of_it() -> None:
    # sigma 2.178, q 0.1, delta 1e-5, epsilon 3: PLD would admit 200 steps, order 8 admits 163, order 32 two
    step = round_of(2.178, rate=0.1, steps=1)
    order = choose_order(3, 1e-5, [Planned(purpose=Purpose.TRAIN, event=step, times=1)])
    admitted = {a: limit(3, 1e-5, a) // charge(step, a) for a in (order, 8, 32)}
    assert admitted[order] >= admitted[8] == 163
    assert admitted[32] == 2


def test_order_for_an_unbounded_study_is_refused() -> None:
    with pytest.raises(BudgetError, match="name a typical study with noise"):
        choose_order(3, 1e-5, [UNPROTECTED_TRAINING])


@settings(max_examples=10, deadline=None)
@given(st.floats(0.2, 8), st.floats(0.01, 0.5), st.integers(1, 20), st.integers(1, 30))
def test_study_calibrated_to_the_whole_grant_is_never_refused(
    asked: float, rate: float, steps: int, rounds: int
) -> None:
    noise = noise_multiplier(asked, 1e-4, rate, steps, rounds)
    plan = training(noise=noise, rounds=rounds, rate=rate, steps=steps)
    population = Filter("ward")
    population.grant(asked, 1e-4, choose_order(asked, 1e-4, [plan]))
    population.allow("a", [plan])
    for _ in range(rounds):
        population.pay("a", Purpose.TRAIN, plan.event)


actions = st.lists(
    st.tuples(
        st.sampled_from(["allow", "train", "evaluate", "close"]),
        st.sampled_from(["a", "b", "c", "d"]),
        st.sampled_from([1.0, 2.0, 5.0]),
        st.integers(1, 6),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(actions)
def test_filter_under_any_adaptive_sequence_stays_within_the_grant(
    sequence: list[tuple[str, str, float, int]],
) -> None:
    population = Filter("ward")
    population.grant(3, 1e-3, 8)
    paid: list[SampledGaussian | Gaussian] = []
    for action, study, noise, times in sequence:
        before = copy.deepcopy(population)
        plan = (training(noise, times), totals(noise * 10, times))
        step, score = round_of(noise), Gaussian(noise_multiplier=noise * 10, count=1)
        try:
            match action:
                case "allow":
                    population.allow(study, plan)
                case "train":
                    population.pay(study, Purpose.TRAIN, step)
                    paid.append(step)
                case "evaluate":
                    population.pay(study, Purpose.EVALUATE, score)
                    paid.append(score)
                case _:
                    population.give_back(study)
        except BudgetError:
            assert population == before
        assert population.spent == sum(charge(event, 8) for event in paid)
        assert population.spent + population.set_aside <= limit(3, 1e-3, 8)
        assert population.set_aside == sum(a.set_aside for a in population.allowances.values()) >= 0
    assert epsilon(paid, 1e-3, orders=[8]) <= 3
