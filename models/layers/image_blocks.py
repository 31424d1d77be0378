"""Blocks of image models: a convolution, a norm within the record, an activation.

Rules:

* no batch normalisation; ``norm: group`` is group normalisation (Wu and He 2018), which stays within a record;
* there are 8 groups, or as many as divide the channels; a group has at least two channels if there are two, because a
  group of one value would be normalised to nothing;
* activations are never in place, because a layer's input is needed for its gradients.
"""

import math
from typing import Final, Literal

from torch import nn

from models.entry import Sizes
from models.errors import ModelError

Activation = Literal["relu", "elu", "tanh"]
Norm = Literal["none", "group"]

_ACTIVATIONS: Final[dict[str, type[nn.Module]]] = {"relu": nn.ReLU, "elu": nn.ELU, "tanh": nn.Tanh}
_GROUPS: Final = 8


def require_sides(who: str, sizes: Sizes, least: int, advice: str) -> None:
    """Refuse images that are too small.

    Args:
        who: needs them: the model, and the options that say how large they must be.
        sizes: of the inputs.
        least: pixels of height and of width.
        advice: what to do, for the message.

    Raises:
        ModelError: height or width is below ``least``.
    """
    for axis in ("height", "width"):
        if sizes[axis] < least:
            raise ModelError(f"{who} expects a {axis} of at least {least}, got {sizes[axis]}; {advice}")


def make_activation(name: Activation) -> nn.Module:
    """Make the activation of an option; ``relu`` is rarely the best one under clipping and noise."""
    return _ACTIVATIONS[name]()


def list_after_convolution(channels: int, activation: Activation, norm: Norm) -> list[nn.Module]:
    """List what follows a convolution of ``channels`` channels: the norm, if there is one, and the activation."""
    return [*list_norm(channels, norm), make_activation(activation)]


def list_norm(channels: int, norm: Norm) -> list[nn.Module]:
    """List the norm of ``channels`` channels; nothing if there is none."""
    return [nn.GroupNorm(count_groups(channels), channels)] if norm == "group" else []


def make_block(
    channels: int, filters: int, activation: Activation, norm: Norm = "none", padding: int = 1, stride: int = 1
) -> nn.Sequential:
    """Make a 3x3 convolution with its norm and activation; ``padding`` 1 keeps height and width, 0 takes 2 of each."""
    convolution = nn.Conv2d(channels, filters, 3, stride=stride, padding=padding)
    return nn.Sequential(convolution, *list_after_convolution(filters, activation, norm))


def make_doubling_block(channels: int, filters: int, activation: Activation, norm: Norm = "none") -> nn.Sequential:
    """Make a transposed 4x4 convolution that doubles height and width, with its norm and activation."""
    convolution = nn.ConvTranspose2d(channels, filters, 4, stride=2, padding=1)
    return nn.Sequential(convolution, *list_after_convolution(filters, activation, norm))


def count_groups(channels: int) -> int:
    """Return the number of groups for ``channels`` channels.

    >>> [count_groups(channels) for channels in (1, 2, 4, 8, 12, 64)]
    [1, 1, 2, 4, 4, 8]
    """
    groups = math.gcd(_GROUPS, channels)
    return max(1, groups // 2) if groups == channels else groups
