"""The figures of ``docs/challenges.md`` are those that the benchmark measured."""

import json
from typing import Any

import pytest

from tests.docs.pages import ROOT, rows

RESULTS: dict[str, list[dict[str, Any]]] = json.loads(
    (ROOT / "docs" / "challenges.json").read_text(encoding="utf-8")
)
PAGE = ROOT / "docs" / "challenges.md"
HEADINGS = {
    "Variation and dropout": "few radiographs",
    "Public weights": "few ultrasound images",
    "Several sources": "image and numbers",
}


@pytest.mark.parametrize("heading", HEADINGS)
def test_table_of_a_comparison_is_what_was_measured(heading: str) -> None:
    found = [row for row in RESULTS["ways"] if row["comparison"] == HEADINGS[heading]]
    assert rows(PAGE, heading) == [[row["way"], row["none"], row["epsilon 8"]] for row in found]
    assert {row["figure"] for row in found} == {"AUROC"}


@pytest.mark.parametrize(("heading", "name"), [("Interpretability", "explanations"), ("Privacy", "membership")])
def test_table_of_trust_is_what_was_measured(heading: str, name: str) -> None:
    assert rows(PAGE, heading) == [list(row.values()) for row in RESULTS[name]]


def test_table_of_codes_is_what_was_measured() -> None:
    found = [[row["codes"], row["categories found"], row["of those found, right"]] for row in RESULTS["codes"]]
    assert rows(PAGE, "Codes") == found
