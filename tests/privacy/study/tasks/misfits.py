"""Contracts with one tensor of every kind, for what tasks say of data that do not suit them."""

from typing import Any

from pydantic import TypeAdapter

from privacy.study.data.arrays import ArraysContract
from privacy.study.tasks.kinds import AnyTask

_TASKS: TypeAdapter[Any] = TypeAdapter(AnyTask)

CONTRACT = ArraysContract.model_validate(
    {
        "kind": "arrays",
        "name": "ward",
        "ranges_from": "a textbook",
        "inputs": [
            {"type": "number", "name": "image", "shape": (8, 6), "low": 0, "high": 255},
            {"type": "number", "name": "signed", "shape": (8, 6), "low": -5, "high": 5, "scaled": "signed"},
            {"type": "flag", "name": "observed", "shape": (8, 6)},
            {"type": "flag", "name": "few", "shape": (3,)},
        ],
        "targets": [
            {"type": "id", "name": "grade", "values": 5},
            {"type": "id", "name": "words", "values": 5000},
            {"type": "id", "name": "organs", "shape": (4, 8, 6), "values": 4},
            {"type": "id", "name": "lesion", "shape": (8, 6), "values": 2},
            {"type": "flag", "name": "codes", "shape": (7,)},
            {"type": "flag", "name": "vessel", "shape": (8, 6)},
            {"type": "flag", "name": "many", "shape": (20_000,)},
            {"type": "number", "name": "age", "low": 0, "high": 120},
        ],
    }
)


def make_terms(kind: str, **fields: Any) -> Any:
    """Parse the part ``task`` of terms as a study file has it."""
    return _TASKS.validate_python({"kind": kind, **fields})


def describe_misfit(kind: str, **fields: Any) -> str:
    """Return the misfit of terms that do not suit the data."""
    misfit = make_terms(kind, **fields).find_misfit(CONTRACT)
    assert misfit is not None
    return str(misfit)
