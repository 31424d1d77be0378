"""What whole sites contribute: clipped, counted by chance, with an answer about the norm that the noise covers."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from benchmarks.small_study import small_terms
from privacy.mechanisms.distributed_noise import SharedNoise, decode_opened_sum, make_noised_share
from privacy.mechanisms.site_clipping import (
    compute_joint_norm,
    compute_mean_update,
    compute_next_norm,
    compute_norm_from_joint,
    is_drawn,
    make_contribution,
)
from privacy.randomness import KeyStream, from_os
from privacy.secure_aggregation.round_layout import count_sealed_values, make_shared_noise
from privacy.study import AdaptiveClipping, Privacy, Terms

Vector = NDArray[np.float64]
ADAPTIVE = AdaptiveClipping(quantile=0.5, rate=0.2, share=0.5)
vectors = arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e200, 1e200) | st.just(math.nan))
norms = st.floats(1e-6, 1e6)
clippings = st.none() | st.builds(
    AdaptiveClipping, quantile=st.floats(0.1, 0.9), rate=st.floats(0.01, 0.5), share=st.floats(0.01, 2)
)


def privacy(adaptive: AdaptiveClipping | None = ADAPTIVE, norm: float = 1.0) -> Privacy:
    fields: dict[str, Any] = {"unit": "site", "placement": "distributed", "epsilon": 3, "delta": 1e-3}
    return Privacy(**fields, clipping_norm=norm, adaptive_clipping=adaptive)


def site_terms(**changes: dict[str, Any]) -> Terms:
    sections: dict[str, dict[str, Any]] = {
        "training": {"weights": "uniform"},
        "privacy": {"unit": "site", "placement": "distributed"},
        "secure_aggregation": {"value_range": 80.0, "bits": 20},
    }
    return small_terms(
        **{name: {**sections.get(name, {}), **changes.get(name, {})} for name in {*sections, *changes}}
    )


@settings(max_examples=100)
@given(vectors, norms, clippings, st.booleans())
def test_contribution_is_within_the_joint_norm_whatever_was_trained(
    update: Vector, norm: float, adaptive: AdaptiveClipping | None, counts: bool
) -> None:
    found = make_contribution(update, norm, adaptive, counts=counts)
    assert found.size == update.size + (adaptive is not None)
    exact = math.sqrt(math.fsum(float(x) ** 2 for x in found))
    assert exact <= compute_joint_norm(norm, adaptive)
    assert counts or not found.any()


@given(norms, clippings)
def test_norm_comes_back_from_the_joint_one(norm: float, adaptive: AdaptiveClipping | None) -> None:
    assert compute_norm_from_joint(compute_joint_norm(norm, adaptive), adaptive) == pytest.approx(norm, rel=1e-15)


def test_update_within_the_norm_is_kept_and_says_so() -> None:
    np.testing.assert_allclose(
        make_contribution(np.array([0.3, 0.4]), 1.0, ADAPTIVE, counts=True), [0.3, 0.4, 0.25]
    )


def test_update_beyond_the_norm_is_scaled_down_and_says_so() -> None:
    np.testing.assert_allclose(
        make_contribution(np.array([6.0, 8.0]), 5.0, ADAPTIVE, counts=True), [3.0, 4.0, -1.25]
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_update_that_left_the_numbers_counts_as_zero(value: float) -> None:
    np.testing.assert_allclose(make_contribution(np.array([value, 1.0]), 1.0, ADAPTIVE, counts=True), [0, 0, -0.25])


@pytest.mark.parametrize("adaptive", [None, ADAPTIVE])
def test_replaced_update_moves_the_integers_by_at_most_twice_the_sensitivity(
    adaptive: AdaptiveClipping | None,
) -> None:
    """With the same dither and draw: 2 S' / gamma + sqrt(d), which is less than twice what one update can reach."""
    random, d = np.random.default_rng(7), 300 + (adaptive is not None)
    noise = SharedNoise(compute_joint_norm(0.7, adaptive), 4.0, d, 14, 60.0, 1)
    closest, exact = 0.0, 2 * noise.clipping_norm / noise.unit + math.sqrt(d)
    for size in (0.01, 0.7, 1000.0):
        for _ in range(60):
            before = random.normal(size=300) * size
            after = -before if size > 1 else random.normal(size=300) * size
            dither = random.uniform(size=d)
            one, other = (
                np.floor(make_contribution(each, 0.7, adaptive, counts=True) / noise.unit + dither)
                for each in (before, after)
            )
            moved = float(np.linalg.norm(one - other))
            closest = max(closest, moved)
            assert moved <= exact <= 2 * noise.sensitivity
    assert closest > 0.9 * 2 * 0.7 / noise.unit  # the bound is nearly reached


