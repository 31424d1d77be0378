"""Selective sharing: exact counts, sequential SGD as its limit, and an audit that faulty variants do not pass."""

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta

from benchmarks import selective_sharing
from benchmarks.privacy_systems_studies import DELTA, LOCAL_STEPS, score
from benchmarks.shared_parameters import train_by_patients
from privacy.accounting.analytic_gaussian import compute_analytic_noise, compute_gaussian_delta
from privacy.mechanisms.discrete_gaussian import sample_laplace_many
from privacy.mechanisms.selective_sharing import (
    GRID,
    SENSITIVITY,
    SparseNoise,
    compute_scales,
    compute_total,
    count_shared,
    draw_noise,
    scan,
    share_largest,
    share_noised,
)
from privacy.randomness import KeyStream
from tests.privacy.mechanisms.trained_federation import make_generated_federation

DRAWS = 100_000
KEY = b"a key of 32 bytes, for tests now"
Outcome = tuple[tuple[int, ...], tuple[bool, ...]]
Run = Callable[[NDArray[np.int64], SparseNoise], Outcome]


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=60), st.integers(1, 1000))
def test_exactly_so_many_coordinates_leave_and_they_are_the_largest(update: list[float], permille: int) -> None:
    shared = share_largest(np.array(update), permille / 1000, gamma=5.0)
    assert (
        len(shared.places) == len(set(shared.places.tolist())) == math.ceil(Fraction(permille, 1000) * len(update))
    )
    rest = np.delete(np.clip(np.abs(update), 0, 5), shared.places)
    assert np.abs(shared.values).min() >= rest.max(initial=0)
    assert np.abs(shared.values).max() <= 5


def test_count_is_of_the_decimal_number_that_is_written() -> None:
    assert count_shared(0.07, 100) == 7  # 0.07 * 100 is 7.000000000000001 in floating point


def test_all_of_it_round_robin_is_sequential_descent() -> None:
    """Theta 1, no noise, equal data, one participant after the other: each step is one of plain descent."""
    random = np.random.default_rng(1)
    features, labels = random.standard_normal((40, 3)), random.standard_normal(40)

    def step(model: NDArray[np.float64]) -> NDArray[np.float64]:
        return -0.1 * features.T @ (features @ model - labels) / len(labels)

    alone, server = np.zeros(3), np.zeros(3)
    for _ in range(12):  # four participants, three times
        alone = alone + step(alone)
        shared = share_largest(step(server.copy()), 1.0, gamma=1e9)
        server[shared.places] += shared.values
    np.testing.assert_array_equal(server, alone)


def test_noised_sharing_stays_within_count_and_bound() -> None:
    shared = share_noised(np.linspace(-1, 1, 50), 4, 0.5, 0.8, 1e4, KeyStream(KEY))
    assert len(shared.places) == 4
    assert np.abs(shared.values).max() <= 0.8
    np.testing.assert_allclose(shared.values, np.clip(np.linspace(-1, 1, 50)[shared.places], -0.8, 0.8), atol=0.05)
    assert not len(share_noised(np.full(5, np.nan), 2, 0.9, 1.0, 1e6, KeyStream(KEY)).places)


def test_sparse_vectors_learn_nothing_where_dpsgd_at_no_more_epsilon_does() -> None:
    """The same hospitals, network and steps, epsilon 8 in all: a hundredth of an update, and noise for patients."""
    made, rounds = make_generated_federation(1), 8
    sparse = selective_sharing.measure(made, 1, rounds)
    assert selective_sharing.list_totals(rounds)["noised, all calls"] == pytest.approx(8)
    steps = rounds * LOCAL_STEPS
    noise = compute_analytic_noise(8.0, DELTA, steps)
    assert compute_gaussian_delta(noise / math.sqrt(steps), 8.0) <= DELTA  # exactly (8, delta) in all
    private = score(made, train_by_patients(made, made.start, steps, KeyStream(KEY)))
    assert sparse["everything"] > 0.9
    assert private > sparse["noised, all calls"] + 0.2
    assert private > sparse["noised, each call"] + 0.2


def test_laplace_noise_is_exact_in_its_first_moments_and_refuses_other_scales() -> None:
    drawn = sample_laplace_many(7, 200_000, KeyStream(KEY))
    odds = math.exp(-1 / 7)
    assert float(np.mean(drawn == 0)) == pytest.approx((1 - odds) / (1 + odds), rel=0.05)
    assert float(drawn.var()) == pytest.approx(2 * odds / (1 - odds) ** 2, rel=0.03)
    with pytest.raises(ValueError, match="expected a scale from 1"):
        sample_laplace_many(0, 1, KeyStream(KEY))


