"""Filters against known figures, the composition they compete with, and adversaries who choose their steps."""

import math
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from scipy.optimize import minimize_scalar

from privacy.accounting.adaptive_filters import (
    AdaptiveFilter,
    Kind,
    compute_advanced_epsilon,
    compute_rogers_epsilon,
    compute_whitehouse_epsilon,
    convert_zcdp,
    convert_zcdp_classically,
    count_steps,
)
from privacy.errors import BudgetError

HUNDRED = [0.1] * 100


def test_known_epsilons_of_a_hundred_tenths() -> None:
    assert compute_whitehouse_epsilon(HUNDRED, 1e-6) == pytest.approx(5.7565, abs=5e-5)
    assert compute_advanced_epsilon(0.1, 100, 1e-6) == pytest.approx(6.3082, abs=5e-5)
    assert compute_rogers_epsilon(HUNDRED, 1e-6) == pytest.approx(8.6583, abs=5e-5)


@pytest.mark.parametrize(("kind", "steps"), [("whitehouse", 29), ("basic", 30), ("rogers", 12)])
def test_known_steps_of_a_tenth_within_three(kind: Kind, steps: int) -> None:
    assert count_steps(0.1, 3.0, 1e-6, kind) == steps


def test_zcdp_of_one_half_has_the_known_epsilons() -> None:
    exact = minimize_scalar(
        lambda a: 0.5 * a + math.log((a - 1) / a) - (math.log(1e-5) + math.log(a)) / (a - 1),
        bounds=(1.01, 100),
        method="bounded",
    ).fun
    assert convert_zcdp(0.5, 1e-5) == pytest.approx(4.7284, abs=1e-4)
    assert convert_zcdp(0.5, 1e-5) == pytest.approx(exact, rel=1e-9)
    assert convert_zcdp_classically(0.5, 1e-5) == pytest.approx(5.2985, abs=5e-5)


@pytest.mark.parametrize("seed", range(100))
def test_adversary_never_spends_more_than_either_filter_allows(seed: int) -> None:
    """A hundred strategies: large steps, small steps, whatever is left; refused steps change nothing."""
    dice = random.Random(seed)
    kept = AdaptiveFilter(3.0, 1e-6, slack=1e-6)
    for _ in range(80):
        before = kept.epsilons, kept.deltas
        step = dice.choice([dice.uniform(0, 0.2), dice.uniform(0, 3), 3.0 - sum(kept.epsilons), 0.1])
        try:
            kept.admit(max(0.0, step), dice.choice([0.0, 1e-7]))
        except BudgetError:
            assert (kept.epsilons, kept.deltas) == before
    assert min(sum(kept.epsilons), compute_whitehouse_epsilon(kept.epsilons, 1e-6)) <= 3.0 + 1e-9
    assert sum(kept.deltas) <= 1e-6 * (1 + 1e-9)


def test_loss_of_randomised_response_passes_the_limit_as_rarely_as_claimed() -> None:
    """An adversary asks while the filter admits; exact tail of the privacy loss, by binomial sums."""
    steps = 0
    kept = AdaptiveFilter(2.0, 0.05)
    while True:
        try:
            kept.admit(0.1)
        except BudgetError:
            break
        steps += 1
    chance = 1 / (1 + math.exp(-0.1))  # of an answer that speaks for the truth
    beyond = sum(
        math.comb(steps, k) * chance**k * (1 - chance) ** (steps - k)
        for k in range(steps + 1)
        if 0.1 * (2 * k - steps) > 2.0
    )
    assert steps > 20  # more than basic composition admits
    assert beyond <= 0.05


def test_smaller_step_fits_after_a_larger_one_was_refused() -> None:
    kept = AdaptiveFilter(1.0, 1e-6)
    kept.admit(0.9)
    with pytest.raises(BudgetError, match=r"does not fit: 1\.1 of 1 would be spent"):
        kept.admit(0.2)
    kept.admit(0.1)


def test_nonsense_is_refused() -> None:
    with pytest.raises(BudgetError, match="expected a step"):
        AdaptiveFilter(1.0, 1e-6).admit(-0.1)


def test_steps_that_come_at_once_are_admitted_at_most_as_often_as_one_after_the_other() -> None:
    kept = AdaptiveFilter(1.0, 1e-6)

    def ask(_: int) -> bool:
        try:
            kept.admit(0.25)
        except BudgetError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(64))) == 4
