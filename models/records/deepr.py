"""Deepr: a patient's record as a sentence, in which a convolution finds motifs of a few words.

::

    sentence     words in order of time: codes, between two visits a word for the gap, other words as the study likes
    window t     z_t = relu(W [e_t-1 e_t e_t+1] + b)        e: a vector for each word; for each width of windows
    features     largest z_t over the words of the sentence
    outputs      U features + d

The outputs are linear in the features, and each feature is that of one window: the motif it answered to. So every motif
has a contribution, which is shared evenly by its words; these and d add up to the output
(:meth:`Deepr.read_contributions`).

Rules:

* word 0 is none and stands after the sentence. It has the vector 0, and no window has it in the middle;
* a window is as wide as its width everywhere: beyond both ends of the sentence it sees none.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs
from models.layers.masked_max import masked_max
from models.layers.rectifier import ConvolutionBeforeRectifier


class DeeprOptions(Options):
    """The options of ``deepr``.

    Attributes:
        embedding: numbers for each word.
        filters: of each width.
        widths: how many words a window of each kind sees.
        dropout: of the features, in training.
    """

    embedding: int = Field(default=100, ge=1, le=4096)
    filters: int = Field(default=100, ge=1, le=4096)
    widths: tuple[Annotated[int, Field(ge=1, le=20)], ...] = Field(default=(3, 4, 5), min_length=1, max_length=5)
    dropout: float = Field(default=0.5, ge=0, le=0.95)


class Deepr(nn.Module):
    """An embedding of words, windows of several widths, the largest value of each filter, and a linear layer."""

    def __init__(self, options: DeeprOptions, words: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, options.embedding, padding_idx=0)
        self.windows = nn.ModuleList(
            ConvolutionBeforeRectifier(options.embedding, options.filters, width) for width in options.widths
        )
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(len(options.widths) * options.filters, count_outputs(outputs))
        self._widths, self._outputs = options.widths, outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs; (records, *outputs)."""
        found = [masked_max(values, inputs["words"] != 0) for values in self._read(inputs["words"])]
        return shape_outputs(self.head(self.dropout(torch.cat(found, dim=1))), self._outputs)

    @torch.no_grad()
    def read_contributions(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return what every word adds to each output, as ``words``; (records, words, *outputs).

        The sum over words, plus the bias of ``head``, is the output of :meth:`forward` in evaluation.
        """
        words = inputs["words"]
        shares = words.new_zeros(*words.shape, self.head.out_features, dtype=self.head.weight.dtype)
        weights = self.head.weight.T.chunk(len(self._widths))  # (filters, outputs) each
        for width, values, weight in zip(self._widths, self._read(words), weights, strict=True):
            largest, place = values.masked_fill((words == 0).unsqueeze(2), -1.0).max(1)  # (records, filters)
            motif = functional.one_hot(place, words.shape[1]).to(largest) * largest.clamp(min=0).unsqueeze(2)
            at_middle = torch.einsum("rfw,fo->rwo", motif, weight)
            shares += _share_evenly(at_middle, words != 0, width)
        return {"words": shares.reshape(*words.shape, *self._outputs)}

    def _read(self, words: torch.Tensor) -> list[torch.Tensor]:
        """Return the values of the windows round each word, for each width; (records, words, filters) each."""
        vectors = self.embedding(words).movedim(1, 2)  # (records, embedding, words)
        padded = (functional.pad(vectors, _reach(width)) for width in self._widths)
        return [torch.relu(window(each)).movedim(1, 2) for window, each in zip(self.windows, padded, strict=True)]


def _reach(width: int) -> tuple[int, int]:
    """Return how many words a window sees before its middle, and how many after it."""
    return (width - 1) // 2, width // 2


def _share_evenly(at_middle: torch.Tensor, there: torch.Tensor, width: int) -> torch.Tensor:
    """Share each window's part, (records, words, outputs), among the words that it sees and that are there."""
    before, after = _reach(width)
    words = there.shape[1]
    seen = functional.pad(there.to(at_middle), (before, after)).unfold(1, width, 1)  # (records, windows, width)
    each = at_middle.unsqueeze(3) * (seen / seen.sum(2, keepdim=True).clamp(min=1)).unsqueeze(2)
    shares = at_middle.new_zeros(at_middle.shape[0], words + width - 1, at_middle.shape[2])
    for place in range(width):
        shares[:, place : place + words] += each[..., place]
    return shares[:, before : before + words]


def build(options: DeeprOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Deepr:
    """Build Deepr for a vocabulary of ``sizes["vocabulary"]`` words, with word 0, which is none."""
    return Deepr(options, sizes["vocabulary"], outputs)


MODEL: Final = ModelEntry(
    title="Deepr: motifs in records that are read as sentences",
    domain="records",
    options=DeeprOptions,
    build=build,
    tasks=("binary", "multiclass", "multilabel"),
    inputs=(Input("words", "id", ("words",), "codes and gaps in order of time, 0 after the last", "vocabulary"),),
    citation="Nguyen, Tran, Wickramasinghe and Venkatesh 2017, Deepr: A Convolutional Net for Medical Records, IEEE "
    "Journal of Biomedical and Health Informatics 21(1):22-30",
    presets={
        "paper": DeeprOptions(),
        "small": DeeprOptions(embedding=16, filters=8, widths=(3,), dropout=0.0),
    },
    # vectors 100,000, windows 120,300, head 602
    counts=(
        Count("paper", {"words": 100, "vocabulary": 1000}, (2,), 220_902),
        Count("small", {"words": 12, "vocabulary": 20}, (), 721),
    ),
    example={"words": 12, "vocabulary": 20},
    replaced=(
        Replacement(
            paper="vectors of words that word2vec learned from the same records begin the training",
            here="vectors begin at random, or as public weights that every site has",
            why="vectors of the cohort's own records are a use of these records, which has a price of its own: "
            "`code-embeddings` pays it",
        ),
        Replacement(
            paper="a vocabulary of the codes that are frequent in the cohort, another word for all rare ones",
            here="a vocabulary that the contract lists",
            why="which codes a cohort has, and how often, is about its patients",
        ),
        Replacement(
            paper="training stops by the loss on patients that are left out",
            here="a number of rounds that is fixed in advance, or an evaluation that is paid for",
            why="when training stops tells something of the patients it was stopped by",
        ),
    ),
    figures="For unplanned readmission after discharge the paper reports more accurate predictions than with "
    "traditional techniques (Nguyen et al. 2017).",
)
