"""Hidden layers of a perceptron: linear, activation, dropout, as often as there are widths."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn


def list_hidden_layers(
    widths: Sequence[int], dropout: float, activation: Callable[[], nn.Module] = nn.ReLU
) -> list[nn.Module]:
    """List a linear layer, an activation and a dropout for each width after the first, which is that of the input."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation(), nn.Dropout(dropout)]
    return layers
