"""The check fields alone (no masks, no encryption): what they accept, and the golden vector."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privacy.sealing.checks import LinearForms, expected_checks, offsets
from privacy.sealing.parameters import PLAIN_MODULUS
from tests.privacy.sealing.vectors import generate

KEY, CONTEXT, SITES = bytes(range(32)), b"a round", ["east", "north", "west"]
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "derivation.json").read_text())


def forms_of(slots: list[int], key: bytes = KEY, context: bytes = CONTEXT) -> LinearForms:
    forms = LinearForms(key, context)
    forms.feed(np.array(slots, dtype=np.uint64))
    return forms


def sealed(slots: list[int], site: str) -> list[int]:
    return [*slots, *expected_checks(forms_of(slots), KEY, CONTEXT, [site])]


VECTORS = {site: sealed([1, 10 * i, (1 << 42) - 1 - i], site) for i, site in enumerate(SITES)}


def holds(names: list[str], cohort: list[str], key: bytes = KEY, context: bytes = CONTEXT, scalar: int = 1) -> bool:
    columns = zip(*(VECTORS[name] for name in names), strict=True)
    *slots, a, b, c = [scalar * sum(column) % PLAIN_MODULUS for column in columns]
    return expected_checks(forms_of(slots, key, context), key, context, cohort) == (a, b, c)


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


def test_forms_fed_in_pieces_are_the_same() -> None:
    slots = np.random.default_rng(2).integers(0, PLAIN_MODULUS, 10_000, dtype=np.uint64)
    whole, pieces = LinearForms(KEY, CONTEXT), LinearForms(KEY, CONTEXT)
    whole.feed(slots)
    for start in range(0, 10_000, 777):
        pieces.feed(slots[start : start + 777])
    assert whole.values == pieces.values


def test_forms_match_the_golden_vector() -> None:
    for case in GOLDEN["checks"]:
        key, context = bytes.fromhex(case["check_key"]), bytes.fromhex(case["context"])
        assert list(forms_of(case["slots"], key, context).values) == case["forms"]
        assert list(offsets(key, context, case["site"])) == case["offsets"]


def test_golden_vector_is_what_the_generator_writes() -> None:
    assert generate.vectors() == GOLDEN
