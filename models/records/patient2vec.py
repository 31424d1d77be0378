"""Patient2Vec: attention to the events of each time bin, and to the bins, which both can be shown.

::

    event weight   a_ti = sigmoid(w . e_ti + b)          e_ti: the vector of event i of bin t
    bin            x_t = sum_i a_ti e_ti
    states         h_t = gated units over the bins, in both directions
    bin weights    beta_k = softmax over bins of (u_k . h_t)         for each of several hops k
    outputs        U [sum_t beta_kt h_t for all k; demographics] + d
    own loss       penalty |B B' - I|^2                  B: the rows beta_k

The own loss lets the hops look at different bins: it is 0 when each of them looks at one bin of its own.

Rules:

* event 0 is none: it has the weight 0. A bin without an event is skipped: it leaves the states as they were, and has
  the weight 0;
* the bin weights have no bias, which the softmax would remove.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.layers.heads import count_outputs, shape_outputs
from models.layers.masked_softmax import masked_softmax
from models.layers.recurrent import GatedUnits, read_both_ways


class Patient2VecOptions(Options):
    """The options of ``patient2vec``.

    Attributes:
        embedding: numbers for each event.
        units: of each direction.
        hops: how many times the bins are weighted.
        penalty: the weight of the own loss.
        dropout: of the bins' vectors, in training.
    """

    embedding: int = Field(default=100, ge=1, le=4096)
    units: int = Field(default=256, ge=1, le=4096)
    hops: int = Field(default=3, ge=1, le=64)
    penalty: float = Field(default=0.5, ge=0, le=1000)
    dropout: float = Field(default=0.5, ge=0, le=0.95)


class Attention(NamedTuple):
    """What a prediction looks at.

    Attributes:
        events: (records, bins, events), each between 0 and 1.
        bins: (records, hops, bins); the bins of a hop sum to 1, or to 0 without any event.
    """

    events: torch.Tensor
    bins: torch.Tensor


class Patient2Vec(nn.Module):
    """Vectors of events, attention within bins, gated units in both directions, attention over bins."""

    def __init__(self, options: Patient2VecOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        width, both = options.embedding, 2 * options.units
        self.embedding = nn.Embedding(sizes["codes"], width, padding_idx=0)
        self.event_weight = nn.Linear(width, 1)
        self.onward = GatedUnits(width, options.units)
        self.back = GatedUnits(width, options.units)
        self.bin_weights = nn.Linear(both, options.hops, bias=False)
        self.head = nn.Linear(options.hops * both + sizes["demographics"], count_outputs(outputs))
        self.dropout = nn.Dropout(options.dropout)
        self._penalty, self._outputs = options.penalty, outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``outputs``, (records, *outputs), and ``own_loss``, (records,)."""
        states, attention = self._read(inputs["events"])
        context = (attention.bins @ states).flatten(1)  # (records, hops * 2 * units)
        found = self.head(torch.cat([context, inputs["demographics"]], dim=1))
        return {
            "outputs": shape_outputs(found, self._outputs),
            "own_loss": self._penalty * measure_overlap(attention.bins),
        }

    @torch.no_grad()
    def read_attention(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the weights of ``bins``, the mean over hops, (records, bins), and of ``events`` in each bin."""
        attention = self._read(inputs["events"])[1]
        return {"bins": attention.bins.mean(1), "events": attention.events}

    def _read(self, events: torch.Tensor) -> tuple[torch.Tensor, Attention]:
        """Return the states at each bin, (records, bins, 2 * units), and the attention that reads them."""
        there = events != 0  # (records, bins, events)
        vectors = self.embedding(events)  # (records, bins, events, embedding)
        of_events = torch.sigmoid(self.event_weight(vectors).squeeze(3)).masked_fill(~there, 0.0)
        bins = self.dropout((of_events.unsqueeze(3) * vectors).sum(2))  # (records, bins, embedding)
        present = there.any(2)
        states = read_both_ways(self.onward, self.back, bins, present)  # (records, bins, 2 * units)
        of_bins = masked_softmax(self.bin_weights(states), present.unsqueeze(2), axis=1)  # (records, bins, hops)
        return states, Attention(of_events, of_bins.transpose(1, 2))


def measure_overlap(hops: torch.Tensor) -> torch.Tensor:
    """Return ``|B B' - I|^2`` of each record's weights, (records, hops, bins); (records,)."""
    products = hops @ hops.transpose(1, 2)  # (records, hops, hops)
    return (products - torch.eye(hops.shape[1], dtype=hops.dtype, device=hops.device)).square().sum((1, 2))


def build(options: Patient2VecOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Patient2Vec:
    """Build Patient2Vec for events of ``sizes["codes"]`` kinds, with event 0, which is none."""
    return Patient2Vec(options, sizes, outputs)


_PAPER: Final = {"bins": 12, "events": 30, "codes": 1000, "demographics": 3}
_EXAMPLE: Final = {"bins": 4, "events": 6, "codes": 20, "demographics": 3}

MODEL: Final = ModelEntry(
    title="Patient2Vec, attention within time bins and over them",
    domain="records",
    options=Patient2VecOptions,
    build=build,
    tasks=("binary", "multiclass", "multilabel"),
    inputs=(
        Input("events", "id", ("bins", "events"), "codes of each time bin, in any order, 0 for none", "codes"),
        Input("demographics", "number", ("demographics",), "age, sex and the like"),
    ),
    citation="Zhang, Kowsari, Harrison, Lobo and Barnes 2018, Patient2Vec: A Personalized Interpretable Deep "
    "Representation of the Longitudinal Electronic Health Record, IEEE Access 6:65333-65346",
    repository="https://github.com/BarnesLab/Patient2Vec",
    presets={
        "paper": Patient2VecOptions(),
        "small": Patient2VecOptions(embedding=12, units=6, hops=2, penalty=0.1, dropout=0.0),
    },
    # the authors' program has 605,808 for these sizes: no vectors of codes, which are 100,000 here, but 51,200 that it
    # does not use, a second bias of the units, 1,536, and biases before the softmax, 3
    counts=(
        Count("paper", _PAPER, (2,), 653_069),
        Count("small", _EXAMPLE, (), 989),
    ),
    example=_EXAMPLE,
    replaced=(
        Replacement(
            paper="vectors of codes that word2vec learned from the same records",
            here="vectors that are learned with the rest, or public weights",
            why="vectors of the cohort's own records are a use of these records, which has a price of its own: "
            "`code-embeddings` pays it",
        ),
        Replacement(
            paper="event weights cut to 0 and 1",
            here="a sigmoid",
            why="a weight that is cut has no gradient and learns no more; noise moves weights there",
        ),
        Replacement(
            paper="in the authors' program, the own loss has no gradient, and the loss applies a softmax to a softmax",
            here="the own loss as the paper has it, with its gradient; logits",
            why="not because of privacy: what has no gradient changes nothing that is learned",
        ),
        Replacement(
            paper="biases before the softmax over bins; no mask for bins without an event",
            here="no bias; such bins have the weight 0",
            why="the softmax removes a bias: with privacy it would be trained by noise alone",
        ),
    ),
)