def test_scales_are_those_of_dwork_and_roth() -> None:
    compared, released = compute_scales(count=3, epsilon=1.0)
    assert compared == math.ceil(2 * 3 * SENSITIVITY * 9 / 8)
    assert released == 2 * 3 * SENSITIVITY * 9 / 2
    # c comparisons at e1 / c each, and c values of sensitivity D
    assert 2 * 3 * SENSITIVITY / compared + 3 * SENSITIVITY / released == pytest.approx(1.0, abs=1e-4)


def test_total_is_printed_and_is_not_per_parameter() -> None:
    total = compute_total(epsilon=1.0, calls=30, count=1000, delta=1e-5)
    assert total[:2] == (30, 30)
    assert total.per_parameter == 0.001
    assert "30 calls cost epsilon 30 in all" in str(total)
    assert "'epsilon 0.001 per parameter' is no guarantee" in str(total)
    many = compute_total(epsilon=0.01, calls=1000, count=10, delta=1e-5)
    assert many.approximate < many.pure / 2


# An audit: which outcome tells two inputs apart is chosen on half of the draws, and judged on the other half.


def audit(
    run: Run, ones: NDArray[np.int64], others: NDArray[np.int64], noise: Callable[[int], list[SparseNoise]]
) -> float:
    """A lower bound of epsilon, wrong in one of 1000 audits at most: as many draws of both inputs as there is noise."""
    counts, draws = [[Counter[Outcome]() for _ in range(2)] for _ in range(2)], len(noise(0))
    for side, whole in enumerate((ones, others)):
        for place, each in enumerate(noise(side)):
            counts[side][place % 2][run(whole, each)] += 1
    half = draws // 2
    chosen = max(
        counts[0][0], key=lambda outcome: _compute_bound(counts[0][0][outcome], counts[1][0][outcome], half)
    )
    return _compute_bound(counts[0][1][chosen], counts[1][1][chosen], half)


def _compute_bound(ones: int, others: int, draws: int) -> float:
    below = float(beta.ppf(0.0005, ones, draws - ones + 1)) if ones else 0.0
    above = float(beta.ppf(0.9995, others + 1, draws - others))
    return max(0.0, math.log(below / above)) if below else 0.0


def correct(whole: NDArray[np.int64], noise: SparseNoise) -> Outcome:
    found = scan(whole, GRID // 2, noise)
    return tuple(found.places.tolist()), tuple((found.values > 0).tolist())


def without_query_noise(whole: NDArray[np.int64], noise: SparseNoise) -> Outcome:
    return correct(whole, noise._replace(queries=np.zeros_like(noise.queries)))


def without_a_limit_of_hits(whole: NDArray[np.int64], noise: SparseNoise) -> Outcome:
    """Chen et al. 2015 (Lyu et al., algorithm 6): noise for one hit, on the threshold alone, and any number of hits."""
    hits = np.abs(whole) >= GRID // 2 + noise.threshold[0]
    return tuple(np.flatnonzero(hits).tolist()), ()


def draws_of(count: int, length: int, epsilon: float) -> Callable[[int], list[SparseNoise]]:
    def draw(side: int) -> list[SparseNoise]:
        stream = KeyStream(bytes([side]) * 32)
        all_at_once = draw_noise(
            count * DRAWS, length * DRAWS, epsilon * DRAWS, stream
        )  # scales depend on c / epsilon
        return [
            SparseNoise(*parts)
            for parts in zip(
                all_at_once.threshold.reshape(DRAWS, count),
                all_at_once.queries.reshape(DRAWS, length),
                all_at_once.released.reshape(DRAWS, count),
                strict=True,
            )
        ]

    return draw


ONES, OTHERS, EPSILON = np.array([0, GRID]), np.array([GRID, 0]), 1.0


@pytest.fixture(scope="module")
def noise() -> Callable[[int], list[SparseNoise]]:
    return [draws_of(1, 2, EPSILON)(side) for side in range(2)].__getitem__


def test_audit_finds_nothing_beyond_epsilon(noise: Callable[[int], list[SparseNoise]]) -> None:
    assert audit(correct, ONES, OTHERS, noise) <= EPSILON


@pytest.mark.parametrize("run", [without_query_noise, without_a_limit_of_hits])
def test_audit_finds_the_faulty_variants(run: Run, noise: Callable[[int], list[SparseNoise]]) -> None:
    assert audit(run, ONES, OTHERS, noise) > EPSILON + 1


def test_threshold_that_is_not_drawn_anew_is_not_a_fault() -> None:
    """Lyu et al., algorithm 1, draws it once, with less noise than here, and is private; so no audit may find it."""
    few = [
        [SparseNoise(np.repeat(each.threshold[:1], 2), each.queries, each.released) for each in side]
        for side in (draws_of(2, 2, EPSILON)(number)[: DRAWS // 5] for number in range(2))
    ]
    assert audit(correct, ONES, OTHERS, few.__getitem__) <= EPSILON
