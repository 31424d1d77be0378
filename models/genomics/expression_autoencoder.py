"""A sparse autoencoder of gene expression with four hidden layers, which are first trained one after the other.

::

    h0          = features, in [0, 1]
    h1 ... h4   = sigmoid(E h + e), the encoders; h4 is the code
    g4 = h4,  g3 ... g1 = sigmoid(D g + d), the decoders; the lowest one gives the logits of the features

The objective ``layer-k`` trains encoder and decoder k to restore, from h_k, what the layers below give. The task then
trains all of them to restore the features: write ``loss: cross-entropy``, which takes logits. In every stage few units
should be active at once, in the mean over the units of a layer (``models/layers/sparsity.py``).

:meth:`ExpressionAutoencoder.list_genes` names the genes that turn on a unit of the first layer; the paper finds that
many of its units are transcription factors. It reads released weights, so it costs no privacy.

A record is a sample. Several samples of a patient are averaged into one gradient, so that epsilon protects the patient.

The paper says how many layers there are, and chose their widths by trying; the widths here are ours.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.errors import ModelError
from models.layers.heads import require_outputs_of_features
from models.layers.sigmoid import LinearBeforeSigmoid
from models.layers.sparsity import compute_penalties, compute_sparse_losses

_NAME: Final = "expression-autoencoder"
_LAYERS: Final = 4
_OBJECTIVES: Final = tuple(f"layer-{place + 1}" for place in range(_LAYERS))


class ExpressionAutoencoderOptions(Options):
    """The options of ``expression-autoencoder``.

    Attributes:
        hidden: units of each hidden layer, lowest first; the last one is the code.
        activity: rho, the mean activation that the units of a layer should have.
        sparsity: how much the penalty of other activations counts.
    """

    hidden: tuple[Units, ...] = Field(default=(200, 100, 50, 25), min_length=1, max_length=_LAYERS)
    activity: float = Field(default=0.1, gt=0, lt=1)
    sparsity: float = Field(default=0.01, ge=0, le=100)


class SparseLayer(nn.Module):
    """One hidden layer: a sigmoid encoder, and a decoder with weights of its own."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.encoder = LinearBeforeSigmoid(features, units)
        self.decoder = LinearBeforeSigmoid(units, features)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Encode ``values`` (records, features); (records, units), in (0, 1)."""
        return torch.sigmoid(self.encoder(values))


class ExpressionAutoencoder(nn.Module):
    """The layers, one on top of the other."""

    objective: str = "task"

    def __init__(self, options: ExpressionAutoencoderOptions, features: int) -> None:
        super().__init__()
        self.autoencoders = nn.ModuleList(
            SparseLayer(below, units) for below, units in pairwise((features, *options.hidden))
        )
        self._activity, self._sparsity = options.activity, options.sparsity

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the logits of ``features`` (records, features) and the penalty, or the loss of a layer.

        Raises:
            ModelError: the objective is that of a layer which is not there.
        """
        features = inputs["features"]
        if self.objective != "task":
            return {"own_loss": self._compute_loss_of_layer(features, _OBJECTIVES.index(self.objective))}
        states, penalty = features, features.new_zeros(features.shape[0])
        for layer in self._list_layers():
            states = layer(states)
            penalty = penalty + compute_penalties(states.mean(1, keepdim=True), self._activity)
        lowest, *others = self._list_layers()
        for layer in reversed(others):
            states = torch.sigmoid(layer.decoder(states))
        return {"outputs": lowest.decoder(states), "own_loss": self._sparsity * penalty}

    def encode(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the code; (records, units), in (0, 1)."""
        return self._encode(inputs["features"], len(self.autoencoders))

    @torch.no_grad()
    def list_genes(self, most: int) -> torch.Tensor:
        """List the genes that turn on each unit of the first layer, by their largest weights; (units, most)."""
        found: torch.Tensor = self._list_layers()[0].encoder.weight.topk(most, dim=1).indices
        return found

    def _compute_loss_of_layer(self, features: torch.Tensor, place: int) -> torch.Tensor:
        if place >= len(self.autoencoders):
            raise ModelError(f"objective {self.objective}: the model has {len(self.autoencoders)} layers")
        layer = self._list_layers()[place]
        below = self._encode(features, place).detach()  # the layers below are not trained again
        states = layer(below)
        restored = torch.sigmoid(layer.decoder(states))
        means = states.mean(1, keepdim=True)
        return compute_sparse_losses(below, restored, means, self._activity, self._sparsity)

    def _encode(self, states: torch.Tensor, layers: int) -> torch.Tensor:
        for layer in self._list_layers()[:layers]:
            states = layer(states)
        return states

    def _list_layers(self) -> list[SparseLayer]:
        return [each for each in self.autoencoders if isinstance(each, SparseLayer)]


def build(options: ExpressionAutoencoderOptions, sizes: Sizes, outputs: tuple[int, ...]) -> ExpressionAutoencoder:
    """Build the autoencoder for ``features`` genes.

    Raises:
        ModelError: the task asks for something else than one output a gene.
    """
    return ExpressionAutoencoder(options, require_outputs_of_features(_NAME, sizes, outputs))


MODEL: Final = ModelEntry(
    title="Sparse autoencoder of gene expression",
    domain="genomics",
    options=ExpressionAutoencoderOptions,
    build=build,
    tasks=("reconstruction",),
    inputs=(Input("features", "number", ("features",), "the expression of each gene, scaled to [0, 1]"),),
    citation="Chen, Cai, Chen and Lu 2016, Learning a hierarchical representation of the yeast transcriptomic "
    "machinery using an autoencoder model, BMC Bioinformatics 17:S9",
    presets={
        "paper": ExpressionAutoencoderOptions(),
        "small": ExpressionAutoencoderOptions(hidden=(64, 32, 16, 8)),
    },
    counts=(
        Count("paper", {"features": 2_000}, (2_000,), 855_225),
        Count("small", {"features": 400}, (400,), 57_208),
    ),
    example={"features": 20},
    objectives={name: (f"autoencoders.{place}",) for place, name in enumerate(_OBJECTIVES)},
    replaced=(
        Replacement(
            paper="the penalty compares each unit's mean activation over all samples with rho",
            here="the mean activation over a layer's units in one sample",
            why="a mean over samples couples them: no sample's part in it can be clipped",
        ),
        Replacement(
            paper="each layer is first trained as a restricted Boltzmann machine or an autoencoder, until it is good",
            here="as an autoencoder, in stages of a fixed number of rounds, paid from one budget",
            why="every step on patients is paid, and how good a layer is would be read from patients",
        ),
        Replacement(
            paper="sizes chosen by comparing many models on the data",
            here="sizes that the study names",
            why="every comparison on patients is paid too",
        ),
    ),
)
