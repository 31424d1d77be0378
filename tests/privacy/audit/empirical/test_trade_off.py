"""The refinement by trade-off curves: published values, and how often a true claim is refuted."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from privacy.audit.empirical.many_runs import Runs, compute_gaussian_runs_bound
from privacy.audit.empirical.one_run import Guesses, compute_one_run_bound, compute_one_run_p_value
from privacy.audit.empirical.trade_off import (
    Curve,
    compute_gaussian_delta,
    compute_gaussian_epsilon,
    compute_trade_off_bound,
    find_gaussian_mu,
    is_refuted,
)

SIDE, DELTA = 10_000, 1e-6


def find_corners(present: NDArray[np.float64], absent: NDArray[np.float64]) -> NDArray[np.int64]:
    """The attacker's useful thresholds on sorted scores: (present, absent) above each, at the corners of the hull."""
    thresholds = np.append(np.union1d(absent, present), np.inf)
    points = np.stack([np.searchsorted(present, thresholds), np.searchsorted(absent, thresholds)], axis=1)
    while True:
        steps = np.diff(points, axis=0)
        turns = steps[:-1, 1] * steps[1:, 0] - steps[1:, 1] * steps[:-1, 0]
        if (turns > 0).all():
            return np.array([len(present), len(absent)]) - points
        points = points[np.r_[True, turns > 0, True]]


def find_best(
    corners: NDArray[np.int64],
    canaries: int,
    bound: Callable[[Guesses, float], float],
    is_less: Callable[..., bool],
) -> float:
    """The largest bound of guesses at every corner, all of which are paid for."""
    error, best = 0.05 / len(corners), 0.0
    guesses = [Guesses(canaries, int(a + b), int(a)) for a, b in corners if a + b]
    for each in sorted(guesses, key=lambda each: -each.correct / each.made):
        if not best or not is_less(each, best, error):
            best = max(best, bound(each, 1 - error))
    return best


def find_best_of_one_run(corners: NDArray[np.int64], canaries: int, delta: float) -> float:
    return find_best(
        corners,
        canaries,
        lambda each, confidence: compute_one_run_bound(each, delta, confidence),
        lambda each, best, error: compute_one_run_p_value(each, best, delta) > error,
    )


def find_best_if_gaussian(corners: NDArray[np.int64], canaries: int, delta: float) -> float:
    def is_less(each: Guesses, best: float, error: float) -> bool:
        mu = find_gaussian_mu(best, delta)
        return not is_refuted(each, lambda chance: float(ndtr(ndtri(chance) - mu)), error)

    return find_best(
        corners,
        canaries,
        lambda each, confidence: compute_trade_off_bound(each, delta, Curve.GAUSSIAN, confidence),
        is_less,
    )


def find_corners_of_normal_scores(shift: float) -> NDArray[np.int64]:
    quantiles = ndtri((np.arange(SIDE) + 0.5) / SIDE)
    return find_corners(quantiles + shift, quantiles)


@pytest.mark.parametrize(("shift", "bound"), [(1, 1.13346), (2, 2.311945), (4, 4.395568)])
def test_one_run_bound_of_normal_scores_is_the_known_one(shift: float, bound: float) -> None:
    found = find_best_of_one_run(find_corners_of_normal_scores(shift), 2 * SIDE, DELTA)
    assert found == pytest.approx(bound, rel=1e-5)


@pytest.mark.parametrize(("shift", "bound"), [(1, 2.164749), (2, 4.7218075), (4, 9.133752)])
def test_gaussian_bound_of_normal_scores_is_the_known_one(shift: float, bound: float) -> None:
    found = find_best_if_gaussian(find_corners_of_normal_scores(shift), 2 * SIDE, DELTA)
    assert found == pytest.approx(bound, rel=1e-5)


