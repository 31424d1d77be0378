"""Contracts of a few named tensors."""

from typing import Any

from privacy.study.data.arrays import ArraysContract


def make_contract(*targets: dict[str, Any]) -> ArraysContract:
    """A contract of these targets, and an input of four numbers, ``features``."""
    features = {"type": "number", "name": "features", "shape": [4], "low": 0, "high": 1}
    return ArraysContract.model_validate(
        {"kind": "arrays", "name": "people", "ranges_from": "a test", "inputs": [features], "targets": targets}
    )
