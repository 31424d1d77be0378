"""From scores to bounds: how near they come to an ideal release, and how often they exceed a true epsilon."""

import numpy as np
import pytest

from privacy.audit.empirical.guesses import Bounds, compute_bounds, make_guesses
from privacy.audit.empirical.trade_off import find_gaussian_mu

DELTA = 1e-5


def release(epsilon: float, canaries: int, seed: int) -> Bounds:
    """The bounds of one Gaussian release of a direction for each canary: the best that an attacker can see."""
    random = np.random.default_rng(seed)
    coins = random.random(canaries) < 0.5
    scores = coins + random.standard_normal(canaries) / find_gaussian_mu(epsilon, DELTA)
    return compute_bounds([scores], coins, DELTA, independent=True)


@pytest.mark.parametrize(("epsilon", "medians"), [(3.0, (1.0, 1.4, 2.0)), (8.0, (2.7, 4.1, 6.6))])
def test_bounds_of_an_ideal_release_of_a_thousand_canaries(
    epsilon: float, medians: tuple[float, float, float]
) -> None:
    found = [release(epsilon, 1000, seed) for seed in range(6)]
    for wanted, seen in zip(
        medians,
        (
            [each.one_run for each in found],
            [each.gaussian for each in found],
            [each.independent for each in found],
        ),
        strict=True,
    ):
        assert float(np.median(np.array(seen, dtype=float))) == pytest.approx(wanted, rel=0.2)


def test_bounds_of_200_honest_releases_exceed_a_true_epsilon_no_more_often_than_they_may() -> None:
    found = [release(1.0, 200, 1000 + seed) for seed in range(200)]
    assert sum(each.presuming_nothing > 1 for each in found) <= 0.05 * 200
    assert sum(each.largest > 1 for each in found) <= 0.05 * 200
    assert any(each.largest > 0.1 for each in found)  # they do say something


def test_guesses_take_the_ends_of_the_scores() -> None:
    coins = np.array([True, False, True, False, True, False])
    guesses = make_guesses(np.array([5.0, 0.0, 4.0, 1.0, 2.0, 3.0]), coins, 4)
    assert (guesses.canaries, guesses.made, guesses.correct) == (6, 4, 4)


def test_several_attacks_are_paid_for() -> None:
    random = np.random.default_rng(0)
    coins = random.random(400) < 0.5
    scores = coins + 0.5 * random.standard_normal(400)
    one = compute_bounds([scores], coins, DELTA)
    assert one.independent is None
    assert compute_bounds([scores, np.zeros(400)], coins, DELTA).one_run < one.one_run


def test_canaries_that_all_took_part_say_nothing_about_false_alarms() -> None:
    coins = np.ones(10, dtype=bool)
    assert compute_bounds([np.ones(10)], coins, DELTA, independent=True).independent == 0.0


@pytest.mark.parametrize(("canaries", "delta", "words"), [(1, 1e-5, "two canaries"), (10, 0.0, "a delta")])
def test_what_cannot_be_bounded_is_refused(canaries: int, delta: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compute_bounds([np.zeros(canaries)], np.zeros(canaries, dtype=bool), delta)
