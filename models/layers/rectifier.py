"""Layers whose outputs go through a rectifier, and which therefore begin with wider weights."""

import math
from typing import ClassVar

from torch import nn


class ConvolutionBeforeRectifier(nn.Conv1d):
    """A convolution that begins wider than others (``models/parameters/initial.py``).

    A rectifier keeps half of what differs between records, and usual first values a third of that: after three such
    layers all pairs look alike. The factor makes up for both (He et al. 2015, Delving deep into rectifiers).
    """

    initial_gain: ClassVar[float] = math.sqrt(6)


class LinearBeforeRectifier(nn.Linear):
    """A linear layer that begins as wide as :class:`ConvolutionBeforeRectifier`, for the same reason."""

    initial_gain: ClassVar[float] = ConvolutionBeforeRectifier.initial_gain
