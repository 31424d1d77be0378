"""Xpresso: expression of a gene from the letters of its promoter and from what decides how long its RNA lives.

A patient is whose expression it is: all genes of a person are their records, and are clipped together. In the study on
promoters of yeast a "patient" is a promoter, so that epsilon protects a promoter and no person.

Weights of the published Keras models have the shapes of ``paper``: :data:`KERAS_LAYERS` names their layers, and
:func:`convert_keras_weights` turns their axes, as ``examples/genomics/convert_xpresso.py`` does with a file. So places
are flattened before filters, and a sequence is continued by zeros as TensorFlow does, one more after its end than
before its start.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs
from models.layers.rectifier import ConvolutionBeforeRectifier
from models.layers.sequence_blocks import LETTERS, Filters, Width

KERAS_LAYERS: Final[Mapping[str, str]] = {
    "convolutions.0": "conv1d_1",
    "convolutions.1": "conv1d_2",
    "hidden.0": "dense_1",
    "hidden.1": "dense_2",
    "head": "dense_3",
}
"""For each layer of ``paper``, that of the published model."""

Rate = Annotated[float, Field(ge=0, lt=1)]


class XpressoOptions(Options):
    """The options of ``xpresso``.

    Attributes:
        filters: of each convolution.
        kernels: bases, or pooled places, that a filter of each convolution sees.
        pools: places of which the largest value is kept, after each convolution.
        hidden: units of each hidden layer.
        dropout: after each hidden layer, in training.
    """

    filters: tuple[Filters, ...] = Field(default=(128, 32), min_length=1, max_length=4)
    kernels: tuple[Width, ...] = (6, 9)
    pools: tuple[Width, ...] = (30, 10)
    hidden: tuple[Filters, ...] = Field(default=(64, 2), min_length=1, max_length=4)
    dropout: tuple[Rate, ...] = (0.00099, 0.01546)

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if not len(self.filters) == len(self.kernels) == len(self.pools):
            raise ValueError("filters, kernels and pools have one number for each convolution")
        if len(self.dropout) != len(self.hidden):
            raise ValueError("dropout has one number for each hidden layer")
        return self


class Xpresso(nn.Module):
    """Convolutions over the promoter, and hidden layers over these and the features of the RNA.

    Raises:
        ModelError: the promoter is too short for the poolings.
    """

    draws_randomly = True

    def __init__(self, options: XpressoOptions, bases: int, features: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        places, before = bases, LETTERS
        convolutions = []
        for filters, kernel, pool in zip(options.filters, options.kernels, options.pools, strict=True):
            convolutions.append(ConvolutionBeforeRectifier(before, filters, kernel))
            places, before = places // pool, filters
        if places < 1:
            pools = ", ".join(map(str, options.pools))
            raise ModelError(
                f"xpresso needs more letters of 'promoter' for pools of {pools}; the data have {bases}"
            )
        self.convolutions = nn.ModuleList(convolutions)
        before, hidden = before * places + features, []
        for units in options.hidden:
            hidden.append(nn.Linear(before, units))
            before = units
        self.hidden = nn.ModuleList(hidden)
        self.head = nn.Linear(before, count_outputs(outputs))
        self._pools, self._dropout, self._outputs = options.pools, options.dropout, outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``promoter`` (records, 4, bases) and ``features``; (records, *outputs)."""
        values = inputs["promoter"]
        for convolution, pool in zip(self.convolutions, self._pools, strict=True):
            assert isinstance(convolution, nn.Conv1d)
            added = convolution.kernel_size[0] - 1
            values = torch.relu(convolution(functional.pad(values, (added // 2, added - added // 2))))
            values = functional.max_pool1d(values, pool)
        found = torch.cat([values.transpose(1, 2).flatten(1), inputs["features"]], dim=1)
        for layer, dropout in zip(self.hidden, self._dropout, strict=True):
            found = functional.dropout(torch.relu(layer(found)), dropout, self.training)
        return shape_outputs(self.head(found), self._outputs)


def convert_keras_weights(weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Convert the weights of a published model to those of ``paper``, as a file of public weights has them.

    Args:
        weights: by Keras's names, ``LAYER/kernel`` and ``LAYER/bias``. Kernels are (kernel, before, filters) and
            (before, units).

    Raises:
        ModelError: a layer of :data:`KERAS_LAYERS` is missing.
    """
    found = dict[str, NDArray[np.float32]]()
    for own, theirs in KERAS_LAYERS.items():
        for name in ("kernel", "bias"):
            if f"{theirs}/{name}" not in weights:
                raise ModelError(f"the published weights have no '{theirs}/{name}'; expected {KERAS_LAYERS}")
        found[f"{own}.weight"] = np.ascontiguousarray(weights[f"{theirs}/kernel"].T, dtype=np.float32)
        found[f"{own}.bias"] = np.ascontiguousarray(weights[f"{theirs}/bias"], dtype=np.float32)
    return found


def build(options: XpressoOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Xpresso:
    """Build the network for promoters of ``bases`` letters and so many ``features``."""
    return Xpresso(options, sizes["bases"], sizes["features"], outputs)


MODEL: Final = ModelEntry(
    title="Xpresso: promoter and half-life to expression",
    domain="genomics",
    rate=0.1,
    options=XpressoOptions,
    build=build,
    tasks=("regression", "binary", "multiclass"),
    inputs=(
        Input("promoter", "number", (LETTERS, "bases"), "one-hot letters round the start of transcription"),
        Input("features", "number", ("features",), "lengths, GC contents and exon density of the RNA"),
    ),
    citation="Agarwal and Shendure 2020, Predicting mRNA abundance directly from genomic sequence using deep "
    "convolutional neural networks, Cell Reports 31(7):107663",
    repository="https://github.com/vagarwal87/Xpresso",
    presets={
        "paper": XpressoOptions(),
        "small": XpressoOptions(filters=(8, 8), kernels=(6, 3), pools=(4, 3), hidden=(16, 8), dropout=(0.0, 0.0)),
    },
    # convolutions 3,200 and 36,896, hidden layers 72,256 and 130, head 3
    counts=(
        Count("paper", {"bases": 10_500, "features": 8}, (), 112_485),
        Count("small", {"bases": 48, "features": 8}, (), 1_201),
    ),
    example={"bases": 48, "features": 8},
    figures="r2 0.59 for human and 0.71 for mouse genes (Agarwal and Shendure 2020)",
    replaced=(
        Replacement(
            paper="expression and features are scaled by the mean and standard deviation of all genes",
            here="by the public ranges of the data contract",
            why="a mean of the cohort is read from its patients",
        ),
        Replacement(
            paper="two units in the last hidden layer",
            here="the same in `paper`, eight in `small`",
            why="two units between rectifiers are easily both 0 for all records once their weights get noise",
        ),
        Replacement(
            paper="the best of ten trainings, each stopped by the loss on validation genes",
            here="one training of a number of rounds that is fixed in advance",
            why="which training is best, and when it stops, tells something of the patients that were looked at",
        ),
    ),
)
