"""DeepDTIs: a deep belief network that tells from a drug's substructures and a protein's composition whether they bind.

Layer k is pre-trained by contrastive divergence, without labels, under the objective ``layer-k``
(``models/layers/boltzmann.py``); then all layers learn the task with a head.

A "patient" is the drug of a company, with all its pairs: epsilon protects that drug and what it binds, and no person.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.boltzmann import LAYERS, OBJECTIVES, BoltzmannMachine, BoltzmannStack
from models.layers.heads import count_outputs, shape_outputs


class DeepDtisOptions(Options):
    """The options of ``deepdtis``: the units of each layer, lowest first, and the steps of the Gibbs chain."""

    hidden: tuple[Units, ...] = Field(default=(2000, 2000, 2000, 2000), min_length=1, max_length=LAYERS)
    gibbs_steps: int = Field(default=1, ge=1, le=100)


class DeepDtis(BoltzmannStack):
    """Boltzmann machines over a drug and a protein side by side, and a head."""

    def __init__(self, options: DeepDtisOptions, features: int, outputs: tuple[int, ...]) -> None:
        widths = (features, *options.hidden)
        super().__init__((BoltzmannMachine(below, units) for below, units in pairwise(widths)), options.gibbs_steps)
        self.head = nn.Linear(widths[-1], count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the outputs of ``fingerprint`` and ``composition``, or the loss of the layer that is pre-trained.

        Both inputs are (records, their features), each number in [0, 1]; the outputs are (records, *outputs).
        """
        states = torch.cat([inputs["fingerprint"], inputs["composition"]], dim=1)
        if self.objective != "task":
            return self.compute_own_loss(states)
        return shape_outputs(self.head(self.encode(states, len(self.machines))), self._outputs)


def build(options: DeepDtisOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepDtis:
    """Build the stack for ``substructures`` of a drug and ``words`` of a protein."""
    return DeepDtis(options, sizes["substructures"] + sizes["words"], outputs)


# three fingerprints of 2,048 bits; 20 amino acids, 400 pairs and 8,000 triples
_PAPER: Final = {"substructures": 6_144, "words": 8_420}
_EXAMPLE: Final = {"substructures": 12, "words": 10}

MODEL: Final = ModelEntry(
    title="DeepDTIs: deep belief network of drug-protein interactions",
    domain="drugs",
    rate=4.0,
    options=DeepDtisOptions,
    build=build,
    tasks=("binary", "multiclass"),
    inputs=(
        Input("fingerprint", "number", ("substructures",), "substructures of the drug, each 0 or 1"),
        Input("composition", "number", ("words",), "how often the protein has each word, scaled to [0, 1]"),
    ),
    citation="Wen, Zhang, Niu, Sha, Yang, Yun and Lu 2017, Deep-learning-based drug-target interaction prediction, "
    "Journal of Proteome Research 16(4):1401-1409",
    repository="https://github.com/Bjoux2/DeepDTIs",
    presets={"paper": DeepDtisOptions(), "small": DeepDtisOptions(hidden=(16,))},
    # 41,140,002 in the classifier, and the visible biases of the four machines, 14,564 + 3 x 2,000
    counts=(Count("paper", _PAPER, (2,), 41_160_566), Count("small", _EXAMPLE, (), 407)),
    example=_EXAMPLE,
    objectives={name: (f"machines.{place}",) for place, name in enumerate(OBJECTIVES)},
    task_layers=(*(f"machines.{place}.hidden" for place in range(LAYERS)), "head"),
    replaced=(
        Replacement(
            paper="pairs of a drug and a protein are drawn one by one",
            here="all pairs of a drug are its records, and are clipped together",
            why="a drug is in many pairs: protecting a pair would not protect the drug",
        ),
        Replacement(
            paper="the update of contrastive divergence over a batch",
            here="the gradient of a difference of free energies, for every record",
            why="both are equal; this one is a loss of one record, so each drug's part can be clipped",
        ),
        Replacement(
            paper="inputs scaled by the smallest and the largest value of the data",
            here="fingerprints, which are 0 or 1, and frequencies, scaled by public factors",
            why="smallest and largest values are those of single drugs",
        ),
        Replacement(
            paper="training goes on while the loss on a validation set falls",
            here="numbers of rounds that are fixed in advance",
            why="when training stops tells something of the drugs it was stopped by",
        ),
    ),
)
