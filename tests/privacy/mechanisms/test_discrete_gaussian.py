import math
from collections import Counter
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from privacy.mechanisms.discrete_gaussian import _is_below_exp, sample, sample_many
from privacy.randomness import KeyStream


def exact_probabilities(variance: float, reach: int) -> dict[int, float]:
    weights = {x: math.exp(-x * x / (2 * variance)) for x in range(-10 * reach, 10 * reach + 1)}
    total = math.fsum(weights.values())
    return {x: weight / total for x, weight in weights.items()}


@pytest.mark.parametrize("variance", [Fraction(1, 4), Fraction(1), Fraction(5, 2) ** 2, Fraction(0.7) ** 2])
def test_sample_frequencies_match_the_exact_distribution(variance: Fraction) -> None:
    """Chi-square of 8,000 draws under a fixed key against exp(-x^2 / 2 sigma^2); the tails are one cell."""
    count = 8_000
    reach = max(1, math.ceil(2.5 * math.sqrt(variance)))
    exact = exact_probabilities(float(variance), reach)
    drawn = Counter(sample(variance, count, KeyStream(b"frequencies of a discrete Gauss.")))
    inner = range(-reach, reach + 1)
    observed = [drawn[x] for x in inner]
    expected = [count * exact[x] for x in inner]
    cells = [*zip(observed, expected, strict=True), (count - sum(observed), count - sum(expected))]
    statistic = sum((seen - wanted) ** 2 / wanted for seen, wanted in cells)
    freedom = len(cells) - 1
    assert statistic < freedom + 3 * math.sqrt(2 * freedom)


def test_sample_of_small_sigma_has_less_variance_than_the_continuous_one() -> None:
    """Origin: sigma = 0.5 has variance 0.21501, by summing x^2 over the exact distribution."""
    drawn = np.array(sample(Fraction(1, 4), 8_000, KeyStream(bytes(32))))
    exact = sum(x * x * p for x, p in exact_probabilities(0.25, 3).items())
    assert exact == pytest.approx(0.21501, abs=5e-6)
    assert drawn.var() == pytest.approx(exact, abs=0.012)


def test_sample_of_one_unit_has_the_continuous_variance_but_for_a_fifth_of_a_millionth() -> None:
    """Origin: sigma = 1 has variance 0.99999979, by summing x^2 over the exact distribution."""
    drawn = np.array(sample(Fraction(1), 8_000, KeyStream(bytes(32))))
    exact = sum(x * x * p for x, p in exact_probabilities(1.0, 3).items())
    assert exact == pytest.approx(0.99999979, abs=5e-9)
    assert drawn.var() == pytest.approx(exact, abs=5 * math.sqrt(2 / 8_000))


def test_sample_of_large_sigma_has_its_standard_deviation() -> None:
    drawn = np.array(sample(Fraction(1000) ** 2, 2_000, KeyStream(bytes(32))))
    assert drawn.std() == pytest.approx(1000, rel=0.06)
    assert abs(drawn.mean()) < 90


def test_sample_under_the_same_key_is_the_same() -> None:
    assert sample(Fraction(9), 20, KeyStream(bytes(32))) == sample(Fraction(9), 20, KeyStream(bytes(32)))


def test_sample_without_variance_is_refused() -> None:
    with pytest.raises(ValueError, match="positive variance"):
        sample(Fraction(0), 1, KeyStream(bytes(32)))


@pytest.mark.parametrize("variance", [1, 2, 9, 400])
def test_many_samples_have_the_exact_frequencies(variance: int) -> None:
    """Chi-square of 400,000 draws, the tails one cell."""
    count = 400_000
    reach = max(1, math.ceil(2.5 * math.sqrt(variance)))
    exact = exact_probabilities(float(variance), reach)
    drawn = sample_many(variance, count, KeyStream(b"frequencies of a discrete Gauss."))
    inner = range(-reach, reach + 1)
    observed = [int((drawn == x).sum()) for x in inner]
    expected = [count * exact[x] for x in inner]
    cells = [*zip(observed, expected, strict=True), (count - sum(observed), count - sum(expected))]
    statistic = sum((seen - wanted) ** 2 / wanted for seen, wanted in cells)
    freedom = len(cells) - 1
    assert statistic < freedom + 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("variance", [10**6, 10**12, 2**49])
def test_many_samples_of_large_variance_have_its_moments(variance: int) -> None:
    drawn = sample_many(variance, 100_000, KeyStream(bytes(32))).astype(np.float64) / math.sqrt(variance)
    assert drawn.std() == pytest.approx(1, abs=0.012)
    assert abs(drawn.mean()) < 0.016
    assert (drawn**4).mean() == pytest.approx(3, abs=0.2)


def test_coin_in_doubt_is_decided_by_more_bits() -> None:
    """First bits that do not decide: the exact chance lies within their cell, and heads come in its proportion."""
    gamma = Fraction(1, 3)
    with localcontext(Context(prec=60)):
        chance = (-Decimal(1) / 3).exp() * 2**52
    cell, inside = int(chance), float(chance % 1)
    stream = KeyStream(bytes(32))
    heads = sum(_is_below_exp(cell, gamma, stream) for _ in range(4_000)) / 4_000
    assert heads == pytest.approx(inside, abs=0.03)
    assert _is_below_exp(cell - 1, gamma, stream)
    assert not _is_below_exp(cell + 1, gamma, stream)


@pytest.mark.parametrize("variance", [0, -1, 2**50])
def test_many_samples_of_an_impossible_variance_are_refused(variance: int) -> None:
    with pytest.raises(ValueError, match="variance from 1"):
        sample_many(variance, 1, KeyStream(bytes(32)))
