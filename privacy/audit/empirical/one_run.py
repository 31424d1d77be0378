"""Bound epsilon from below by one training with many canaries.

>>> from privacy.audit.empirical.one_run import Guesses, compute_one_run_bound
>>> round(compute_one_run_bound(Guesses(canaries=1000, made=100, correct=95), delta=1e-5), 4)
2.1652

For each of m canaries a fair coin, independent of the others, decides whether it takes part. After one training an
attacker guesses some of the coins. A program that is (epsilon, delta)-private lets nobody guess better than randomised
response would, up to a slack by delta that all m canaries share.

* **Guarantee.** If the program is (epsilon, delta)-private, at least ``correct`` of ``made`` guesses are right with a
  probability of at most beta + 2 m delta alpha. Here W is binomial with ``made`` trials of chance
  e^epsilon / (1 + e^epsilon), beta = P[W >= correct], and alpha is the largest P[correct - i <= W < correct] / i for i
  from 1 to ``correct``. Whoever refuses the claim only where that is at most 1 - confidence, refuses a true one with no
  larger probability.
* **Privacy unit.** What one canary is: a patient, added or removed.
* **Edge cases.** How many guesses are made is fixed before the scores are seen, or each choice is paid for
  (:mod:`privacy.audit.empirical.guesses`). Coins that are not independent, such as a fixed half, break the theorem.

Source: Steinke, Nasr and Jagielski 2023, "Privacy auditing with one (1) training run" (arXiv 2305.08846, theorem 5.2).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from privacy.audit.empirical.binomial import compute_sums_below, compute_upper_tail
from privacy.audit.empirical.largest_epsilon import find_largest

CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Guesses:
    """What an attacker guessed, and how often they were right.

    Attributes:
        canaries: m, all of them.
        made: guesses; of the other canaries the attacker said nothing.
        correct: guesses that were right.

    Raises:
        ValueError: more correct than made, or more made than canaries.
    """

    canaries: int
    made: int
    correct: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.made <= self.canaries or self.canaries < 1:
            raise ValueError(
                f"expected correct <= made <= canaries, got {self.correct}, {self.made} and {self.canaries}"
            )


def compute_one_run_p_value(guesses: Guesses, epsilon: float, delta: float) -> float:
    """Return the largest probability of guesses as good as these under (``epsilon``, ``delta``)."""
    chance = 1 / (1 + math.exp(-epsilon))
    value = compute_upper_tail(guesses.made, guesses.correct, chance)
    if delta and guesses.correct:
        sums = compute_sums_below(guesses.made, guesses.correct, chance)
        value += 2 * guesses.canaries * delta * float(np.max(sums / np.arange(1, guesses.correct + 1)))
    return min(1.0, value)


def compute_one_run_bound(guesses: Guesses, delta: float, confidence: float = CONFIDENCE) -> float:
    """Return the largest epsilon that these guesses refute at ``delta``; 0 if they refute none."""
    return find_largest(lambda epsilon: compute_one_run_p_value(guesses, epsilon, delta) <= 1 - confidence)
