"""What tasks share whose target is one class a record.

A class is an id. There are at most ``MOST_CLASSES``, so that groups of cells, of which some tasks have one for
each class, stay few enough to list before terms are refused for their number.
"""

from typing import Final

from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Ids, describe_tensor
from privacy.study.tasks.task import describe_tensor_misfit

MOST_CLASSES: Final = 1000


def describe_class_misfit(contract: DataContract, name: str) -> str | None:
    """Describe why the tensor ``name`` is not one class a record; None if it is."""
    words = f"an id of 2 to {MOST_CLASSES} values, one a record"
    misfit = describe_tensor_misfit(contract, name, Ids, words)
    if misfit is not None:
        return misfit
    classes = find_classes(contract, name)
    if classes.shape or classes.values > MOST_CLASSES:
        return f"the task needs '{name}' to be {words}; in the data it is {describe_tensor(classes)}"
    return None


def describe_weights_misfit(weights: tuple[float, ...], classes: int, name: str) -> str | None:
    """Describe why ``weights`` are not one for each class of ``name``; None if they are, or there are none."""
    if weights and len(weights) != classes:
        return f"class_weights: expected {classes} weights, one for each class of '{name}', got {len(weights)}"
    return None


def find_classes(contract: DataContract, name: str) -> Ids:
    """Find the ids ``name``, which the contract must have."""
    classes = contract.find_tensor(name)
    assert isinstance(classes, Ids)
    return classes
