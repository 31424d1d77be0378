"""What is decrypted before it is verified shows itself to nobody: no step, no error depends on it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.errors import SealingError
from privacy.secure_aggregation.layout import BLOCK, Layout
from privacy.secure_aggregation.opening import Opening
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import COEFFICIENT_MODULUS, POLYNOMIAL_BYTES, SLOTS
from privacy.secure_aggregation.schemes.coefficients import pack_polynomial
from tests.privacy.secure_aggregation.conftest import CONTEXT, Federation, named

Step = tuple[str, int]
LAYOUT = Layout(2 * (BLOCK + 2) * SLOTS, 5, 16, 4)
"""Two blocks; the second has unused slots."""


@pytest.fixture(scope="module")
def cohort(study_key: StudyKey) -> Federation:
    return Federation(LAYOUT, named(4), study_key)


@pytest.fixture(scope="module")
def honest(cohort: Federation) -> bytes:
    return cohort.honest()


def begin(cohort: Federation) -> Opening:
    return Opening(cohort.layout, cohort=cohort.sites, context=CONTEXT, study_key=cohort.study_key)


def decrypted(cohort: Federation, aggregate: bytes) -> Opening:
    opening = begin(cohort)
    opening.decrypt(lambda start, stop: aggregate[start:stop], 1)
    return opening


def replace_first(aggregate: bytes, part: int, first: np.ndarray[Any, Any]) -> bytes:
    """Another first polynomial in one ciphertext, with the seeds as they were."""
    start = part * LAYOUT.cipher.compute_sum_bytes(4)
    polynomial = pack_polynomial(first.astype(np.uint64))
    return aggregate[:start] + polynomial + aggregate[start + POLYNOMIAL_BYTES :]


@contextmanager
def recorded() -> Iterator[list[Step]]:
    """Every line of ours that runs, in order."""
    steps: list[Step] = []

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        if "/privacy/" not in (name := frame.f_code.co_filename):
            return None
        if event == "line":
            steps.append((name, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield steps
    finally:
        sys.settrace(before)


def test_every_step_of_decrypting_is_the_same_whatever_is_decrypted(cohort: Federation, honest: bytes) -> None:
    """An honest sum, one of which nothing holds, and one whose count alone is wrong: the same lines in the same order.

    A coordinator that sends chosen ciphertexts, and not the aggregate that it named, sees how fast a site takes them.
    """
    generator, altered = np.random.default_rng(0), honest
    for part in range(LAYOUT.parts):
        altered = replace_first(altered, part, generator.integers(0, COEFFICIENT_MODULUS, SLOTS))
    nothing = replace_first(honest, 0, np.zeros(SLOTS))
    decrypted(cohort, honest)  # what is computed once is computed
    taken = []
    for aggregate in (honest, altered, nothing):
        with recorded() as steps:
            decrypted(cohort, aggregate)
        taken.append(steps)
    assert len(taken[0]) > 1000
    assert taken[0] == taken[1] == taken[2]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, LAYOUT.parts - 1), st.integers(0, 2**32))
def test_altered_aggregate_is_refused_when_it_is_accepted_and_not_before(
    cohort: Federation, honest: bytes, part: int, seed: int
) -> None:
    first = np.random.default_rng(seed).integers(0, COEFFICIENT_MODULUS, SLOTS)
    altered = replace_first(honest, part, first)
    opening = decrypted(cohort, altered)
    with pytest.raises(SealingError) as refused:
        opening.accept()
    with pytest.raises(SealingError) as at_once:
        cohort.open(altered)
    assert str(refused.value) == str(at_once.value)


def test_opening_is_of_its_own_layout_cohort_context_and_key_alone(cohort: Federation) -> None:
    opening, mine = begin(cohort), (cohort.layout, cohort.sites, CONTEXT, cohort.study_key)
    assert opening.is_of(*mine)
    others = (Layout(LAYOUT.parameters, 5, 16, 3), named(3), CONTEXT + b".", StudyKey.generate())
    for place, other in enumerate(others):
        inputs = list(mine)
        inputs[place] = other
        assert not opening.is_of(*inputs)  # type: ignore[arg-type]


def test_wiped_opening_holds_no_value_and_opens_nothing(cohort: Federation, honest: bytes) -> None:
    opening = decrypted(cohort, honest)
    values = opening.accept().values
    assert values.any()
    opening.wipe()
    assert not values.any()
    with pytest.raises(SealingError):
        opening.accept()


def test_reader_that_raises_ends_the_decryption(cohort: Federation, honest: bytes) -> None:
    def read(start: int, stop: int) -> bytes:
        if start:
            raise InterruptedError
        return honest[start:stop]

    with pytest.raises(InterruptedError):
        begin(cohort).decrypt(read, 1)
