"""Server-side optimisers: the published rules, and the same bits everywhere."""

import hashlib
import math

import numpy as np
import pytest

from models.federated.server_optimiser import LocalWork, Optimiser
from models.parameters.vector import compute_vector_digest
from privacy.study import ServerRule

MODEL = np.array([0.5, -1.0, 2.0])
VALUES = [float(int(hashlib.sha256(b"%d" % i).hexdigest()[:8], 16)) / 2**32 - 0.5 for i in range(4000)]
WORK = {1000: LocalWork(1.5), 2000: LocalWork(0.7, 0.75, 0.9), 3000: LocalWork(3 * 0.1, 2 / 3)}
UPDATES = [np.array([0.1, -0.2, 0.0]), np.array([-0.05, 0.3, 1e-4]), np.array([0.2, 0.2, -0.2])]
for each in UPDATES:
    each.flags.writeable = False  # so that it is no result, and can be used again


def after(optimiser: Optimiser) -> np.ndarray:
    shared = optimiser.make_initial_state(MODEL)
    for update in UPDATES:
        shared = optimiser.advance(shared, update)
    return optimiser.model_of(shared)


def test_average_adds_the_mean() -> None:
    np.testing.assert_allclose(after(Optimiser(rate=0.5)), MODEL + 0.5 * np.sum(UPDATES, axis=0), rtol=1e-15)


def test_update_that_can_be_written_becomes_the_model_with_the_same_bits() -> None:
    optimiser, update = Optimiser(rate=0.3), UPDATES[0].copy()
    advanced = optimiser.advance(MODEL, update)
    assert np.shares_memory(advanced, update)
    assert advanced.tobytes() == optimiser.advance(MODEL, UPDATES[0]).tobytes()


def test_momentum_is_the_published_rule() -> None:
    """FedAvgM by hand."""
    model, moment = MODEL.copy(), np.zeros(3)
    for update in UPDATES:
        moment = 0.9 * moment + update
        model = model + 0.7 * moment
    np.testing.assert_allclose(after(Optimiser(ServerRule.MOMENTUM, rate=0.7)), model, rtol=1e-15)


@pytest.mark.parametrize("rule", [ServerRule.ADAM, ServerRule.YOGI])
def test_adaptive_rules_are_the_published_ones(rule: ServerRule) -> None:
    """Reddi et al. 2021, algorithm 2, one coordinate at a time in plain Python."""
    expected = []
    for place, start in enumerate(MODEL):
        x, m, v = float(start), 0.0, 1e-6
        for update in UPDATES:
            d = float(update[place])
            m = 0.9 * m + 0.1 * d
            sign = (v > d * d) - (v < d * d)
            v = 0.99 * v + 0.01 * d * d if rule is ServerRule.ADAM else v - 0.01 * d * d * sign
            x += 0.3 * m / (v**0.5 + 1e-3)
        expected.append(x)
    np.testing.assert_allclose(after(Optimiser(rule, rate=0.3)), expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("rule", "control_variates", "bits"),
    [
        (ServerRule.AVERAGE, False, "ed1dc0e5"),
        (ServerRule.MOMENTUM, False, "0ba5c084"),
        (ServerRule.ADAM, False, "e9412e0a"),
        (ServerRule.YOGI, False, "6d6d48fd"),
        (ServerRule.AVERAGE, True, "5736e76c"),
        (ServerRule.MOMENTUM, True, "564298e8"),
        (ServerRule.ADAM, True, "dba5b908"),
        (ServerRule.YOGI, True, "45bb31c5"),
    ],
)
def test_bits_are_the_golden_ones(rule: ServerRule, control_variates: bool, bits: str) -> None:
    """Every site must get these bits, on every machine and with every version of numpy."""
    optimiser = Optimiser(rule, rate=0.1, control_variates=control_variates)
    shared = optimiser.make_initial_state(np.array(VALUES[:1000]))
    for start, work in WORK.items():
        shared = optimiser.advance(shared, np.array(VALUES[start : start + 1000]), work)
    assert compute_vector_digest(shared)[:8] == bits


def test_bits_of_the_control_variate_are_those_of_one_number_at_a_time() -> None:
    optimiser = Optimiser(rate=0.1, control_variates=True)
    shared = optimiser.make_initial_state(np.array(VALUES[:1000]))
    variate = [0.0] * 1000
    for start, work in WORK.items():
        updates = VALUES[start : start + 1000]
        shared = optimiser.advance(shared, np.array(updates), work)
        variate = [c * work.kept - (d / work.reach + c) * work.share for c, d in zip(variate, updates, strict=True)]
    assert compute_vector_digest(optimiser.variate_of(shared)) == compute_vector_digest(np.array(variate))


@pytest.mark.parametrize("rule", list(ServerRule))
def test_control_variate_leaves_model_and_moments_as_they_are_without(rule: ServerRule) -> None:
    without, beside = Optimiser(rule, rate=0.3), Optimiser(rule, rate=0.3, control_variates=True)
    plain, shared = without.make_initial_state(MODEL), beside.make_initial_state(MODEL)
    for update in UPDATES:
        plain, shared = without.advance(plain, update), beside.advance(shared, update, LocalWork(0.7, 0.5))
    assert np.concatenate([shared[:3], shared[6:]]).tobytes() == plain.tobytes()
    assert beside.model_of(shared).tobytes() == without.model_of(plain).tobytes()
    assert shared.size == 3 * beside.parts


