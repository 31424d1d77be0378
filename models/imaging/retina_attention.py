"""Soft attention on fundus photographs: what a risk factor is read from, and where in the photograph.

Blocks of convolution and pooling make maps, each place of which sees a part of the photograph. Every place gets a
score; the softmax of the scores says how much it counts in the mean that a linear layer reads. So the weights show
where the model looked, and are part of what it computes.

The blocks are ours: the paper trains an Inception network of its own for every figure and its map.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs
from models.layers.image_blocks import Activation, Norm, make_block, require_sides

_NAME: Final = "retina-attention"


class RetinaAttentionOptions(Options):
    """The options of ``retina-attention``.

    Attributes:
        filters: of the blocks, first to last; each halves height and width.
        norm: after each convolution.
        activation: after each convolution.
    """

    filters: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(
        default=(16, 32, 64, 64), min_length=1, max_length=8
    )
    norm: Norm = "group"
    activation: Activation = "relu"


class RetinaAttention(nn.Module):
    """Blocks, an attention over the places of their maps, and a linear layer."""

    def __init__(self, options: RetinaAttentionOptions, channels: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for filters in options.filters:
            blocks += [make_block(channels, filters, options.activation, options.norm), nn.MaxPool2d(2)]
            channels = filters
        self.blocks = nn.Sequential(*blocks)
        # a bias would add the same to every score, which the softmax takes away again
        self.scores = nn.Conv2d(channels, 1, 1, bias=False)
        self.head = nn.Linear(channels, count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``image`` (records, channels, height, width); (records, *outputs)."""
        maps, weights = self._attend(inputs["image"])
        return shape_outputs(self.head((maps * weights).sum((2, 3))), self._outputs)

    @torch.no_grad()
    def read_attention(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the weight of every pixel of ``image``, the same in all channels; (records, channels, height, width).

        The weight of a place is spread evenly over the pixels that it stands for; pixels at the lower and right edge
        that no place stands for have the weight 0. A record's weights sum to 1 in each channel.
        """
        image = inputs["image"]
        _, weights = self._attend(image)
        side = 2 ** (len(self.blocks) // 2)  # pixels of a place
        spread = weights.repeat_interleave(side, 2).repeat_interleave(side, 3) / side**2
        short = [whole - found for whole, found in zip(image.shape[2:], spread.shape[2:], strict=True)]
        padded = functional.pad(spread, (0, short[1], 0, short[0]))
        return {"image": padded.expand_as(image)}

    def _attend(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last maps, (records, filters, height, width), and the weight of each of their places."""
        maps = self.blocks(image)
        scores = self.scores(maps)  # (records, 1, height, width)
        return maps, scores.flatten(1).softmax(1).view_as(scores)


def build(options: RetinaAttentionOptions, sizes: Sizes, outputs: tuple[int, ...]) -> RetinaAttention:
    """Build the network for photographs of ``sizes``.

    Raises:
        ModelError: the photograph cannot be halved in every block.
    """
    least = 2 ** len(options.filters)
    require_sides(
        f"the model '{_NAME}' with {len(options.filters)} blocks",
        sizes,
        least,
        "write fewer filters, or take larger images",
    )
    return RetinaAttention(options, sizes["channels"], outputs)


MODEL: Final = ModelEntry(
    title="Soft attention on fundus photographs",
    domain="imaging",
    rate=0.5,
    options=RetinaAttentionOptions,
    build=build,
    tasks=("binary", "multilabel", "regression", "multiclass"),
    inputs=(Input("image", "number", ("channels", "height", "width"), "a photograph"),),
    citation="Poplin, Varadarajan, Blumer, Liu, McConnell, Corrado, Peng and Webster 2018, Prediction of "
    "cardiovascular risk factors from retinal fundus photographs via deep learning, Nature Biomedical "
    "Engineering 2:158-164",
    presets={
        "paper": RetinaAttentionOptions(),
        "wide": RetinaAttentionOptions(filters=(32, 64, 128, 256)),
        "small": RetinaAttentionOptions(filters=(4, 8), activation="tanh"),
    },
    counts=(
        Count("paper", {"channels": 3, "height": 64, "width": 64}, (8,), 61_448),
        Count("wide", {"channels": 3, "height": 64, "width": 64}, (8,), 391_688),
        Count("small", {"channels": 3, "height": 16, "width": 16}, (), 449),
    ),
    example={"channels": 3, "height": 16, "width": 16},
    figures="Without privacy, from photographs of 284,335 patients, the paper reports a mean absolute error of 3.26 "
    "years for age, and an AUROC of 0.97 for sex, 0.71 for smoking and 0.70 for major cardiac events (Poplin et al. "
    "2018).",
    replaced=(
        Replacement(
            paper="Inception-v3 with batch normalisation, which begins at weights of ImageNet",
            here="four blocks with group normalisation, from random first values or a public file that model.start "
            "names",
            why="batch normalisation mixes patients; no weights are distributed with this program",
        ),
        Replacement(
            paper="each photograph is an example",
            here="the photographs of both eyes, and of all visits, are averaged into one gradient; "
            "data.records_per_patient says how many",
            why="the promise is made to patients, who have two eyes",
        ),
        Replacement(
            paper="maps of photographs of patients, to look at",
            here="maps of the patient whom a hospital asks about, made there",
            why="a map of a training patient is that patient's record",
        ),
        Replacement(
            paper="targets less their mean, over their standard deviation",
            here="targets scaled by the public ranges of the data contract",
            why="mean and deviation of patients are released figures of them",
        ),
        Replacement(
            paper="rectified linear units and wide layers",
            here="rectified linear units in presets paper and wide; few filters and tanh in preset small",
            why="noise grows with the number of parameters, and bounded activations keep gradients short (Papernot et "
            "al. 2021, Tempered sigmoid activations)",
        ),
    ),
)