@pytest.mark.parametrize(("epsilon", "known"), [(3.0, (0.89, 1.18, 1.82)), (8.0, (2.18, 3.05, 6.51))])
def test_known_bounds_of_an_ideal_release_are_usual_where_every_threshold_is_tried(
    epsilon: float, known: tuple[float, float, float]
) -> None:
    """Origin: one run, the Gaussian trade-off and canaries apart, of 1,000 canaries of one release.

    A release's bounds may be a half off either way, so each known one must lie in the middle half of 40 releases.
    """
    found = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        coins = random.random(1000) < 0.5
        scores = coins + random.standard_normal(1000) / find_gaussian_mu(epsilon, 1e-5)
        present, absent = np.sort(scores[coins]), np.sort(scores[~coins])
        corners = find_corners(present, absent)
        runs = [Runs(len(absent), int(b), len(present), int(len(present) - a)) for a, b in corners]
        apart = max(compute_gaussian_runs_bound(each, 1e-5, 0.05 / len(corners) / 2) for each in runs)
        one_run = find_best_of_one_run(corners, 1000, 1e-5)
        found.append((one_run, find_best_if_gaussian(corners, 1000, 1e-5), apart))
    low, high = np.quantile(found, [0.25, 0.75], axis=0)
    assert (low < known).all()
    assert (known < high).all()


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(("canaries", "made"), [(20, 20), (200, 200), (200, 50)])
def test_true_claim_of_randomised_response_is_refuted_with_no_larger_probability(
    epsilon: float, canaries: int, made: int
) -> None:
    shrink = lambda chance: max(0.0, chance * math.exp(-epsilon), 1 - math.exp(epsilon) * (1 - chance))  # noqa: E731
    refuted = [v for v in range(made + 1) if is_refuted(Guesses(canaries, made, v), shrink, 0.05)]
    chance = 1 / (1 + math.exp(-epsilon))
    assert refuted or chance**made > 0.05  # where anything could be refuted, something is
    assert binom.pmf(refuted, made, chance).sum() <= 0.05


def test_true_claim_of_a_gaussian_mechanism_is_hardly_ever_refuted() -> None:
    random, mu, runs, refuted = np.random.default_rng(7), 1.0, 400, 0
    for _ in range(runs):
        coins = random.random(200) < 0.5
        order = np.argsort(coins * mu + random.standard_normal(200))
        correct = int((~coins[order[:20]]).sum() + coins[order[-20:]].sum())
        shrink = lambda chance: float(ndtr(ndtri(chance) - mu))  # noqa: E731
        refuted += is_refuted(Guesses(200, 40, correct), shrink, 0.05)
    assert refuted <= 0.05 * runs + 5 * math.sqrt(0.05 * 0.95 * runs)


def test_curve_of_epsilon_and_delta_says_about_what_one_run_says() -> None:
    guesses = Guesses(1000, 200, 160)
    found = compute_trade_off_bound(guesses, 1e-5, Curve.EPSILON_DELTA)
    assert found == pytest.approx(compute_one_run_bound(guesses, 1e-5), abs=0.05)


@pytest.mark.parametrize(("epsilon", "noise"), [(1.0, 3.730632), (0.5, 7.031827), (8.0, 0.600229)])
def test_gaussian_of_an_epsilon_has_the_analytic_noise(epsilon: float, noise: float) -> None:
    assert 1 / find_gaussian_mu(epsilon, 1e-5) == pytest.approx(noise, abs=1e-6)
    assert compute_gaussian_epsilon(1 / noise, 1e-5) == pytest.approx(epsilon, abs=1e-5)


def test_gaussian_without_a_shift_has_no_delta() -> None:
    assert compute_gaussian_delta(0.0, 0.0) == 0.0
    assert compute_gaussian_epsilon(-1.0, 1e-5) == 0.0


@pytest.mark.parametrize("delta", [0.0, 1.0])
def test_gaussian_bound_without_a_delta_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match="needs a delta"):
        compute_trade_off_bound(Guesses(10, 10, 10), delta, Curve.GAUSSIAN)
    with pytest.raises(ValueError, match="needs a delta"):
        compute_gaussian_epsilon(1.0, delta)


def test_no_correct_guess_refutes_nothing() -> None:
    assert compute_trade_off_bound(Guesses(10, 10, 0), 1e-5, Curve.GAUSSIAN) == 0.0