def test_site_that_comes_or_goes_moves_the_integers_by_at_most_the_sensitivity() -> None:
    random = np.random.default_rng(8)
    noise = SharedNoise(compute_joint_norm(0.7, ADAPTIVE), 4.0, 301, 14, 60.0, 1)
    for _ in range(100):
        there = make_contribution(random.normal(size=300), 0.7, ADAPTIVE, counts=True)
        assert np.linalg.norm(np.floor(there / noise.unit + random.uniform(size=301))) <= noise.sensitivity


def test_opened_mean_has_the_updates_and_the_noise_that_were_promised() -> None:
    """Five sites, of which two were not drawn, in 40,000 coordinates: error against the plain mean."""
    random, d = np.random.default_rng(9), 40_000
    noise = SharedNoise(1.0, 6.0, d, 20, 80.0, 1)
    updates = [random.normal(size=d) for _ in range(5)]
    sealed = [make_contribution(each, 1.0, None, counts=place < 3) for place, each in enumerate(updates)]
    variance = noise.compute_share_variance(5)
    total = sum(make_noised_share(each, noise, variance, from_os()).astype(np.int64) for each in sealed)
    found = compute_mean_update(decode_opened_sum(np.asarray(total), noise), None, expected=0.6 * 5)
    plain = sum(each / np.linalg.norm(each) for each in updates[:3]) / 3
    promised = noise.noise_multiplier * noise.sensitivity * noise.unit * math.sqrt(5 / 4) / 3
    assert (found - plain).std() == pytest.approx(promised, rel=0.03)
    assert abs((found - plain).mean()) < 5 * promised / math.sqrt(d)


@pytest.mark.parametrize("participation", [0.05, 0.5, 0.9])
def test_sites_are_drawn_as_often_as_the_terms_say(participation: float) -> None:
    stream = KeyStream(bytes(32))
    often = sum(is_drawn(participation, stream) for _ in range(20_000)) / 20_000
    assert abs(often - participation) < 5 * math.sqrt(participation * (1 - participation) / 20_000)


def test_everybody_is_drawn_without_sampling_and_the_same_key_draws_the_same() -> None:
    assert all(is_drawn(1.0, KeyStream(bytes([key]) * 32)) for key in range(50))
    assert [is_drawn(0.5, KeyStream(bytes([key]) * 32)) for key in range(50)] == [
        is_drawn(0.5, KeyStream(bytes([key]) * 32)) for key in range(50)
    ]


