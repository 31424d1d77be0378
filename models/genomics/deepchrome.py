"""DeepChrome: a convolution over the histone marks around a gene's start, to tell whether the gene is expressed."""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs


class DeepChromeOptions(Options):
    """The options of ``deepchrome``.

    Attributes:
        filters: of the convolution over the bins.
        kernel: bins that a filter sees.
        pool: bins of which the largest value is kept.
        hidden: units of the two hidden layers.
        dropout: the part of the pooled values that is set to 0 in training.
    """

    filters: int = Field(default=50, ge=1, le=1024)
    kernel: int = Field(default=10, ge=1, le=1000)
    pool: int = Field(default=5, ge=1, le=1000)
    hidden: tuple[Units, Units] = (625, 125)
    dropout: float = Field(default=0.5, ge=0, lt=1)


class DeepChrome(nn.Module):
    """A convolution, a pooling and three linear layers.

    Raises:
        ModelError: there are fewer bins than one filter and one pooling need.
    """

    draws_randomly = True

    def __init__(self, options: DeepChromeOptions, marks: int, bins: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        pooled = (bins - options.kernel + 1) // options.pool
        if pooled < 1:
            raise ModelError(
                f"deepchrome needs at least {options.kernel + options.pool - 1} bins for a kernel of {options.kernel} "
                f"and a pool of {options.pool}; the data have {bins}"
            )
        first, second = options.hidden
        self.layers = nn.Sequential(
            nn.Conv1d(marks, options.filters, options.kernel),
            nn.ReLU(),
            nn.MaxPool1d(options.pool),
            nn.Flatten(),
            nn.Dropout(options.dropout),
            nn.Linear(options.filters * pooled, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, count_outputs(outputs)),
        )
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``signals`` (records, marks, bins); (records, *outputs)."""
        return shape_outputs(self.layers(inputs["signals"]), self._outputs)


def build(options: DeepChromeOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepChrome:
    """Build the network for ``marks`` signals of ``bins`` bins."""
    return DeepChrome(options, sizes["marks"], sizes["bins"], outputs)


MODEL: Final = ModelEntry(
    title="DeepChrome: histone marks to gene expression",
    domain="genomics",
    options=DeepChromeOptions,
    build=build,
    tasks=("binary", "multiclass", "regression"),
    inputs=(
        Input("signals", "number", ("marks", "bins"), "reads of each histone mark in bins around a gene's start"),
    ),
    citation="Singh, Lanchantin, Robins and Qi 2016, DeepChrome: deep-learning for predicting gene expression from "
    "histone modifications, Bioinformatics 32(17):i639-i648",
    repository="https://github.com/QData/DeepChrome",
    presets={
        "paper": DeepChromeOptions(),
        "small": DeepChromeOptions(filters=8, kernel=5, pool=4, hidden=(16, 8), dropout=0.0),
    },
    # the paper's two outputs, and one: the logit of a yes-or-no label
    counts=(
        Count("paper", {"marks": 5, "bins": 100}, (2,), 644_177),
        Count("paper", {"marks": 5, "bins": 100}, (), 644_051),
        Count("small", {"marks": 5, "bins": 40}, (), 1_521),
    ),
    example={"marks": 5, "bins": 40},
    figures="A linear network of 12 parameters did as well in a later study (DeepChrome 2.0, arXiv 2209.11923), which "
    "speaks for few parameters where every one of them gets noise",
    replaced=(
        Replacement(
            paper="raw read counts",
            here="numbers in the public range of the data contract, for example log(1 + reads)",
            why="counts have long tails: a few genes would have gradients much longer than the others, which clipping "
            "cuts",
        ),
        Replacement(
            paper="a gene is high above the median expression of the cohort",
            here="above a public threshold",
            why="a median of the cohort is read from its patients",
        ),
    ),
)
