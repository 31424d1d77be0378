"""Server-side optimisers: the published rules, and the same bits everywhere."""

import hashlib
import math

import numpy as np
import pytest

from models.optimiser import Optimiser, Rule
from models.vector import digest

MODEL = np.array([0.5, -1.0, 2.0])
VALUES = [float(int(hashlib.sha256(b"%d" % i).hexdigest()[:8], 16)) / 2**32 - 0.5 for i in range(4000)]
UPDATES = [np.array([0.1, -0.2, 0.0]), np.array([-0.05, 0.3, 1e-4]), np.array([0.2, 0.2, -0.2])]


def after(optimiser: Optimiser) -> np.ndarray:
    shared = optimiser.start(MODEL)
    for update in UPDATES:
        shared = optimiser.advance(shared, update)
    return optimiser.model_of(shared)


def test_average_adds_the_mean() -> None:
    np.testing.assert_allclose(after(Optimiser(rate=0.5)), MODEL + 0.5 * np.sum(UPDATES, axis=0), rtol=1e-15)


def test_momentum_is_the_published_rule() -> None:
    """FedAvgM by hand."""
    model, moment = MODEL.copy(), np.zeros(3)
    for update in UPDATES:
        moment = 0.9 * moment + update
        model = model + 0.7 * moment
    np.testing.assert_allclose(after(Optimiser(Rule.MOMENTUM, rate=0.7)), model, rtol=1e-15)


@pytest.mark.parametrize("rule", [Rule.ADAM, Rule.YOGI])
def test_adaptive_rules_are_the_published_ones(rule: Rule) -> None:
    """Reddi et al. 2021, algorithm 2, one coordinate at a time in plain Python."""
    expected = []
    for place, start in enumerate(MODEL):
        x, m, v = float(start), 0.0, 1e-6
        for update in UPDATES:
            d = float(update[place])
            m = 0.9 * m + 0.1 * d
            sign = (v > d * d) - (v < d * d)
            v = 0.99 * v + 0.01 * d * d if rule is Rule.ADAM else v - 0.01 * d * d * sign
            x += 0.3 * m / (v**0.5 + 1e-3)
        expected.append(x)
    np.testing.assert_allclose(after(Optimiser(rule, rate=0.3)), expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("rule", "bits"),
    [
        (Rule.AVERAGE, "ed1dc0e5"),
        (Rule.MOMENTUM, "0ba5c084"),
        (Rule.ADAM, "e9412e0a"),
        (Rule.YOGI, "6d6d48fd"),
    ],
)
def test_bits_are_the_golden_ones(rule: Rule, bits: str) -> None:
    """Every site must get these bits, on every machine and with every version of numpy."""
    optimiser = Optimiser(rule, rate=0.1)
    shared = optimiser.start(np.array(VALUES[:1000]))
    for start in (1000, 2000, 3000):
        shared = optimiser.advance(shared, np.array(VALUES[start : start + 1000]))
    assert digest(shared)[:8] == bits


def test_bits_of_adam_are_those_of_one_number_at_a_time() -> None:
    """Python's floats, whose operations IEEE 754 rounds: vectorised steps must not be fused or reordered."""
    model, first, second = VALUES[:1000], [0.0] * 1000, [1e-3 * 1e-3] * 1000
    for start in (1000, 2000, 3000):
        for i, d in enumerate(VALUES[start : start + 1000]):
            first[i] = first[i] * 0.9 + d * (1.0 - 0.9)
            second[i] = second[i] * 0.99 + (d * d) * (1.0 - 0.99)
            model[i] = model[i] + first[i] / (math.sqrt(second[i]) + 1e-3) * 0.1
    assert digest(np.array(model + first + second))[:8] == "e9412e0a"


@pytest.mark.parametrize("rule", list(Rule))
def test_update_of_another_length_is_refused(rule: Rule) -> None:
    with pytest.raises(ValueError, match="expected an update of 3 values, got 2"):
        Optimiser(rule).advance(Optimiser(rule).start(MODEL), np.zeros(2))
