"""Gene2vec: methylated adenosines in RNA, by convolutions over letters and over words of three letters.

============  ==========================================================  ==========================================
network       how it reads the sequence                                   its blocks
============  ==========================================================  ==========================================
``one-hot``   letters                                                     four of half the length
``words``     vectors of words, learned with the task                     two of a quarter of the length
``gene2vec``  vectors of words, learned without labels by ``skip-gram``   two of a quarter of the length
============  ==========================================================  ==========================================

A block is two convolutions that keep the length, a pooling and dropout. The outputs are the mean of the networks'. The
paper's text has the blocks; window, filters, kernels and hidden units are ours.

``skip-gram``: each word predicts the words at most ``window`` places away, by a softmax over all words. Its loss, the
mean over the pairs of a record, needs no label. The task leaves these vectors as they are.

A patient is who the RNA is of: all sites of a person are their records. In the study on public sites of two tissues a
"patient" is a site with the letters round it, so that epsilon protects a site and no person.

Rules:

* letters are ids from 1; 0 is padding, or an unknown letter;
* a word of three letters has a number; with a 0 in it it is word 0, whose vector is 0 and which predicts nothing.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.errors import ModelError
from models.layers.heads import count_outputs, shape_outputs
from models.layers.rectifier import ConvolutionBeforeRectifier

_LETTERS: Final = 4
_WORD: Final = 3  # letters of a word
WORDS: Final = _LETTERS**_WORD + 1
"""Words of three letters, and word 0."""
SKIP_GRAM: Final = "skip-gram"

Network = Literal["one-hot", "words", "gene2vec"]
Filters = Annotated[int, Field(ge=1, le=4096)]
Widths = Annotated[tuple[Filters, ...], Field(min_length=1, max_length=6)]


class Gene2vecOptions(Options):
    """The options of ``gene2vec``.

    Attributes:
        networks: those whose outputs are averaged.
        letter_filters: of each block of the network over letters.
        word_filters: of each block of the networks over words.
        kernel: letters or words that a filter sees.
        letter_pool: places of which the largest value is kept, over letters.
        word_pool: the same over words.
        words: numbers of a word's vector that is learned with the task.
        vectors: numbers of a word's vector that ``skip-gram`` learns.
        window: how far away words are predicted.
        hidden: units of each network's hidden layer.
        dropout: after each block, in training.
    """

    networks: Annotated[tuple[Network, ...], Field(min_length=1, max_length=3)] = ("one-hot", "words", "gene2vec")
    letter_filters: Widths = (32, 32, 64, 64)
    word_filters: Widths = (32, 64)
    kernel: int = Field(default=7, ge=1, le=101)
    letter_pool: int = Field(default=2, ge=1, le=100)
    word_pool: int = Field(default=4, ge=1, le=100)
    words: int = Field(default=100, ge=1, le=4096)
    vectors: int = Field(default=300, ge=1, le=4096)
    window: int = Field(default=5, ge=1, le=100)
    hidden: Units = 64
    dropout: float = Field(default=0.5, ge=0, lt=1)


class Reader(nn.Module):
    """Blocks of convolutions over a sequence of vectors, a hidden layer and a linear layer.

    Raises:
        ModelError: the sequence is too short for the poolings.
    """

    def __init__(
        self, width: int, length: int, filters: tuple[int, ...], pool: int, options: Gene2vecOptions, numbers: int
    ) -> None:
        super().__init__()
        places = length // pool ** len(filters)
        if places < 1:
            raise ModelError(
                f"gene2vec needs at least {pool ** len(filters) + _WORD - 1} letters for {len(filters)} poolings of "
                f"{pool}; the data have {length + _WORD - 1}"
            )
        layers: list[nn.Module] = []
        for before, after in pairwise((width, *filters)):
            for channels in (before, after):
                layers += [ConvolutionBeforeRectifier(channels, after, options.kernel, padding="same"), nn.ReLU()]
            layers += [nn.MaxPool1d(pool), nn.Dropout(options.dropout)]
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(filters[-1] * places, options.hidden),
            nn.ReLU(),
            nn.Linear(options.hidden, numbers),
        )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return (records, numbers) of ``values`` (records, width, length)."""
        found: torch.Tensor = self.layers(values)
        return found


