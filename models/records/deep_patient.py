"""Deep Patient: stacked denoising autoencoders, trained layer by layer without labels, then with a head for the task.

A patient is a vector of codes, drugs, procedures and laboratory values in [0, 1]. Layer k learns to restore the
features of the layers below it from a copy in which some were set to zero: objective ``layer-k``. The objective
``task`` trains all encoders together with a linear head on the highest features.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs
from models.layers.sigmoid import LinearBeforeSigmoid

LAYERS: Final = 3
"""The most layers, which are the paper's."""
_PRE_TRAINING: Final = tuple(f"layer-{place + 1}" for place in range(LAYERS))


class DeepPatientOptions(Options):
    """The options of ``deep-patient``: the units of each layer, lowest first, and the part of the features set to 0."""

    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(
        default=(500, 500, 500), min_length=1, max_length=LAYERS
    )
    corruption: float = Field(default=0.05, ge=0, lt=1)


class DenoisingAutoencoder(nn.Module):
    """A sigmoid encoder and a decoder with weights of its own.

    Args:
        features: how many it encodes.
        units: how many features it gives.
        corruption: the part of the features that is set to zero in training.
    """

    def __init__(self, features: int, units: int, corruption: float) -> None:
        super().__init__()
        self.encoder = LinearBeforeSigmoid(features, units)
        self.decoder = nn.Linear(units, features)
        self._corruption = corruption

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Encode ``values`` (records, features); (records, units), in (0, 1)."""
        return torch.sigmoid(self.encoder(values))

    def compute_losses(self, values: torch.Tensor) -> torch.Tensor:
        """Compute the cross-entropy between ``values`` (records, features) and their restoration; (records,).

        It is the mean over the features.
        """
        corrupted = values
        if self.training:
            corrupted = values * (torch.rand_like(values) >= self._corruption)
        restored = self.decoder(self(corrupted))
        return functional.binary_cross_entropy_with_logits(restored, values, reduction="none").mean(1)


class DeepPatient(nn.Module):
    """A stack of denoising autoencoders, and a head."""

    objective: str = "task"
    draws_randomly = True

    def __init__(self, options: DeepPatientOptions, features: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        widths = (features, *options.hidden)
        self.autoencoders = nn.ModuleList(
            DenoisingAutoencoder(below, units, options.corruption) for below, units in pairwise(widths)
        )
        self.head = nn.Linear(widths[-1], count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the outputs of ``features`` (records, features), or the loss of the layer that is pre-trained."""
        values = inputs["features"]
        if self.objective == "task":
            return shape_outputs(self.head(self.encode(values, len(self.autoencoders))), self._outputs)
        place = _PRE_TRAINING.index(self.objective)
        if place >= len(self.autoencoders):
            raise ModelError(f"objective {self.objective}: the model has {len(self.autoencoders)} layers")
        autoencoder = self.autoencoders[place]
        assert isinstance(autoencoder, DenoisingAutoencoder)
        # the layers below are not trained again
        return {"own_loss": autoencoder.compute_losses(self.encode(values, place).detach())}

    def encode(self, values: torch.Tensor, layers: int) -> torch.Tensor:
        """Encode ``values`` (records, features) by the lowest ``layers`` layers; (records, units)."""
        for autoencoder in list(self.autoencoders)[:layers]:
            values = autoencoder(values)
        return values


def build(options: DeepPatientOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepPatient:
    """Build the stack for ``features`` numbers in [0, 1]."""
    return DeepPatient(options, sizes["features"], outputs)


MODEL: Final = ModelEntry(
    title="Deep Patient: stacked denoising autoencoders",
    domain="records",
    options=DeepPatientOptions,
    build=build,
    tasks=("binary", "multiclass", "multilabel"),
    inputs=(Input("features", "number", ("features",), "what is recorded of the patient, each in [0, 1]"),),
    citation="Miotto, Li, Kidd and Dudley 2016, Deep Patient: an unsupervised representation to predict the future of "
    "patients from the electronic health records, Scientific Reports 6:26094",
    presets={"paper": DeepPatientOptions(), "small": DeepPatientOptions(hidden=(16,))},
    # the paper's 41,072 descriptors and 78 diseases: 21,037,500 in the encoders, 21,078,072 in the decoders, and the
    # head's 39,078
    counts=(
        Count("paper", {"features": 41_072}, (78,), 42_154_650),
        Count("small", {"features": 20}, (), 693),
    ),
    example={"features": 20},
    objectives={name: (f"autoencoders.{place}",) for place, name in enumerate(_PRE_TRAINING)},
    task_layers=(*(f"autoencoders.{place}.encoder" for place in range(len(_PRE_TRAINING))), "head"),
    figures="AUROC 0.773, the mean over 78 diseases in 76,214 test patients, after pre-training on 704,587 patients of "
    "one hospital, with a random forest on the features (Miotto et al. 2016)",
    replaced=(
        Replacement(
            paper="a random forest on the highest features",
            here="a linear head, trained together with the encoders",
            why="a forest's splits are no sum over patients, so that no patient's part in them can be bounded by "
            "clipping",
        ),
        Replacement(
            paper="41,072 descriptors",
            here="any number; a few hundred or thousand grouped codes suit privacy better",
            why="every trained parameter gets noise, and the lowest layer has one for each descriptor and unit",
        ),
        Replacement(
            paper="values scaled by the smallest and largest value of the cohort",
            here="values scaled by the public ranges of the data contract",
            why="a cohort's smallest and largest value are records of single patients",
        ),
    ),
)
