r"""SMILES-RNN: memory that reads a molecule letter by letter, predicts the next letter, and so writes new molecules.

::

    tokens     start, the letters of a SMILES, end                      one flag at each place
    states     dropout(LSTM(dropout(LSTM(tokens))))                     layers of long short-term memory
    outputs    W state + b                                              logits of the token at the next place

The task is ``next-event``: row t predicts place t + 1, and recall at 1 is the share of next letters that are guessed. A
molecule's loss is the mean over its letters. :meth:`SmilesRnn.sample` writes molecules with the released weights, from
nothing or from a fragment that they shall begin with, so it costs no privacy.

Rules:

* a patient here is a molecule: epsilon protects whether a company's molecule was learned from. A company that wants to
  hide all its molecules together asks for ``privacy.unit: site``;
* token 0 is the start, 1 to 64 are the letters of SMILES in the order of the alphabet of the data contracts, 65 is the
  end. Every letter is a token, also the second one of ``Cl`` and ``Br``: so no two letters are taken for a metal, and
  the alphabet is closed;
* samples of a model that learned from few molecules without privacy may be those molecules: the share of samples that
  were learned from is part of what is reported.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.errors import ModelError
from models.layers.recurrent import LongShortTermMemory
from models.layers.visit_outputs import require_outputs_each_visit
from privacy.study.data.letters import ALPHABETS

START: Final = 0
END: Final = 1 + len(ALPHABETS["smiles"])
TOKENS: Final = END + 1


class SmilesRnnOptions(Options):
    """The options of ``smiles-rnn``.

    Attributes:
        hidden: units of each layer of memory, lowest first.
        dropout: of each layer's states, in training.
    """

    hidden: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(default=(256, 256), min_length=1, max_length=4)
    dropout: tuple[Annotated[float, Field(ge=0, le=0.95)], ...] = (0.3, 0.5)


class SmilesRnn(nn.Module):
    """Layers of memory, and a linear layer on the highest one's states.

    Raises:
        ModelError: there is not one share of dropout for each layer.
    """

    draws_randomly = True

    def __init__(self, options: SmilesRnnOptions, tokens: int) -> None:
        super().__init__()
        if len(options.dropout) != len(options.hidden):
            raise ModelError(
                f"model.options.dropout: expected a share for each of the {len(options.hidden)} layers, got "
                f"{len(options.dropout)}"
            )
        self.memory = nn.ModuleList(LongShortTermMemory(*ends) for ends in pairwise((tokens, *options.hidden)))
        self.dropout = nn.ModuleList(nn.Dropout(share) for share in options.dropout)
        self.head = nn.Linear(options.hidden[-1], tokens)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits of the next token at each of ``visits`` (records, places, tokens); the same shape."""
        series, present = inputs["visits"].float(), inputs["present"]
        for memory, dropout in zip(self.memory, self.dropout, strict=True):
            series = dropout(memory(series, present))
        logits: torch.Tensor = self.head(series)
        return logits

    @torch.no_grad()
    def sample(
        self,
        count: int,
        places: int,
        generator: torch.Generator,
        *,
        begin: Sequence[int] = (START,),
        end: int = END,
        temperature: float = 0.75,
    ) -> torch.Tensor:
        """Draw sequences of tokens from the model; (count, places), filled with ``end`` after the first one of it.

        Args:
            count: how many.
            places: of each sequence, those of ``begin`` among them.
            generator: of the random numbers.
            begin: the tokens that every sequence begins with, the start among them.
            end: the token behind the last letter.
            temperature: by which logits are divided: near 0 the likeliest token is always taken.

        Raises:
            ModelError: the sequences are too short for ``begin``, or the temperature is not above 0.
        """
        if not 1 <= len(begin) <= places or temperature <= 0:
            raise ModelError(
                f"expected 1 to {places} tokens to begin with and a temperature above 0, got {len(begin)} and "
                f"{temperature:g}"
            )
        memories = [each for each in self.memory if isinstance(each, LongShortTermMemory)]
        kept = [(self.head.weight.new_zeros(count, each.state.in_features),) * 2 for each in memories]
        drawn = torch.full((count, places), end)
        finished = torch.zeros(count, dtype=torch.bool)
        for place in range(places):
            if place < len(begin):
                drawn[:, place] = begin[place]
            else:
                shares = torch.softmax(self.head(kept[-1][0]) / temperature, dim=1)
                chosen = torch.multinomial(shares, 1, generator=generator)[:, 0]
                drawn[:, place] = torch.where(finished, end, chosen)
                finished |= chosen == end
            step = nn.functional.one_hot(drawn[:, place], self.head.out_features).to(kept[0][0])
            for layer, memory in enumerate(memories):
                kept[layer] = memory.advance(memory.input(step), *kept[layer])
                step = kept[layer][0]
        return drawn