class SkipGram(nn.Module):
    """Vectors of words, and a linear layer that predicts the words nearby."""

    def __init__(self, width: int, window: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(WORDS, width, padding_idx=0)
        self.contexts = nn.Linear(width, WORDS)
        self._window = window

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Return the vectors of ``words`` (records, places); (records, places, width)."""
        found: torch.Tensor = self.vectors(words)
        return found

    def compute_losses(self, words: torch.Tensor) -> torch.Tensor:
        """Compute the mean cross-entropy of the pairs of each record; (records,), 0 for a record without a pair."""
        scores = self.contexts(self.vectors(words)).log_softmax(2)  # (records, places, words)
        losses = scores.new_zeros(scores.shape[0])
        pairs = scores.new_zeros(scores.shape[0])
        for apart in range(1, min(self._window, words.shape[1] - 1) + 1):
            left, right = words[:, :-apart], words[:, apart:]
            there = ((left != 0) & (right != 0)).to(scores)
            onward = scores[:, :-apart].gather(2, right.unsqueeze(2)).squeeze(2)
            back = scores[:, apart:].gather(2, left.unsqueeze(2)).squeeze(2)
            losses = losses - ((onward + back) * there).sum(1)
            pairs = pairs + 2 * there.sum(1)
        mean: torch.Tensor = losses / pairs.clamp(min=1)
        return mean


class Gene2vec(nn.Module):
    """The networks that were chosen, and the mean of their outputs."""

    objective: str = "task"
    draws_randomly = True

    def __init__(self, options: Gene2vecOptions, bases: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        numbers, words = count_outputs(outputs), bases - _WORD + 1
        if "one-hot" in options.networks:
            self.letters = Reader(_LETTERS, bases, options.letter_filters, options.letter_pool, options, numbers)
        if "words" in options.networks:
            self.words = nn.Embedding(WORDS, options.words, padding_idx=0)
            self.words_reader = Reader(
                options.words, words, options.word_filters, options.word_pool, options, numbers
            )
        if "gene2vec" in options.networks:
            self.skip_gram = SkipGram(options.vectors, options.window)
            self.vectors_reader = Reader(
                options.vectors, words, options.word_filters, options.word_pool, options, numbers
            )
        self._networks, self._outputs = options.networks, outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the outputs of ``sequence`` (records, bases), (records, *outputs); or the loss of ``skip-gram``.

        Raises:
            ModelError: the objective is ``skip-gram``, and no network uses its vectors.
        """
        letters = inputs["sequence"]
        words = number_words(letters)
        if self.objective == SKIP_GRAM:
            if "gene2vec" not in self._networks:
                raise ModelError("objective skip-gram: options.networks has no 'gene2vec', which uses its vectors")
            return {"own_loss": self.skip_gram.compute_losses(words)}
        found = []
        if "one-hot" in self._networks:
            found.append(self.letters(functional.one_hot(letters, _LETTERS + 1)[..., 1:].movedim(1, 2).float()))
        if "words" in self._networks:
            found.append(self.words_reader(self.words(words).movedim(1, 2)))
        if "gene2vec" in self._networks:
            found.append(self.vectors_reader(self.skip_gram(words).movedim(1, 2)))
        return shape_outputs(torch.stack(found).mean(0), self._outputs)


def number_words(letters: torch.Tensor) -> torch.Tensor:
    """Number the words that begin at each letter but the last two; (records, bases) -> (records, bases - 2)."""
    parts = letters.unfold(1, _WORD, 1)  # (records, words, 3)
    base = torch.tensor([_LETTERS**2, _LETTERS, 1], device=letters.device)
    return torch.where((parts != 0).all(2), 1 + ((parts - 1) * base).sum(2), 0)


def build(options: Gene2vecOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Gene2vec:
    """Build the networks for sequences of ``bases`` letters.

    Raises:
        ModelError: the letters are not four and padding, or too few for the poolings.
    """
    if sizes["letters"] != _LETTERS + 1:
        raise ModelError(
            f"gene2vec reads four letters and 0 for none: expected ids of {_LETTERS + 1} values, got {sizes['letters']}"
        )
    return Gene2vec(options, sizes["bases"], outputs)


_READERS: Final = ("letters", "words", "words_reader", "vectors_reader")

MODEL: Final = ModelEntry(
    title="Gene2vec: methylated adenosines in RNA",
    domain="genomics",
    rate=0.5,
    options=Gene2vecOptions,
    build=build,
    tasks=("binary", "multiclass", "multilabel"),
    inputs=(Input("sequence", "id", ("bases",), "letters of RNA round an adenosine, 0 for none", "letters"),),
    citation="Zou, Xing, Wei and Liu 2019, Gene2vec: gene subsequence embedding for prediction of mammalian "
    "N6-methyladenosine sites from mRNA, RNA 25(2):205-218",
    presets={
        "paper": Gene2vecOptions(),
        "small": Gene2vecOptions(
            letter_filters=(8,),
            word_filters=(8,),
            kernel=3,
            letter_pool=4,
            words=8,
            vectors=8,
            window=2,
            hidden=8,
            dropout=0.0,
        ),
    },
    # the networks 377,217, 333,349 and 371,649; vectors of skip-gram 19,500 and its contexts 19,565
    counts=(
        Count("paper", {"bases": 1001, "letters": 5}, (), 1_121_280),
        Count("small", {"bases": 24, "letters": 5}, (), 3_804),
    ),
    example={"bases": 24, "letters": 5},
    objectives={SKIP_GRAM: ("skip_gram",)},
    task_layers=_READERS,
    replaced=(
        Replacement(
            paper="word2vec learns vectors of words with negative sampling, from the sequences",
            here="the stage `skip-gram`, with a softmax over all 64 words; or public weights",
            why="vectors of the cohort's own sequences are a use of them, which the stage pays for; with so few words "
            "nothing needs to be sampled",
        ),
        Replacement(
            paper="a fourth network reads which sites nearby are methylated",
            here="three networks",
            why="these are labels of other records: of a new patient nobody knows them, and of a known one they tell "
            "the label",
        ),
        Replacement(
            paper="four networks are trained one by one, and their probabilities averaged",
            here="one model, whose outputs are averaged before the logistic function",
            why="a patient's gradient of all networks is clipped once; four trainings would cost four budgets",
        ),
        Replacement(
            paper="training stops by the loss on validation sites",
            here="a number of rounds that is fixed in advance, or an evaluation that is paid for",
            why="when training stops tells something of the patients it was stopped by",
        ),
    ),
)
