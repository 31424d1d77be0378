"""Seq2seq fingerprint: gated units read a SMILES into a code, write it again, and a head predicts from it.

::

    encoder       embedding of letters, last letter first -> GRU -> GRU -> ...
    fingerprint   the last states of all layers, one after the other
    decoder       the same, begins with the encoder's states and the letters so far; a logit for each next letter
    loss          r * recovery + the task's loss of  W fingerprint + b; the paper's alpha of 0.01 is r = 99,
                  and its loss the same over 100

Recovery is the cross-entropy of the letters and of the end behind them, summed over a molecule and divided by the
public length. Two ways to train it:

* both parts together, as in the paper: stages are left out;
* objective ``recovery`` first, then ``task``: a stage for each. With ``recovery: 0`` in the options the second stage
  leaves the decoder alone, and says ``trained: [read, encoder, head]``.

Rules:

* a patient here is a molecule: epsilon protects whether a company's molecule, and what is known of it, was learned
  from. The recovery of public molecules costs nothing: such a model enters by digest (``model.start``);
* letters are numbered from 1, and 0 is what follows the last one. It is also the letter that the decoder begins with.
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs
from models.layers.recurrent import GatedUnits


class Seq2SeqFingerprintOptions(Options):
    """The options of ``seq2seq-fingerprint``.

    Attributes:
        width: of the embedding and of every layer.
        layers: of encoder and of decoder.
        dropout: of what goes into the first and comes out of the last layer, in training.
        recovery: the weight of the recovery, beside a weight of 1 of the task.
    """

    width: int = Field(default=256, ge=1, le=4096)
    layers: int = Field(default=3, ge=1, le=8)
    dropout: float = Field(default=0.5, ge=0, le=0.95)
    recovery: float = Field(default=99.0, ge=0, le=1000)


class Seq2SeqFingerprint(nn.Module):
    """Encoder, decoder, and the head on the fingerprint."""

    objective: str = "task"
    draws_randomly = True

    def __init__(self, options: Seq2SeqFingerprintOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        letters, width, layers = sizes["compound_letters"], options.width, range(options.layers)
        self.read = nn.Embedding(letters, width)
        self.encoder = nn.ModuleList(GatedUnits(width, width) for _ in layers)
        self.written = nn.Embedding(letters, width)
        self.decoder = nn.ModuleList(GatedUnits(width, width) for _ in layers)
        self.next_letter = nn.Linear(width, letters)
        self.head = nn.Linear(width * options.layers, count_outputs(outputs))
        self.dropout = nn.Dropout(options.dropout)
        self._recovery, self._outputs = options.recovery, outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return outputs of ``compound`` (records, length), and the recovery's loss, (records,), if it counts."""
        letters = inputs["compound"]
        states = self._encode(letters)
        if self.objective == "recovery":
            return {"own_loss": self._compute_recovery(letters, states)}
        found = {"outputs": shape_outputs(self.head(torch.cat(states, dim=1)), self._outputs)}
        if self._recovery:
            found["own_loss"] = self._recovery * self._compute_recovery(letters, states)
        return found

    def encode(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the fingerprint of ``compound`` (records, length); (records, layers * width)."""
        return torch.cat(self._encode(inputs["compound"]), dim=1)

    @torch.no_grad()
    def recover(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Write each molecule again from its fingerprint, always the likeliest letter; (records, length)."""
        letters = inputs["compound"]
        states = self._encode(letters)
        written = torch.zeros_like(letters)
        there = torch.ones(letters.shape[0], dtype=torch.bool, device=letters.device)
        for place in range(letters.shape[1]):
            best = self._decode(written[:, :place], states)[:, place].argmax(1)
            written[:, place] = torch.where(there, best, 0)
            there = there & (best != 0)
        return written

    def _encode(self, letters: torch.Tensor) -> list[torch.Tensor]:
        """Return each layer's last state; (records, width) each."""
        series = self.dropout(self.read(letters.flip(1)))
        present, states = letters.flip(1) != 0, []
        for layer in self.encoder:
            series = layer(series, present)
            states.append(series[:, -1])
        return states

    def _decode(self, letters: torch.Tensor, states: list[torch.Tensor]) -> torch.Tensor:
        """Return the logits of each letter and of one more, from ``states`` and the letters before it."""
        before = functional.pad(letters, (1, 0))  # it begins with 0
        series = self.dropout(self.written(before))
        present = torch.ones_like(before, dtype=torch.bool)
        for layer, state in zip(self.decoder, states, strict=True):
            series = layer(series, present, first=state)
        logits: torch.Tensor = self.next_letter(self.dropout(series))
        return logits

    def _compute_recovery(self, letters: torch.Tensor, states: list[torch.Tensor]) -> torch.Tensor:
        """Compute the cross-entropies of a molecule's letters and its end, over the public length; (records,)."""
        logits = self._decode(letters, states)  # (records, length + 1, letters)
        wanted = functional.pad(letters, (0, 1))
        counted = functional.pad(letters != 0, (1, 0), value=True)
        losses = functional.cross_entropy(logits.movedim(2, 1), wanted, reduction="none")
        return losses.masked_fill(~counted, 0.0).sum(1) / wanted.shape[1]


def build(options: Seq2SeqFingerprintOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Seq2SeqFingerprint:
    """Build encoder, decoder and head for SMILES of a length and an alphabet."""
    return Seq2SeqFingerprint(options, sizes, outputs)


_PAPER: Final = {"compound_length": 60, "compound_letters": 40}
_EXAMPLE: Final = {"compound_length": 6, "compound_letters": 10}
_CODE: Final = ("read", "encoder")

MODEL: Final = ModelEntry(
    title="Seq2seq fingerprint: a code that a molecule is written from again",
    domain="drugs",
    rate=3.0,
    options=Seq2SeqFingerprintOptions,
    build=build,
    tasks=("multiclass", "binary", "multilabel", "regression"),
    inputs=(
        Input("compound", "id", ("compound_length",), "letters of the SMILES, 0 after its end", "compound_letters"),
    ),
    citation="Zhang, Wang, Zhu, Xu, Wang and Huang 2018, Seq3seq fingerprint: towards end-to-end semi-supervised deep "
    "drug discovery, ACM International Conference on Bioinformatics, Computational Biology and Health Informatics, "
    "404-413",
    repository="https://github.com/xysteve00/seq3seq-fingerprint-regression",
    presets={
        "paper": Seq2SeqFingerprintOptions(),
        "small": Seq2SeqFingerprintOptions(width=12, layers=1, dropout=0.0, recovery=1.0),
    },
    # 2,400,041 with the second biases of torch's units, of which these have one
    counts=(Count("paper", _PAPER, (), 2_395_433), Count("small", _EXAMPLE, (3,), 2_209)),
    example=_EXAMPLE,
    objectives={"recovery": (*_CODE, "written", "decoder", "next_letter")},
    replaced=(
        Replacement(
            paper="molecules in buckets by length, drawn from one with replacement until a batch is full",
            here="one public length, and each molecule drawn for itself",
            why="a molecule that is twice in a batch counts twice, and the size of a bucket tells of the company",
        ),
        Replacement(
            paper="the mean loss over the letters of a batch",
            here="the sum over a molecule's letters, over the public length",
            why="how much a molecule weighs must not depend on the others of the batch",
        ),
        Replacement(
            paper="the decoder attends to the encoder's states",
            here="it sees the fingerprint alone",
            why="not because of privacy: what passes beside the fingerprint need not be in it",
        ),
        Replacement(
            paper="the head's output goes through a rectifier",
            here="it does not",
            why="not because of privacy: logarithms and logits may be negative",
        ),
    ),
)
