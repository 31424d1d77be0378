"""After which rounds a model is scored, against a plain look through all of them."""

from hypothesis import given
from hypothesis import strategies as st

from privacy.study.evaluation import Evaluation


@given(st.sets(st.integers(0, 30), max_size=12), st.integers(0, 31))
def test_round_is_scored_exactly_when_it_is_named(named: set[int], base: int) -> None:
    assert Evaluation(rounds=tuple(sorted(named))).scores(base) == (base in named)
