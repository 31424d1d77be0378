"""A multi-layer perceptron: one logit from the numbers of a record.

Built of linear layers, normalisation within a record, and smooth activations. Nothing mixes records (no batch
normalisation), so the gradient of one record exists; smooth activations keep gradients even, which clipping rewards
(Papernot et al. 2021, "Tempered sigmoid activations for deep learning with differential privacy").
"""

from typing import Final

from torch import nn

from models.layers.heads import OneLogit
from models.tabular.options import MlpOptions

_ACTIVATIONS: Final = {"elu": nn.ELU, "tanh": nn.Tanh}


def build(options: MlpOptions, inputs: int) -> OneLogit:
    """Build a perceptron with the hidden widths of ``options``, first to last, normalised if they say so."""
    layers: list[nn.Module] = []
    width = inputs
    for units in options.hidden:
        layers.append(nn.Linear(width, units))
        if options.norm == "layer":
            layers.append(nn.LayerNorm(units))
        layers.append(_ACTIVATIONS[options.activation]())
        width = units
    return OneLogit(nn.Sequential(*layers, nn.Linear(width, 1)))
