"""Drug classes: a perceptron tells what a drug is for, from how cells answer to it.

The inputs are the expression of landmark genes after a dose, or the activity of pathways that is computed from it; a
drug has a record for each cell line, dose and time that it was tried in.

A patient here is a drug, with all its records: epsilon protects whether a company's drug was learned from. Drugs of
training and of tests must be different ones: two samples of one drug are told apart from all others by their plate,
and their class is known then without any pharmacology. The widths and the dropout of ``paper`` could not be verified.
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.dense import list_hidden_layers
from models.layers.heads import count_outputs, shape_outputs


class DrugClassMlpOptions(Options):
    """The options of ``drug-class-mlp``: the units of each hidden layer, and their dropout in training."""

    hidden: tuple[Units, ...] = Field(default=(200, 200, 200), min_length=1, max_length=8)
    dropout: float = Field(default=0.2, ge=0, lt=1)


class DrugClassMlp(nn.Module):
    """Hidden layers of rectifiers with dropout, and a linear layer."""

    draws_randomly = True

    def __init__(self, options: DrugClassMlpOptions, features: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        layers = list_hidden_layers((features, *options.hidden), options.dropout)
        self.layers = nn.Sequential(*layers, nn.Linear(options.hidden[-1], count_outputs(outputs)))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``features`` (records, features); (records, *outputs)."""
        return shape_outputs(self.layers(inputs["features"]), self._outputs)


def build(options: DrugClassMlpOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DrugClassMlp:
    """Build the perceptron for ``features`` numbers."""
    return DrugClassMlp(options, sizes["features"], outputs)


MODEL: Final = ModelEntry(
    title="Drug classes from what drugs do to cells",
    domain="drugs",
    options=DrugClassMlpOptions,
    build=build,
    tasks=("multiclass", "binary", "multilabel"),
    inputs=(
        Input("features", "number", ("features",), "what the drug does to genes or pathways, or its fingerprint"),
    ),
    citation="Aliper, Plis, Artemov, Ulloa, Mamoshina and Zhavoronkov 2016, Deep learning applications for predicting "
    "pharmacological properties of drugs and drug repurposing using transcriptomic data, Molecular Pharmaceutics "
    "13(7):2524-2530",
    repository="https://github.com/alvarouc/mlp",
    presets={"paper": DrugClassMlpOptions(), "small": DrugClassMlpOptions(hidden=(12,), dropout=0.0)},
    # 977 landmark genes, or 271 pathways, and twelve classes
    counts=(
        Count("paper", {"features": 977}, (12,), 278_412),
        Count("paper", {"features": 271}, (12,), 137_212),
        Count("small", {"features": 20}, (3,), 291),
    ),
    example={"features": 20},
    replaced=(
        Replacement(
            paper="each sample of a drug is an example",
            here="all samples of a drug are its records, clipped together, and no drug is in two of the files",
            why="a drug has dozens of samples: hiding one would not hide the drug",
        ),
        Replacement(
            paper="training stops by a tenth of the samples that is set aside",
            here="a number of rounds that is fixed in advance, or an evaluation that is paid for",
            why="when training stops tells something of the drugs it was stopped by",
        ),
        Replacement(
            paper="Adadelta",
            here="the study's step rule",
            why="not because of privacy: any rule over noised gradients is private",
        ),
    ),
)
