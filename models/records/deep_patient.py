"""Deep Patient: stacked denoising autoencoders, trained layer by layer without labels, then with a head for the task.

A patient is a vector of codes, drugs, procedures and laboratory values in [0, 1]. The stack and its objectives are
those of ``models/layers/denoising.py``.
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.denoising import MOST_LAYERS, OBJECTIVES, TASK_LAYERS, DenoisingStack


class DeepPatientOptions(Options):
    """The options of ``deep-patient``: the units of each layer, lowest first, and the part of the features set to 0."""

    hidden: tuple[Units, ...] = Field(default=(500, 500, 500), min_length=1, max_length=MOST_LAYERS)
    corruption: float = Field(default=0.05, ge=0, lt=1)


class DeepPatient(DenoisingStack):
    """A stack of denoising autoencoders on one vector of a patient."""

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the outputs of ``features`` (records, features), or the loss of the layer that is pre-trained."""
        return self.compute(inputs["features"])


def build(options: DeepPatientOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepPatient:
    """Build the stack for ``features`` numbers in [0, 1]."""
    return DeepPatient(sizes["features"], options.hidden, options.corruption, outputs)


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
    objectives=OBJECTIVES,
    task_layers=TASK_LAYERS,
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
