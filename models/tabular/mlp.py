"""A multi-layer perceptron: one logit from the numbers of a record.

Rules:

* no layer mixes records (no batch normalisation), so that every record has its own gradient;
* normalisation is within a record;
* activations are smooth: gradients then vary less in length, so that clipping changes them less.

Source: Papernot et al. 2021, "Tempered sigmoid activations for deep learning with differential privacy".
"""

from typing import Final

from torch import nn

from models.layers.heads import OneLogit
from models.tabular.options import MlpOptions

_ACTIVATIONS: Final = {"elu": nn.ELU, "tanh": nn.Tanh}


def build(options: MlpOptions, inputs: int) -> OneLogit:
    """Build a perceptron with the hidden widths of ``options``, first to last, and their norm and activation."""
    layers: list[nn.Module] = []
    width = inputs
    for units in options.hidden:
        layers.append(nn.Linear(width, units))
        if options.norm == "layer":
            layers.append(nn.LayerNorm(units))
        layers.append(_ACTIVATIONS[options.activation]())
        width = units
    return OneLogit(nn.Sequential(*layers, nn.Linear(width, 1)))
