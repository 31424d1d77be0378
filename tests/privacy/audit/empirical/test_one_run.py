"""One training against many canaries: published values, a closed form, exact fractions, and randomised response."""

import math
from fractions import Fraction
from math import comb

import pytest

from privacy.audit.empirical.one_run import Guesses, compute_one_run_bound, compute_one_run_p_value


@pytest.mark.parametrize(
    ("canaries", "made", "correct", "delta", "bound"),
    [
        (1000, 1000, 1000, 0, 5.8091),
        (1000, 100, 100, 0, 3.4930),
        (1000, 100, 95, 0, 2.1724),
        (1000, 100, 95, 1e-5, 2.1652),
        (1000, 100, 60, 1e-5, 0.0495),
        (1000, 100, 50, 1e-5, 0.0),
        (5000, 1000, 900, 1e-5, 2.0183),
        (100, 100, 100, 1e-5, 3.4902),
        (10, 10, 10, 0, 1.0519),
    ],
)
def test_bound_is_the_known_one(canaries: int, made: int, correct: int, delta: float, bound: float) -> None:
    assert compute_one_run_bound(Guesses(canaries, made, correct), delta) == pytest.approx(bound, abs=5e-5)


@pytest.mark.parametrize("made", [1, 10, 100, 1000])
def test_bound_of_no_wrong_guess_is_the_closed_form(made: int) -> None:
    chance = 0.05 ** (1 / made)
    wanted = max(0.0, math.log(chance / (1 - chance)))
    assert compute_one_run_bound(Guesses(1000, made, made), 0) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    ("canaries", "made", "correct", "epsilon", "delta", "value"),
    [
        (1000, 100, 95, 1, 1e-5, 6.639e-4),
        (1000, 100, 95, 2, 1e-5, 0.0178246),
        (100, 50, 40, 0.5, 1e-3, 0.0197775),
    ],
)
def test_p_value_is_the_known_one(
    canaries: int, made: int, correct: int, epsilon: float, delta: float, value: float
) -> None:
    found = compute_one_run_p_value(Guesses(canaries, made, correct), epsilon, delta)
    assert found == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(("canaries", "made", "correct"), [(30, 20, 18), (30, 30, 20), (12, 5, 0), (9, 9, 9)])
@pytest.mark.parametrize("delta", [Fraction(0), Fraction(1, 1000)])
def test_p_value_is_the_theorems_in_exact_fractions(
    canaries: int, made: int, correct: int, delta: Fraction
) -> None:
    chance = Fraction(3, 4)  # epsilon = ln 3

    def mass(first: int, last: int) -> Fraction:
        return sum(
            (comb(made, w) * chance**w * (1 - chance) ** (made - w) for w in range(first, last)), Fraction(0)
        )

    alpha = max((mass(correct - i, correct) / i for i in range(1, correct + 1)), default=Fraction(0))
    wanted = min(Fraction(1), mass(correct, made + 1) + 2 * canaries * delta * alpha)
    found = compute_one_run_p_value(Guesses(canaries, made, correct), math.log(3), float(delta))
    assert found == pytest.approx(float(wanted), rel=1e-9)


@pytest.mark.parametrize(("canaries", "bound"), [(100, 0.6076), (1000, 0.8806), (10_000, 0.9629)])
def test_bound_of_randomised_response_comes_near_its_epsilon_from_below(canaries: int, bound: float) -> None:
    correct = round(canaries * math.e / (1 + math.e))  # as often as randomised response with epsilon 1 is right
    assert compute_one_run_bound(Guesses(canaries, canaries, correct), 0) == pytest.approx(bound, abs=5e-5)


def test_more_correct_guesses_never_lower_the_bound() -> None:
    bounds = [compute_one_run_bound(Guesses(60, 40, correct), 1e-5) for correct in range(41)]
    assert bounds == sorted(bounds)


@pytest.mark.parametrize(("canaries", "made", "correct"), [(10, 11, 5), (10, 5, 6), (0, 0, 0), (10, 5, -1)])
def test_guesses_that_cannot_be_are_refused(canaries: int, made: int, correct: int) -> None:
    with pytest.raises(ValueError, match="expected correct <= made <= canaries"):
        Guesses(canaries, made, correct)
