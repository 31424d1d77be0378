"""Logistic regression."""

from torch import nn

from models.layers.heads import OneLogit
from models.tabular.options import LogisticOptions


def build(options: LogisticOptions, inputs: int) -> OneLogit:
    """Build a logistic regression: ``inputs`` weights and a bias."""
    return OneLogit(nn.Sequential(nn.Linear(inputs, 1)))
