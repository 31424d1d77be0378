"""The last step of a model: from the numbers of its last layer to the outputs that the task asks for."""

import math

import torch


def count_outputs(outputs: tuple[int, ...]) -> int:
    """Return how many numbers the last layer must give for each record; 1 for the shape ()."""
    return math.prod(outputs)


def shape_outputs(numbers: torch.Tensor, outputs: tuple[int, ...]) -> torch.Tensor:
    """Arrange ``numbers`` (records, n) as (records, *outputs); () makes it (records,)."""
    return numbers.reshape(numbers.shape[0], *outputs)
