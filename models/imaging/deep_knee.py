"""DeepKnee: a Siamese network that grades osteoarthritis from the two sides of a knee's joint.

The lateral patch and the mirrored medial one go through one branch, with the same weights; a linear layer reads the
features of both, side by side. Mirroring makes the joint's edge face the same way in both patches.

=====================  ==========================================================================================
of the branch          what it does
=====================  ==========================================================================================
first level            3 convolutions to w filters, the first one with stride 2, then the maximum of 2x2 pixels
second level           2 convolutions to 2 w filters, then the maximum of 2x2 pixels
third level            1 convolution to 4 w filters, then the mean of each map
=====================  ==========================================================================================

No convolution has padding: a patch of 128 pixels is 63, 61, 59 pixels wide, then 27, 25, then 10.
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs
from models.layers.image_blocks import Activation, Norm, make_block, require_sides

_NAME: Final = "deep-knee"
_PATCHES: Final = 2  # lateral and medial
_LEAST: Final = 49  # pixels of a patch, of which the last convolution leaves one


class DeepKneeOptions(Options):
    """The options of ``deep-knee``.

    Attributes:
        filters: w, of the branch's first level; the second has twice as many, the third four times.
        norm: after each convolution.
        activation: after each convolution.
        dropout: the share of both branches' features that is dropped in training.
    """

    filters: int = Field(default=32, ge=1, le=256)
    norm: Norm = "group"
    activation: Activation = "relu"
    dropout: float = Field(default=0.2, ge=0, le=0.9)


class DeepKnee(nn.Module):
    """One branch for both patches, and a linear layer."""

    def __init__(self, options: DeepKneeOptions, outputs: tuple[int, ...]) -> None:
        super().__init__()
        width = options.filters
        self.branch = nn.Sequential(
            make_block(1, width, options.activation, options.norm, padding=0, stride=2),
            make_block(width, width, options.activation, options.norm, padding=0),
            make_block(width, width, options.activation, options.norm, padding=0),
            nn.MaxPool2d(2),
            make_block(width, 2 * width, options.activation, options.norm, padding=0),
            make_block(2 * width, 2 * width, options.activation, options.norm, padding=0),
            nn.MaxPool2d(2),
            make_block(2 * width, 4 * width, options.activation, options.norm, padding=0),
        )
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(_PATCHES * 4 * width, count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``patches`` (records, 2, height, width), lateral and medial; (records, *outputs)."""
        patches = inputs["patches"]
        maps = self.branch(patches.flatten(0, 1)[:, None])  # (records * 2, 4 w, height, width)
        features = maps.mean((2, 3)).reshape(patches.shape[0], -1)  # (records, 2 * 4 w)
        return shape_outputs(self.head(self.dropout(features)), self._outputs)


def build(options: DeepKneeOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepKnee:
    """Build the network for patches of ``sizes``.

    Raises:
        ModelError: nothing of a patch would be left after the last convolution.
    """
    require_sides(f"the model '{_NAME}'", sizes, _LEAST, "take larger patches")
    return DeepKnee(options, outputs)


MODEL: Final = ModelEntry(
    title="DeepKnee: Siamese network for knee osteoarthritis",
    domain="imaging",
    options=DeepKneeOptions,
    build=build,
    tasks=("ordinal", "multiclass"),
    inputs=(
        Input(
            "patches",
            "number",
            (_PATCHES, "height", "width"),
            "the lateral side of the joint in a radiograph, and the medial side, mirrored",
        ),
    ),
    citation="Tiulpin, Thevenot, Rahtu, Lehenkari and Saarakkala 2018, Automatic knee osteoarthritis diagnosis from "
    "plain radiographs: a deep learning-based approach, Scientific Reports 8:1727",
    repository="https://github.com/Oulu-IMEDS/DeepKnee",
    presets={
        "paper": DeepKneeOptions(),
        "released": DeepKneeOptions(filters=64),
        "small": DeepKneeOptions(filters=4, activation="tanh", dropout=0.0),
    },
    # group normalisation has a scale and a shift for each channel, as batch normalisation has
    counts=(
        Count("paper", {"height": 128, "width": 128}, (5,), 150_085),
        Count("paper", {"height": 128, "width": 128}, (4,), 149_828),
        Count("released", {"height": 128, "width": 128}, (5,), 595_077),
        Count("small", {"height": 81, "width": 75}, (4,), 2_604),
    ),
    example={"height": 49, "width": 49},
    figures="Without privacy, trained on the knees of MOST and tested on 5,960 knees of OAI, the paper reports a "
    "quadratic weighted kappa of 0.83 and a mean accuracy over the five grades of 66.7 % (Tiulpin et al. 2018).",
    replaced=(
        Replacement(
            paper="batch normalisation after each convolution",
            here="group normalisation, with as many parameters",
            why="batch normalisation mixes patients",
        ),
        Replacement(
            paper="each knee is an example",
            here="both knees of a patient, and all visits, are averaged into one gradient; data.records_per_patient "
            "says how many",
            why="the promise is made to patients, who have two knees",
        ),
        Replacement(
            paper="knees of the rarer grades drawn more often, until all grades are equal",
            here="knees as they are; with the task multiclass a fixed public weight for each class",
            why="who is drawn must not depend on the grade: privacy is computed for a sampling rate that is the same "
            "for every patient",
        ),
        Replacement(
            paper="cross-entropy of five grades",
            here="the task ordinal, whose outputs say of each grade whether the knee is above it; multiclass is the "
            "paper's",
            why="a grade that is two off is worse than one that is one off, and kappa counts it so; this is not for "
            "privacy",
        ),
        Replacement(
            paper="grey values less their mean over the training knees",
            here="grey values scaled by the public range of the data contract",
            why="a mean of patients is a released figure of them",
        ),
        Replacement(
            paper="rectified linear units and 32 to 64 filters",
            here="the same in presets paper and released; few filters and tanh in preset small",
            why="noise grows with the number of parameters, and bounded activations keep gradients short (Papernot et "
            "al. 2021, Tempered sigmoid activations)",
        ),
    ),
)
