"""Stacked autoencoders over a protein's profile, and a head that reads their features beside a drug's fingerprint.

Layer k of the stack learns to restore what the layers below it give, without labels, under the objective ``layer-k``
(``models/layers/denoising.py``; nothing is corrupted by default). Then the head learns the task, and
the encoders with it. No code was published, and the sizes are ours.

A "patient" is the drug of a company, with all its pairs: epsilon protects that drug and what it binds, and no person.
Pre-training reads only the proteins of the pairs. Each of them is public; that a drug was tried on them is not, so that
these rounds are paid for as well.
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.denoising import MOST_LAYERS, OBJECTIVES, TASK_LAYERS, DenoisingStack


class DtiSaeOptions(Options):
    """The options of ``dti-sae``.

    Attributes:
        hidden: features of each layer of the stack, lowest first.
        corruption: the part of a layer's numbers that is set to zero while it is pre-trained.
    """

    hidden: tuple[Units, ...] = Field(default=(256, 128, 64), min_length=1, max_length=MOST_LAYERS)
    corruption: float = Field(default=0.0, ge=0, lt=1)


class DtiSae(DenoisingStack):
    """A stack over the profile, and a linear head over its features and the fingerprint."""

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the outputs of ``fingerprint`` and ``profile``, or the loss of the layer that is pre-trained.

        Both inputs are (records, their features); the outputs are (records, *outputs).
        """
        return self.compute(inputs["profile"], inputs["fingerprint"])


def build(options: DtiSaeOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DtiSae:
    """Build the stack for ``profile_numbers`` in [0, 1], and the head."""
    return DtiSae(sizes["profile_numbers"], options.hidden, options.corruption, outputs, sizes["substructures"])


# the products of 20 columns of a profile with each other; 881 substructures
_PAPER: Final = {"substructures": 881, "profile_numbers": 400}
_EXAMPLE: Final = {"substructures": 10, "profile_numbers": 12}

MODEL: Final = ModelEntry(
    title="Stacked autoencoder of drug-protein interactions",
    domain="drugs",
    rate=8.0,
    options=DtiSaeOptions,
    build=build,
    tasks=("binary", "multiclass"),
    inputs=(
        Input("fingerprint", "number", ("substructures",), "substructures of the drug, or other numbers of it"),
        Input("profile", "number", ("profile_numbers",), "numbers of the protein, each in [0, 1]"),
    ),
    citation="Wang, You, Chen, Xia, Liu, Yan, Zhou and Song 2018, A computational-based method for predicting "
    "drug-target interactions by using stacked autoencoder deep neural network, Journal of Computational Biology "
    "25(3):361-373",
    presets={"paper": DtiSaeOptions(), "small": DtiSaeOptions(hidden=(8,))},
    # 143,808 in the encoders, 144,144 in the decoders, and the head's 1,892
    counts=(Count("paper", _PAPER, (2,), 289_844), Count("small", _EXAMPLE, (), 231)),
    example=_EXAMPLE,
    objectives=OBJECTIVES,
    task_layers=TASK_LAYERS,
    replaced=(
        Replacement(
            paper="a rotation forest on the features and the fingerprint",
            here="a linear head, trained together with the encoders",
            why="the principal components and splits of a forest are no sums over drugs, so that no drug's part in "
            "them can be bounded by clipping",
        ),
        Replacement(
            paper="profiles of how each position of a protein varies, from a database of sequences",
            here="any public description of the protein",
            why="this program has no such database; this is not for privacy",
        ),
        Replacement(
            paper="pairs of a drug and a protein are drawn one by one",
            here="all pairs of a drug are its records, and are clipped together",
            why="a drug is in many pairs: protecting a pair would not protect the drug",
        ),
    ),
)
