"""An ensemble of deep belief networks, one for each region of an image, that vote on its label.

Layer k of all networks is pre-trained together, by contrastive divergence, under the objective ``layer-k``. Then every
network has a linear layer for the label, and all of them are trained by the loss of their vote:

=================  ==========================================================================================
``vote``           the outputs
=================  ==========================================================================================
``mean``           those of the mean probability over the regions
``layer``          those of a last linear layer over the outputs of all regions, which learns whom to believe
=================  ==========================================================================================

The widths are ours.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import logsigmoid

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.boltzmann import LAYERS, OBJECTIVES, BoltzmannStack, RegionalBoltzmannMachine
from models.layers.heads import count_outputs, shape_outputs
from models.layers.regions import LinearByRegion


class DbnEnsembleOptions(Options):
    """The options of ``dbn-ensemble``.

    Attributes:
        hidden: units of each layer of a region's network, lowest first.
        gibbs_steps: of the chain in pre-training.
        vote: how the regions' outputs become one.
    """

    hidden: tuple[Units, ...] = Field(default=(64, 32), min_length=1, max_length=LAYERS)
    gibbs_steps: int = Field(default=1, ge=1, le=100)
    vote: Literal["mean", "layer"] = "mean"


class DbnEnsemble(BoltzmannStack):
    """A stack of machines for each region, a vote of each, and what joins the votes."""

    def __init__(self, options: DbnEnsembleOptions, regions: int, voxels: int, outputs: tuple[int, ...]) -> None:
        widths = (voxels, *options.hidden)
        super().__init__(
            (RegionalBoltzmannMachine(regions, below, units) for below, units in pairwise(widths)),
            options.gibbs_steps,
        )
        numbers = count_outputs(outputs)
        self.votes = LinearByRegion(regions, widths[-1], numbers)
        self.joint = nn.Linear(regions * numbers, numbers) if options.vote == "layer" else None
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the outputs of ``regions`` (records, regions, voxels), or the loss of a layer in pre-training."""
        states = inputs["regions"]
        if self.objective != "task":
            return self.compute_own_loss(states)
        outputs = self.votes(self.encode(states, len(self.machines)))  # (records, regions, outputs)
        voted = join_probabilities(outputs) if self.joint is None else self.joint(outputs.flatten(1))
        return shape_outputs(voted, self._outputs)


def join_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return logits of the mean probability over regions, of one label or of classes.

    Args:
        logits: (records, regions, 1) of a label, or (records, regions, classes).

    Returns:
        (records, 1) or (records, classes).
    """
    if logits.shape[2] == 1:
        return logsigmoid(logits).logsumexp(1) - logsigmoid(-logits).logsumexp(1)
    return logits.log_softmax(2).logsumexp(1)


def build(options: DbnEnsembleOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DbnEnsemble:
    """Build a network for each of ``regions``, which have ``voxels`` numbers in [0, 1]."""
    return DbnEnsemble(options, sizes["regions"], sizes["voxels"], outputs)


MODEL: Final = ModelEntry(
    title="Ensemble of deep belief networks over regions",
    domain="imaging",
    options=DbnEnsembleOptions,
    build=build,
    tasks=("binary", "multiclass"),
    inputs=(Input("regions", "number", ("regions", "voxels"), "the voxels of each region of an image, in [0, 1]"),),
    citation="Ortiz, Munilla, Górriz and Ramírez 2016, Ensembles of deep learning architectures for the early "
    "diagnosis of the Alzheimer's disease, International Journal of Neural Systems 26:1650025",
    presets={"paper": DbnEnsembleOptions(), "small": DbnEnsembleOptions(hidden=(6,), vote="layer")},
    counts=(
        Count("paper", {"regions": 8, "voxels": 216}, (), 130_248),
        Count("small", {"regions": 4, "voxels": 9}, (), 309),
    ),
    example={"regions": 4, "voxels": 9},
    objectives={name: (f"machines.{place}",) for place, name in enumerate(OBJECTIVES)},
    task_layers=(*(f"machines.{place}.hidden" for place in range(LAYERS)), "votes", "joint"),
    replaced=(
        Replacement(
            paper="a network for each region, trained alone on the label",
            here="all of them are trained together, by the loss of their vote, and a patient's gradient over all is "
            "clipped once",
            why="a patient is in every network: clipped one by one, each gradient would have to be paid",
        ),
        Replacement(
            paper="also a majority vote, and votes that are weighted by how often a network was right",
            here="the mean probability, or a last layer that is trained with the rest",
            why="how often a network is right on patients is a figure of patients; a majority has no gradient",
        ),
        Replacement(
            paper="the update of contrastive divergence over a batch",
            here="the gradient of a difference of free energies, for every record",
            why="both are equal; this one is a loss of one record, so each patient's part can be clipped",
        ),
        Replacement(
            paper="grey matter in the regions of a public atlas",
            here="any regions that the study's files have",
            why="regions and voxels that were chosen by looking at patients would have to be paid for",
        ),
    ),
)
