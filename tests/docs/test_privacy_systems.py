"""The measured tables of the privacy systems are what was measured, and of what the benchmark measures now."""

import json

import pytest

from benchmarks.privacy_systems_accuracy import ROWS
from benchmarks.privacy_systems_order import EPSILONS, WAYS, describe, make_terms
from benchmarks.privacy_systems_studies import ROUNDS
from tests.docs.privacy_systems import ACCURACY, ORDER, PAGE, page


def test_table_is_what_was_measured() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.docs.privacy_systems"


def test_accuracy_is_of_the_ways_that_are_measured_at_their_epsilons() -> None:
    stored = json.loads(ACCURACY.read_text(encoding="utf-8"))["accuracy"]
    assert [(each["system"], each["way"], each["protects"]) for each in stored] == [
        (row.system, row.label, row.protects) for row in ROWS
    ]
    for each, row in zip(stored, ROWS, strict=True):
        epsilon = row.group.list_totals(ROUNDS).get(row.way)
        assert each["epsilon"] == (None if epsilon is None else pytest.approx(epsilon))


def test_order_is_of_the_ways_that_are_measured_with_the_noise_of_their_terms() -> None:
    stored = json.loads(ORDER.read_text(encoding="utf-8"))["order"]
    assert [(each["epsilon"], each["way"]) for each in stored] == [
        (epsilon, way) for epsilon in EPSILONS for way in WAYS
    ]
    for each in stored:
        now = describe(make_terms(each["way"], each["epsilon"], each["learning_rate"]), each["way"])
        assert {name: each[name] for name in now} == {
            name: value if isinstance(value, str) else pytest.approx(value) for name, value in now.items()
        }