def test_control_variate_is_the_mean_over_the_roster_of_all_that_sites_have() -> None:
    """Karimireddy et al. 2020, algorithm 1 with option II: four sites, some of them in each round."""
    random = np.random.default_rng(7)
    optimiser = Optimiser(control_variates=True)
    shared, own, reach = optimiser.make_initial_state(MODEL), np.zeros((4, 3)), 1.5
    for cohort in ([0, 1, 2, 3], [0, 2, 3], [1, 2, 3], [0, 1, 2]):
        shared_variate, updates = optimiser.variate_of(shared), random.normal(size=(len(cohort), 3))
        own[cohort] += -shared_variate - updates / reach
        shared = optimiser.advance(shared, updates.mean(axis=0), LocalWork(reach, len(cohort) / 4))
        np.testing.assert_allclose(optimiser.variate_of(shared), own.mean(axis=0), rtol=1e-12)


def test_control_variate_is_the_weighted_mean_where_sites_are_not_alike_and_come_later() -> None:
    """A site weighs nothing before its first round, and what it brings is shared out over all from then on."""
    random = np.random.default_rng(8)
    optimiser, weights = Optimiser(control_variates=True), np.array([1.0, 0.25, 0.5, 2.0])
    shared, own, reach, known = optimiser.make_initial_state(MODEL), np.zeros((4, 3)), 0.3, np.zeros(4)
    for cohort in ([0, 2], [0, 1, 2], [1, 3], [0, 1, 2, 3], [2, 3]):
        updates, taking = random.normal(size=(len(cohort), 3)), weights[cohort]
        own[cohort] += -optimiser.variate_of(shared) - updates / reach
        before = known.sum()
        known[cohort] = taking
        work = LocalWork(reach, share=taking.sum() / known.sum(), kept=before / known.sum())
        shared = optimiser.advance(shared, np.average(updates, axis=0, weights=taking), work)
        expected = np.average(own, axis=0, weights=known)
        np.testing.assert_allclose(optimiser.variate_of(shared), expected, rtol=1e-12)


def test_control_variate_without_the_work_behind_an_update_is_refused() -> None:
    optimiser = Optimiser(control_variates=True)
    with pytest.raises(ValueError, match="need to know the local work"):
        optimiser.advance(optimiser.make_initial_state(MODEL), np.zeros(3))
    with pytest.raises(ValueError, match="share no control variate"):
        Optimiser().variate_of(MODEL)


def test_bits_of_adam_are_those_of_one_number_at_a_time() -> None:
    """Python's floats, whose operations IEEE 754 rounds: vectorised steps must not be fused or reordered."""
    model, first, second = VALUES[:1000], [0.0] * 1000, [1e-3 * 1e-3] * 1000
    for start in (1000, 2000, 3000):
        for i, d in enumerate(VALUES[start : start + 1000]):
            first[i] = first[i] * 0.9 + d * (1.0 - 0.9)
            second[i] = second[i] * 0.99 + (d * d) * (1.0 - 0.99)
            model[i] = model[i] + first[i] / (math.sqrt(second[i]) + 1e-3) * 0.1
    assert compute_vector_digest(np.array(model + first + second))[:8] == "e9412e0a"


@pytest.mark.parametrize("rule", list(ServerRule))
def test_update_of_another_length_is_refused(rule: ServerRule) -> None:
    with pytest.raises(ValueError, match="expected an update of 3 values, got 2"):
        Optimiser(rule).advance(Optimiser(rule).make_initial_state(MODEL), np.zeros(2))


@pytest.mark.parametrize("rule", list(ServerRule))
def test_what_a_stage_does_not_train_keeps_its_values_and_moments(rule: ServerRule) -> None:
    """Inside the ranges it is the rule on these values alone; outside nothing moves, whatever the update says."""
    optimiser = Optimiser(rule, rate=0.7)
    shared = optimiser.make_initial_state(MODEL)
    alone = optimiser.make_initial_state(MODEL[1:2])
    for update in UPDATES:
        shared = optimiser.advance(shared, update, ranges=((1, 2),))
        alone = optimiser.advance(alone, update[1:2])
    parts = np.split(shared, optimiser.parts)
    beginnings = np.split(optimiser.make_initial_state(MODEL), optimiser.parts)
    for part, small, begin in zip(parts, np.split(alone, optimiser.parts), beginnings, strict=True):
        assert part[1:2].tobytes() == small.tobytes()
        assert part[[0, 2]].tobytes() == begin[[0, 2]].tobytes()


@pytest.mark.parametrize("rule", list(ServerRule))
def test_moving_average_is_that_of_the_models(rule: ServerRule) -> None:
    optimiser, plain = Optimiser(rule, decay=0.8), Optimiser(rule)
    shared, bare, average = optimiser.make_initial_state(MODEL), plain.make_initial_state(MODEL), MODEL
    for update in UPDATES:
        shared, bare = optimiser.advance(shared, update), plain.advance(bare, update)
        average = 0.8 * average + 0.2 * plain.model_of(bare)
    assert optimiser.model_of(shared).tobytes() == plain.model_of(bare).tobytes()
    np.testing.assert_allclose(optimiser.average_of(shared), average, rtol=1e-14)


def test_moving_average_stands_beside_a_control_variate() -> None:
    optimiser, plain = Optimiser(control_variates=True, decay=0.5), Optimiser(control_variates=True)
    shared, bare = optimiser.make_initial_state(MODEL), plain.make_initial_state(MODEL)
    for update in UPDATES:
        shared, bare = optimiser.advance(shared, update, WORK[1000]), plain.advance(bare, update, WORK[1000])
    assert optimiser.variate_of(shared).tobytes() == plain.variate_of(bare).tobytes()
    assert optimiser.model_of(shared).tobytes() == plain.model_of(bare).tobytes()
