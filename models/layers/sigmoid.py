"""Layers whose outputs go through a sigmoid, and which therefore begin with wider weights."""

from typing import ClassVar

from torch import nn


class LinearBeforeSigmoid(nn.Linear):
    """A linear layer that begins four times as wide as others (``models/parameters/initial.py``).

    A sigmoid's slope at 0 is 1/4: with usual first values each layer passes on a quarter of what differs between
    records, and a stack of them tells records apart no more. The factor 4 makes up for it (Bengio and Glorot 2010,
    Understanding the difficulty of training deep feedforward neural networks, compare tanh and sigmoid there).
    """

    initial_gain: ClassVar[float] = 4.0


class ConvolutionBeforeSigmoid(nn.Conv2d):
    """A convolution that begins as wide as :class:`LinearBeforeSigmoid`, for the same reason."""

    initial_gain: ClassVar[float] = LinearBeforeSigmoid.initial_gain
