"""Deep Motif: does a protein bind a sequence? By convolutions, by memory over the letters, or by both.

=============  =====================================================================================================
``cnn``        convolutions, each with relu and the larger of two neighbours; of the last one each filter's largest
               value, or with ``pooling: sum`` the sum of all, which is not in the paper and counts short words
``rnn``        memory over the letters from both ends; the mean of its states over the letters
``cnn-rnn``    one or more convolutions that keep the length, then the memory
=============  =====================================================================================================

A linear layer gives the outputs. The form of 2016, with highway layers, is not here. The paper is cited for how it
explains such models, as ``consilium-site explain`` does with ``--method``: saliency of letters, the scores of a
sequence's beginnings and ends (:meth:`DeepMotif.read_temporal_outputs`), and a motif that maximises a class.

**A patient is the donor of the cells in whom binding was measured, and all sites of all their assays are their records:
epsilon protects all that was measured of a donor.** Where a site counts as a patient, it protects one site.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs
from models.layers.rectifier import ConvolutionBeforeRectifier
from models.layers.recurrent import LongShortTermMemory, read_both_ways
from models.layers.sequence_blocks import Pooling

_POOL: Final = 2
_PARTS_AT_ONCE: Final = 64
Filters = Annotated[int, Field(ge=1, le=1024)]
Kernel = Annotated[int, Field(ge=1, le=999)]


class DeepMotifOptions(Options):
    """The options of ``deep-motif``.

    Attributes:
        form: ``cnn``, ``rnn`` or ``cnn-rnn``.
        filters: of each convolution; none for ``rnn``.
        kernels: places that a filter of each convolution sees; odd before a memory.
        memory: units of the memory from each end; not of ``cnn``.
        pooling: what ``cnn`` keeps of a filter of the last convolution: ``max``, its largest value, as in the paper, or
            ``sum``, which says how often its motif is there.
        dropout: the part of the values that is set to 0 in training, after each convolution or of the states.
    """

    form: Literal["cnn", "rnn", "cnn-rnn"] = "cnn-rnn"
    filters: tuple[Filters, ...] = Field(default=(128,), max_length=6)
    kernels: tuple[Kernel, ...] = Field(default=(9,), max_length=6)
    memory: int = Field(default=32, ge=1, le=1024)
    pooling: Pooling = "max"
    dropout: float = Field(default=0.5, ge=0, lt=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.filters) != len(self.kernels):
            raise ValueError(f"filters has {len(self.filters)} numbers, and kernels {len(self.kernels)}")
        if (self.form == "rnn") == bool(self.filters):
            raise ValueError("filters and kernels are for convolutions: none for the form rnn, some for the others")
        if self.form != "cnn" and self.pooling != "max":
            raise ValueError("pooling is of the form cnn: a memory gives the mean of its states")
        if self.form == "cnn-rnn" and not all(kernel % 2 for kernel in self.kernels):
            raise ValueError(
                "kernels must be odd before a memory, so that a place has as many neighbours on each side"
            )
        return self


class DeepMotif(nn.Module):
    """Convolutions, memory, or both, and a linear layer.

    Raises:
        ModelError: there are fewer letters than the convolutions need.
    """

    draws_randomly = True

    def __init__(self, options: DeepMotifOptions, bases: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self._recurrent, self._pooling = options.form != "cnn", options.pooling
        if not self._recurrent:
            _require_letters(bases, options.kernels)
        self.convolutions = nn.ModuleList()
        width = 4
        for filters, kernel in zip(options.filters, options.kernels, strict=True):
            padding = kernel // 2 if self._recurrent else 0
            self.convolutions.append(ConvolutionBeforeRectifier(width, filters, kernel, padding=padding))
            width = filters
        if self._recurrent:
            self.onward = LongShortTermMemory(width, options.memory)
            self.backward = LongShortTermMemory(width, options.memory)
            width = 2 * options.memory
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(width, count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``sequence`` (records, 4, bases); (records, *outputs)."""
        values = inputs["sequence"]
        if self._recurrent:
            series = self._filter(values)
            return self._remember(series, series.new_ones(series.shape[:2], dtype=torch.bool))
        last = len(self.convolutions) - 1
        for place, convolution in enumerate(self.convolutions):
            values = torch.relu(convolution(values))
            values = self.dropout(values if place == last else functional.max_pool1d(values, _POOL))
        kept = values.sum(2) if self._pooling == "sum" else values.amax(2)
        return shape_outputs(self.head(kept), self._outputs)

    @torch.no_grad()
    def read_temporal_outputs(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the outputs of every beginning and end of ``sequence``; (records, bases + 1, *outputs) each.

        Of ``prefix`` number t has the first t letters, of ``suffix`` it leaves them out; so prefix 0 and the last
        suffix are empty. Convolutions read the whole sequence, and what they give is cut (Lanchantin et al. 2017).
        Without a memory this has no meaning, and nothing is returned.
        """
        if not self._recurrent:
            return {}
        series = self._filter(inputs["sequence"])
        places, cuts = torch.arange(series.shape[1]), torch.arange(series.shape[1] + 1)
        present = {"prefix": places < cuts[:, None], "suffix": places >= cuts[:, None]}
        return {
            name: torch.stack([self._remember_parts(one, masks.to(series.device)) for one in series])
            for name, masks in present.items()
        }

    def _remember_parts(self, series: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return the outputs of parts of one record, (bases, channels); (parts, *outputs)."""
        return torch.cat(
            [self._remember(series.expand(len(some), -1, -1), some) for some in torch.split(masks, _PARTS_AT_ONCE)]
        )

    def _filter(self, values: torch.Tensor) -> torch.Tensor:
        for convolution in self.convolutions:
            values = torch.relu(convolution(values))
        return values.movedim(1, 2)  # (records, bases, channels)

    def _remember(self, series: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return the outputs of the mean states over the places that are ``present``."""
        states = read_both_ways(self.onward, self.backward, series, present)
        both = self.dropout(states) * present.unsqueeze(2)
        means = both.sum(1) / present.sum(1, keepdim=True).clamp(min=1)
        return shape_outputs(self.head(means), self._outputs)


def _require_letters(bases: int, kernels: tuple[int, ...]) -> None:
    least = 1
    for place, kernel in enumerate(reversed(kernels)):
        least = (least * _POOL if place else 1) + kernel - 1
    if bases < least:
        raise ModelError(
            f"deep-motif needs at least {least} letters for kernels of {', '.join(map(str, kernels))}; the data have "
            f"{bases}"
        )


def build(options: DeepMotifOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepMotif:
    """Build the network for ``bases`` one-hot letters."""
    return DeepMotif(options, sizes["bases"], outputs)


_PAPER: Final = {"bases": 101}

MODEL: Final = ModelEntry(
    title="Deep Motif: does a protein bind a sequence?",
    domain="genomics",
    rate=0.5,
    options=DeepMotifOptions,
    build=build,
    tasks=("binary", "multiclass", "multilabel", "regression"),
    inputs=(Input("sequence", "number", (4, "bases"), "one-hot letters A, C, G, T"),),
    citation="Lanchantin, Singh, Wang and Qi 2017, Deep Motif Dashboard: visualizing and understanding genomic "
    "sequences using deep neural networks, Pacific Symposium on Biocomputing 22:254-265; first Lanchantin, Singh, Lin "
    "and Qi 2016, Deep Motif: visualizing genomic sequence classifications (arXiv 1605.01133)",
    repository="https://github.com/QData/DeepMotif",
    presets={
        "paper": DeepMotifOptions(),
        "cnn": DeepMotifOptions(form="cnn", filters=(128, 128, 128), kernels=(9, 5, 3)),
        "rnn": DeepMotifOptions(form="rnn", filters=(), kernels=()),
        "small": DeepMotifOptions(form="cnn", filters=(16, 16), kernels=(9, 5), dropout=0.0),
    },
    # two outputs as in the authors' code, of which the memory has one bias for each gate, and one
    counts=(
        Count("paper", _PAPER, (2,), 46_082),
        Count("paper", _PAPER, (), 46_017),
        Count("cnn", _PAPER, (2,), 136_322),
        Count("rnn", _PAPER, (2,), 9_602),
        Count("small", {"bases": 40}, (2,), 1_922),
    ),
    example={"bases": 24},
    replaced=(
        Replacement(
            paper="every number of a gradient at most 5",
            here="the length of each patient's gradient is bounded",
            why="the paper bounds the gradient of a batch, in which no patient's part is bounded",
        ),
        Replacement(
            paper="the epoch with the best AUROC",
            here="a number of rounds that is fixed in advance, or an evaluation that is paid for",
            why="when training stops tells something of the patients it was stopped by",
        ),
        Replacement(
            paper="saliency of the loss of the true label, without its sign",
            here="that of the score that is explained, with its sign",
            why="this is not for privacy: a patient to be explained has no label yet",
        ),
    ),
)