@pytest.mark.parametrize("share_of_norm", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("noise", [0.5, 3.0, 40.0])
def test_split_of_the_noise_is_andrews(noise: float, share_of_norm: float) -> None:
    """Their theorem 1: z_Delta = (z^-2 - (2 sigma_b)^-2)^(-1/2), sigma_b the noise of the count of answers."""
    adaptive = AdaptiveClipping(share=share_of_norm)
    deviation = noise * compute_joint_norm(1.7, adaptive)
    over_the_norm, of_the_count = deviation / 1.7, deviation / (share_of_norm * 1.7)
    assert over_the_norm == pytest.approx((noise**-2 - (2 * of_the_count) ** -2) ** -0.5, rel=1e-12)


def test_norm_without_adaptive_clipping_stays() -> None:
    assert compute_next_norm(np.array([5.0]), 0.3, privacy(None), 2.0) == 0.3


@pytest.mark.parametrize(("answers", "within"), [(2.0, 1.0), (0.0, 0.5), (-1.0, 0.25), (-50.0, 0.0), (50.0, 1.0)])
def test_norm_follows_the_answers_cut_to_a_fraction(answers: float, within: float) -> None:
    """Four sites expected; answers in units of half a site."""
    total = np.array([9.0, answers * 0.5 * 2.0])
    assert compute_next_norm(total, 2.0, privacy(), 4.0) == pytest.approx(
        2.0 * (1 - 0.2 * (within - 0.5)), rel=1e-12
    )


def test_norm_stays_within_reach_of_where_it_began() -> None:
    norm = 1.0
    for _ in range(300):
        norm = compute_next_norm(np.array([-1e9]), norm, privacy(), 3.0)
    assert norm == 2.0**20


@pytest.mark.parametrize(("quantile", "participation"), [(0.3, 1.0), (0.5, 0.5), (0.8, 1.0)])
def test_norm_converges_to_the_quantile_and_is_that_of_a_plain_loop(quantile: float, participation: float) -> None:
    """40 sites whose norms are 1 to 40, real shares of noise; beside it Andrew's loop with exp, without sealing."""
    adaptive = AdaptiveClipping(quantile=quantile, rate=0.1, share=1.0)
    promise, random = privacy(adaptive, norm=2.0), np.random.default_rng(3)
    lengths, norm, path = np.arange(1.0, 41.0), 2.0, []
    for number in range(150):
        noise = SharedNoise(compute_joint_norm(norm, adaptive), 1.0, 4, 20, 80.0, 1)
        variance = noise.compute_share_variance(40)
        total = np.zeros(4, dtype=np.int64)
        for length in lengths:
            direction = random.normal(size=3)
            update = direction * length / np.linalg.norm(direction)
            stream = KeyStream(random.bytes(32))
            counts = is_drawn(participation, stream)
            total += make_noised_share(
                make_contribution(update, norm, adaptive, counts=counts), noise, variance, stream
            )
        norm = compute_next_norm(decode_opened_sum(total, noise), norm, promise, participation * 40)
        if number >= 80:
            path.append(norm)
    plain = 2.0
    for _ in range(300):
        plain *= math.exp(-0.1 * (float((lengths <= plain).mean()) - quantile))
    assert plain == pytest.approx(40 * quantile, abs=1.5)
    assert float(np.median(path)) == pytest.approx(plain, rel=0.12)


def test_grid_follows_the_norm_and_the_shares_stay() -> None:
    terms = site_terms(privacy={"adaptive_clipping": {}})
    one, other = (make_shared_noise(terms, 6, 4.0, norm) for norm in (1.0, 3.0))
    assert other.unit == pytest.approx(3 * one.unit)
    assert one.compute_share_variance(4) == other.compute_share_variance(4)
    assert one.parameters == count_sealed_values(terms, 6) == 7


def test_range_must_hold_the_sum_of_all_sites_beside_the_noise() -> None:
    noise = make_shared_noise(site_terms(), 6, 4.0)
    loudest = 4.0 * math.sqrt(3 / (3 - 1))  # of three sites one conspires, and what all see is the noise of three
    fitting = make_shared_noise(site_terms(secure_aggregation={"value_range": noise.needed_range}), 6, 4.0)
    assert noise.needed_range == pytest.approx(8 * loudest * fitting.inflation + 8)
    assert noise.describe_problem(8) is None
    tight = make_shared_noise(site_terms(secure_aggregation={"value_range": 36.0}), 6, 4.0)
    assert "the noise and the sum need 47.2" in str(tight.describe_problem(8))


def test_auto_range_holds_the_updates_of_all_sites_and_the_noise() -> None:
    """Eight sites at most, each one norm; the noise of the smallest cohort, of which one site conspires."""
    fitting = make_shared_noise(site_terms(secure_aggregation={"value_range": "auto"}), 6, 4.0)
    assert fitting.describe_problem(8) is None
    needed = 8 + 8 * 4.0 * math.sqrt(3 / 2) * fitting.inflation
    assert needed <= fitting.value_range * (1 + 1e-9) < 1.1 * needed
