"""The last step of a model: from the numbers of its last layer to the outputs that the task asks for."""

import math

import torch

from models.entry import Sizes
from models.errors import ModelError


def count_outputs(outputs: tuple[int, ...]) -> int:
    """Return how many numbers the last layer must give for each record; 1 for the shape ()."""
    return math.prod(outputs)


def shape_outputs(numbers: torch.Tensor, outputs: tuple[int, ...]) -> torch.Tensor:
    """Arrange ``numbers`` (records, n) as (records, *outputs); () makes it (records,)."""
    return numbers.reshape(numbers.shape[0], *outputs)


def require_outputs_of_features(name: str, sizes: Sizes, outputs: tuple[int, ...]) -> int:
    """Return the number of features, which a model that restores them gives as outputs.

    Raises:
        ModelError: the task asks for something else than one output a feature; ``name`` is the model's in the message.
    """
    features = sizes["features"]
    if outputs != (features,):
        raise ModelError(
            f"the model '{name}' gives one number for each of the {features} features; the task asks for the shape "
            f"{outputs}"
        )
    return features


def count_intervals(name: str, causes: int, outputs: tuple[int, ...]) -> int:
    """Return the intervals of a survival task, which asks for one number for each cause and interval, and one more.

    Raises:
        ModelError: it asks for another shape; ``name`` is the model's in the message.
    """
    if len(outputs) != 1 or (outputs[0] - 1) % causes or outputs[0] <= 1:
        raise ModelError(
            f"model.options.causes: '{name}' has {causes} causes and needs as many intervals for each of them; the "
            f"task asks for outputs of shape {outputs}; write the task's number of causes"
        )
    return (outputs[0] - 1) // causes
