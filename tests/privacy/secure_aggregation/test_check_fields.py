"""The check fields alone (no masks, no encryption): what they accept, and the golden vector."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privacy.key_derivation import KeyPurpose, derive_stream
from privacy.secure_aggregation.check_fields import (
    NO_FORMS,
    Forms,
    add_forms,
    compute_expected_checks,
    compute_linear_forms,
    draw_offsets,
)
from privacy.secure_aggregation.layout import BLOCK
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS, SLOTS
from tests.privacy.secure_aggregation.vectors import generate

KEY, CONTEXT, SITES = bytes(range(32)), b"a round", ["east", "north", "west"]
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "derivation.json").read_text())


def forms_of(slots: list[int], key: bytes = KEY, context: bytes = CONTEXT, block: int = 0) -> Forms:
    return compute_linear_forms(key, context, block, np.array(slots, dtype=np.uint64))


def sealed(slots: list[int], site: str) -> list[int]:
    return [*slots, *compute_expected_checks(forms_of(slots), KEY, CONTEXT, [site])]


VECTORS = {site: sealed([1, 10 * i, (1 << 42) - 1 - i], site) for i, site in enumerate(SITES)}


def holds(names: list[str], cohort: list[str], key: bytes = KEY, context: bytes = CONTEXT, scalar: int = 1) -> bool:
    columns = zip(*(VECTORS[name] for name in names), strict=True)
    *slots, a, b, c = [scalar * sum(column) % PLAIN_MODULUS for column in columns]
    return compute_expected_checks(forms_of(slots, key, context), key, context, cohort) == (a, b, c)


def test_checks_of_the_cohorts_sum_hold() -> None:
    assert holds(SITES, SITES)


@pytest.mark.parametrize(
    "names",
    [["east", "north"], [*SITES, "west"], ["east", "east", "west"], SITES + SITES],
    ids=["left out", "added twice", "one for another", "all twice"],
)
def test_checks_of_another_sum_fail(names: list[str]) -> None:
    assert not holds(names, SITES)


@pytest.mark.parametrize("scalar", [2, 7, PLAIN_MODULUS - 1])
def test_checks_of_a_multiple_fail(scalar: int) -> None:
    assert not holds(SITES, SITES, scalar=scalar)


def test_checks_under_another_context_or_key_fail() -> None:
    assert not holds(SITES, SITES, context=b"another round")
    assert not holds(SITES, SITES, key=bytes(32))


def test_slots_moved_to_another_block_have_other_forms() -> None:
    slots = [1, 2, 3]
    assert len({forms_of(slots, block=block) for block in range(4)}) == 4


def test_forms_of_a_sum_are_the_sum_of_the_forms() -> None:
    generator = np.random.default_rng(2)
    one, other = (generator.integers(0, PLAIN_MODULUS, 10_000, dtype=np.uint64) for _ in range(2))
    both = compute_linear_forms(KEY, CONTEXT, 5, (one + other) % PLAIN_MODULUS)
    assert (
        add_forms(compute_linear_forms(KEY, CONTEXT, 5, one), compute_linear_forms(KEY, CONTEXT, 5, other)) == both
    )
    assert add_forms(both, NO_FORMS) == both


def test_forms_of_a_whole_block_of_the_largest_slots_do_not_overflow() -> None:
    """The oracle computes with Python's integers from the same keystream."""
    slots = np.full(BLOCK * SLOTS, PLAIN_MODULUS - 1, dtype=np.uint64)
    words = derive_stream(KEY, KeyPurpose.CHECK_COEFFICIENTS, CONTEXT, bytes(4)).draw_words(len(slots)).tolist()
    ks = [[word >> 20 * j & 0xFFFFF for word in words] for j in range(3)]
    assert compute_linear_forms(KEY, CONTEXT, 0, slots) == tuple(-sum(k) % PLAIN_MODULUS for k in ks)


def test_forms_match_the_golden_vector() -> None:
    for case in GOLDEN["checks"]:
        key, context = bytes.fromhex(case["check_key"]), bytes.fromhex(case["context"])
        assert list(forms_of(case["slots"], key, context, case["block"])) == case["forms"]
        assert list(draw_offsets(key, context, case["site"])) == case["offsets"]


def test_golden_vector_is_what_the_generator_writes() -> None:
    assert generate.vectors() == GOLDEN
