"""A stack of denoising autoencoders on a lesion: its region as a small image, and a few numbers of its size and form.

The region of interest is cut out and resized to 28 by 28 pixels, which loses how large it was and how wide for its
height. So both factors of resizing and the ratio of width to height stand beside the pixels. The stack and its
objectives are those of ``models/layers/denoising.py``: pixels are restored first, without labels; then all encoders
learn the task.
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.denoising import MOST_LAYERS, OBJECTIVES, TASK_LAYERS, DenoisingStack


class LesionSdaeOptions(Options):
    """The options of ``lesion-sdae``: the units of each layer, lowest first, and the part of the numbers set to 0."""

    hidden: tuple[Units, ...] = Field(default=(200, 100), min_length=1, max_length=MOST_LAYERS)
    corruption: float = Field(default=0.5, ge=0, lt=1)


class LesionSdae(DenoisingStack):
    """A stack of denoising autoencoders on pixels and numbers, side by side."""

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the outputs, or the loss of the layer that is pre-trained.

        ``image`` is (records, channels, height, width) and ``features`` (records, features), both in [0, 1].
        """
        return self.compute(torch.cat([inputs["image"].flatten(1), inputs["features"]], dim=1))


def build(options: LesionSdaeOptions, sizes: Sizes, outputs: tuple[int, ...]) -> LesionSdae:
    """Build the stack for all pixels and numbers."""
    numbers = sizes["channels"] * sizes["height"] * sizes["width"] + sizes["features"]
    return LesionSdae(numbers, options.hidden, options.corruption, outputs)


MODEL: Final = ModelEntry(
    title="Stacked denoising autoencoders for lesions",
    domain="imaging",
    rate=0.5,
    options=LesionSdaeOptions,
    build=build,
    tasks=("binary", "multiclass"),
    inputs=(
        Input("image", "number", ("channels", "height", "width"), "the region of a lesion, resized, in [0, 1]"),
        Input("features", "number", ("features",), "numbers of its size and form, in [0, 1]"),
    ),
    citation="Cheng, Ni, Chou, Qin, Tiu, Chang, Huang, Shen and Chen 2016, Computer-aided diagnosis with deep learning "
    "architecture: applications to breast lesions in US images and pulmonary nodules in CT scans, Scientific Reports "
    "6:24454",
    presets={"paper": LesionSdaeOptions(), "small": LesionSdaeOptions(hidden=(8,))},
    # with two outputs, 177,902 of the first are in the encoders and the head: 177,302 of pixels, 600 of three numbers
    counts=(
        Count("paper", {"channels": 1, "height": 28, "width": 28, "features": 3}, (2,), 356_289),
        Count("paper", {"channels": 1, "height": 28, "width": 28, "features": 3}, (), 356_188),
        Count("small", {"channels": 1, "height": 14, "width": 14, "features": 3}, (), 3_400),
    ),
    example={"channels": 1, "height": 8, "width": 8, "features": 3},
    objectives=OBJECTIVES,
    task_layers=TASK_LAYERS,
    replaced=(
        Replacement(
            paper="two sigmoid layers and corrupted pixels, in numbers that were not at hand",
            here="200 and 100 units, and half of the numbers set to zero",
            why="these are common for such regions; this is not for privacy",
        ),
        Replacement(
            paper="each region is an example",
            here="all regions of a patient are averaged into one gradient; data.records_per_patient says how many",
            why="the promise is made to patients, some of whom have several lesions",
        ),
        Replacement(
            paper="pre-training and fine-tuning of as many epochs as are needed",
            here="stages of a fixed number of rounds, paid from one budget",
            why="every step on patients is paid, with labels or without",
        ),
        Replacement(
            paper="hundreds of units",
            here="the same in preset paper; one layer of 8 in preset small",
            why="noise grows with the number of parameters, of which the lowest layer has one for each pixel and unit",
        ),
    ),
)
