"""CancerTypePrediction: convolutions over a tumour's expression, which is laid out as an image, to tell its type.

The genes, in a public order, fill an image of 100 by 71 row by row, and zeros fill the rest. There are three forms:

==========  =====================================================================================================
``form``    convolution, and what of its maps is kept
==========  =====================================================================================================
``1d``      over whole rows: one value for each 71 genes; every second one
``2d``      over squares of 10 by 10, in steps of 2; the largest of each 2 by 2
``hybrid``  over whole rows, and, beside it, over whole columns; every second value of both
==========  =====================================================================================================

Then follow one hidden layer and the outputs. Neighbours in the image are neighbours in the public order and nothing
more, so that ``1d`` is a layer that shares its weights between groups of genes.

A record is a tumour, and a tumour is a patient's: epsilon protects a patient.
"""

from collections.abc import Mapping
from typing import Final, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs

_STEP: Final = 2  # of the squares of ``2d``, and of what is kept of rows and columns


class CancerTypeOptions(Options):
    """The options of ``cancer-type``.

    Attributes:
        form: of the convolutions.
        height: rows of the image.
        width: columns of the image.
        filters: of each convolution.
        kernel: height and width of the squares; for ``2d`` alone.
        hidden: units of the hidden layer.
    """

    form: Literal["1d", "2d", "hybrid"] = "1d"
    height: int = Field(default=100, ge=1, le=1000)
    width: int = Field(default=71, ge=1, le=1000)
    filters: int = Field(default=32, ge=1, le=1024)
    kernel: int = Field(default=10, ge=1, le=100)
    hidden: Units = 128


class CancerType(nn.Module):
    """An image of genes, one or two convolutions over it, a hidden layer and the outputs.

    Raises:
        ModelError: there are more genes than the image has places, or it is smaller than the squares need.
    """

    def __init__(self, options: CancerTypeOptions, genes: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        height, width, filters = options.height, options.width, options.filters
        if genes > height * width:
            raise ModelError(
                f"model.options.height: the image of {height} by {width} has {height * width} places, and the data "
                f"have {genes} genes; write a larger height or width"
            )
        least = options.kernel + _STEP
        if options.form == "2d" and min(height, width) < least:
            raise ModelError(
                f"model.options.kernel: squares of {options.kernel} need an image of at least {least} by {least}, got "
                f"{height} by {width}; write a smaller kernel, or a larger image"
            )
        self._shape, self._empty, self._outputs = (1, height, width), height * width - genes, outputs
        if options.form == "2d":
            self.squares: nn.Module | None = nn.Sequential(
                nn.Conv2d(1, filters, options.kernel, _STEP), nn.ReLU(), nn.MaxPool2d(_STEP)
            )
            self.rows: nn.Module | None = None
            self.columns: nn.Module | None = None
            kept = _count_squares(height, options.kernel) * _count_squares(width, options.kernel)
        else:
            self.squares = None
            self.rows = nn.Conv2d(1, filters, (1, width))
            self.columns = nn.Conv2d(1, filters, (height, 1)) if options.form == "hybrid" else None
            kept = -(-height // _STEP) + (-(-width // _STEP) if options.form == "hybrid" else 0)
        self.layers = nn.Sequential(
            nn.Linear(filters * kept, options.hidden), nn.ReLU(), nn.Linear(options.hidden, count_outputs(outputs))
        )

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``features`` (records, genes); (records, *outputs)."""
        image = functional.pad(inputs["features"], (0, self._empty)).reshape(-1, *self._shape)
        if self.squares is not None:
            maps = self.squares(image).flatten(1)
        else:
            lines = [layer(image) for layer in (self.rows, self.columns) if layer is not None]
            # a row or a column leaves one value, so that the shorter axis has the length 1
            maps = torch.cat([functional.relu(each[..., ::_STEP, ::_STEP]).flatten(1) for each in lines], dim=1)
        return shape_outputs(self.layers(maps), self._outputs)


def _count_squares(length: int, kernel: int) -> int:
    """Return the places that convolution and pooling leave of a height or width."""
    return ((length - kernel) // _STEP + 1) // _STEP


def build(options: CancerTypeOptions, sizes: Sizes, outputs: tuple[int, ...]) -> CancerType:
    """Build the network for the expression of ``genes`` genes."""
    return CancerType(options, sizes["genes"], outputs)


_GENES: Final = {"genes": 7_091}

MODEL: Final = ModelEntry(
    title="CancerTypePrediction: convolutions over expression as an image",
    domain="genomics",
    options=CancerTypeOptions,
    build=build,
    tasks=("multiclass", "binary"),
    inputs=(Input("features", "number", ("genes",), "the expression of each gene, in a public order"),),
    citation="Mostavi, Chiu, Huang and Chen 2020, Convolutional neural network models for cancer type prediction based "
    "on gene expression, BMC Medical Genomics 13(S5):44",
    repository="https://github.com/chenlabgccri/CancerTypePrediction",
    presets={
        "paper": CancerTypeOptions(),
        "2d": CancerTypeOptions(form="2d"),
        "hybrid": CancerTypeOptions(form="hybrid"),
        "small": CancerTypeOptions(form="hybrid", height=6, width=5, filters=4, hidden=8),
    },
    # 33 types of tumour, and normal tissue beside them
    counts=(
        Count("paper", _GENES, (33,), 211_489),
        Count("paper", _GENES, (34,), 211_618),
        Count("2d", _GENES, (33,), 1_420_737),
        Count("2d", _GENES, (34,), 1_420_866),
        Count("hybrid", _GENES, (33,), 362_177),
        Count("hybrid", _GENES, (34,), 362_306),
        Count("small", {"genes": 28}, (3,), 279),
    ),
    example={"genes": 28},
    figures="accuracy 0.939 to 0.950 over 33 types and normal tissue, with 11,053 samples of TCGA (Mostavi et al. "
    "2020)",
    replaced=(
        Replacement(
            paper="genes with a low mean or a small spread in the cohort are left out",
            here="the genes that the study names",
            why="means and spreads of the cohort are read from its patients; a public list costs nothing",
        ),
        Replacement(
            paper="training ends when the accuracy of training rises no more",
            here="a fixed number of rounds",
            why="an accuracy is computed from patients: looking at it costs privacy",
        ),
    ),
)
