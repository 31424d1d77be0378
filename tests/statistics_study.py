"""A small study of statistics over the small study's tables."""

from typing import Any

from benchmarks.small_study import CONTRACT
from privacy.study import Terms, parse_terms

ASKED: dict[str, Any] = {"kind": "statistics", "pairs": [["age", "ill"]], "differences": ["age", "ill"]}


def statistics_terms(contract: dict[str, Any] = CONTRACT, **changes: Any) -> Terms:
    """Terms of a small study of statistics on ``contract``; ``changes`` are merged into its sections."""
    value: dict[str, Any] = {
        "consilium": 1,
        "name": "small-feasibility",
        "purpose": "a test",
        "data": contract,
        "task": ASKED,
        "privacy": {"epsilon": 1, "delta": 1e-3},
        "cohort": {"minimum": 4, "maximum": 8},
    }
    for section, change in changes.items():
        value[section] = {**value.get(section, {}), **change} if isinstance(change, dict) else change
    return parse_terms(value)