def number_letters(smiles: str) -> list[int]:
    """Return the tokens of a SMILES or the beginning of one, with the start before them and no end.

    >>> number_letters("#C")
    [0, 1, 23]

    Raises:
        ModelError: it has a letter that is not of the alphabet; the message does not show it.
    """
    alphabet = ALPHABETS["smiles"]
    if not set(smiles) <= set(alphabet):
        raise ModelError(f"expected letters of SMILES, {alphabet}; another one is among those given")
    return [START, *(1 + alphabet.index(letter) for letter in smiles)]


def write_smiles(tokens: torch.Tensor) -> list[str]:
    """Write sequences of tokens (molecules, places) as texts, each up to its end; starts are left out."""
    alphabet = ALPHABETS["smiles"]
    texts = []
    for row in tokens.tolist():
        letters = row[: row.index(END)] if END in row else row
        texts.append("".join(alphabet[token - 1] for token in letters if token != START))
    return texts


def build(options: SmilesRnnOptions, sizes: Sizes, outputs: tuple[int, ...]) -> SmilesRnn:
    """Build the memory for sequences of ``sizes["codes"]`` tokens and ``outputs`` (places, tokens).

    Raises:
        ModelError: the task does not ask for one row of outputs for each place, or not for its tokens.
    """
    labels = require_outputs_each_visit("smiles-rnn", sizes, outputs)
    if labels != sizes["codes"]:
        raise ModelError(
            f"'smiles-rnn' predicts the tokens that it reads: expected {sizes['codes']} outputs a place, got {labels}; "
            "leave the task's labels out"
        )
    return SmilesRnn(options, sizes["codes"])


MODEL: Final = ModelEntry(
    title="SMILES-RNN: memory that writes molecules",
    domain="drugs",
    rate=10.0,
    options=SmilesRnnOptions,
    build=build,
    tasks=("next-event",),
    inputs=(
        Input("visits", "flag", ("visits", "codes"), "the token at each place: start, letters of a SMILES, end"),
        Input("present", "flag", ("visits",), "which places there are: the first ones"),
    ),
    citation="Gupta, Müller, Huisman, Fuchs, Schneider and Schneider 2018, Generative recurrent networks for de novo "
    "drug design, Molecular Informatics 37(1-2):1700111",
    presets={"paper": SmilesRnnOptions(), "small": SmilesRnnOptions(hidden=(12,), dropout=(0.0,))},
    # the 52 tokens of a public re-implementation that cites the paper for its sizes
    counts=(
        Count("paper", {"visits": 75, "codes": 52}, (75, 52), 855_092),
        Count("small", {"visits": 6, "codes": 12}, (6, 12), 1_356),
    ),
    example={"visits": 6, "codes": 12},
    replaced=(
        Replacement(
            paper="the loss of a batch is the mean over its tokens, padding among them",
            here="that of a molecule is the mean over its own letters",
            why="how much a molecule weighs must not depend on how long the others of the batch are",
        ),
        Replacement(
            paper="a trained model is tuned on the five known actives, one step a molecule",
            here="no tuning on so few: a study that begins with public weights and has hundreds of molecules a company",
            why="no noise hides one of five molecules and leaves anything to learn",
        ),
        Replacement(
            paper="some pairs of letters are one token",
            here="every letter is one",
            why="not because of privacy: a table of pairs takes the N-methyl of Cn1 for copernicium",
        ),
    ),
)
