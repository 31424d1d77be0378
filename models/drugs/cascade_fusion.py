"""Cascade fusion: autoencoders of networks' rows, autoencoders of their codes, then a head on a drug and a protein.

::

    networks   h_n = tanh(W_n row_n)             an autoencoder for each network of drugs, and of proteins
    fusion     drug = tanh(V [h_1 h_2])          one more on the codes of an item's networks
               protein = tanh(U h_3)
    pair       elu(A [drug protein drug*protein]), then a linear head

Each autoencoder restores what it read: squared errors, under the objectives ``networks`` and ``fusion``. Then the task
trains the encoders with the head, unless the stage's ``trained`` leaves them out.

Rules:

* a patient here is a drug, and its pairs with proteins are its records: epsilon protects whether a company's drug was
  learned from, with the rows of it. A hospital has patients in the place of drugs, and their rows are theirs alone;
* a row of a public network also holds links of the other nodes, which are public anyway. Links of the kind that is
  predicted must not be in any row.

No code is public, and widths and activations could not be verified: the form is ours, and no figure of the paper
stands beside it. The product of both codes is in it because without one the head ranks proteins, not pairs.
"""

import math
from collections.abc import Mapping
from typing import ClassVar, Final

import torch
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.heads import count_outputs, shape_outputs

_NETWORKS: Final[Mapping[str, str]] = {
    "drug_drugs": "drugs",
    "drug_diseases": "diseases",
    "protein_diseases": "diseases",
}
"""Each input, and the axis of its rows."""
_OF_DRUGS: Final = 2  # of the networks; the last one is of proteins


class CascadeFusionOptions(Options):
    """The options of ``cascade-fusion``.

    Attributes:
        network: units for each network.
        fused: units for a drug, and for a protein.
        hidden: units of the layer before the outputs.
    """

    network: Units = 256
    fused: Units = 128
    hidden: Units = 64


class LinearBeforeTanh(nn.Linear):
    """A linear layer that begins wider than others (``models/parameters/initial.py``).

    With usual first values each layer passes on a third of what differs between rows (its square); the factor makes up
    for it, and three layers still tell rows apart.
    """

    initial_gain: ClassVar[float] = math.sqrt(3)


class RowAutoencoder(nn.Module):
    """A layer of tanh that encodes, and a linear one that decodes."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.encoder = LinearBeforeTanh(features, units)
        self.decoder = nn.Linear(units, features)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Encode ``values`` (records, features); (records, units), in (-1, 1)."""
        code: torch.Tensor = torch.tanh(self.encoder(values))
        return code

    def compute_losses(self, values: torch.Tensor) -> torch.Tensor:
        """Compute the mean squared error of each record's restoration; (records,)."""
        losses: torch.Tensor = (self.decoder(self(values)) - values).square().mean(1)
        return losses


class CascadeFusion(nn.Module):
    """Autoencoders in two steps, and the head."""

    objective: str = "task"

    def __init__(self, options: CascadeFusionOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(RowAutoencoder(sizes[axis], options.network) for axis in _NETWORKS.values())
        self.fusions = nn.ModuleList(
            RowAutoencoder(count * options.network, options.fused)
            for count in (_OF_DRUGS, len(_NETWORKS) - _OF_DRUGS)
        )
        self.pair = nn.Linear(3 * options.fused, options.hidden)
        self.head = nn.Linear(options.hidden, count_outputs(outputs))
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the outputs of the rows of pairs, (records, nodes) each, or the loss of what is pre-trained."""
        rows = [inputs[name].float() for name in _NETWORKS]
        if self.objective == "networks":
            return {"own_loss": _sum_losses(self.networks, rows)}
        codes = [network(row) for network, row in zip(self.networks, rows, strict=True)]
        parts = [torch.cat(codes[:_OF_DRUGS], dim=1), torch.cat(codes[_OF_DRUGS:], dim=1)]
        if self.objective == "fusion":
            # the networks' autoencoders are not trained again
            return {"own_loss": _sum_losses(self.fusions, [part.detach() for part in parts])}
        drug, protein = (fusion(part) for fusion, part in zip(self.fusions, parts, strict=True))
        pair = functional.elu(self.pair(torch.cat([drug, protein, drug * protein], dim=1)))
        return shape_outputs(self.head(pair), self._outputs)


def _sum_losses(autoencoders: nn.ModuleList, values: list[torch.Tensor]) -> torch.Tensor:
    losses = []
    for autoencoder, each in zip(autoencoders, values, strict=True):
        assert isinstance(autoencoder, RowAutoencoder)
        losses.append(autoencoder.compute_losses(each))
    return torch.stack(losses).sum(0)


def build(options: CascadeFusionOptions, sizes: Sizes, outputs: tuple[int, ...]) -> CascadeFusion:
    """Build autoencoders and head for rows over ``drugs`` and ``diseases``."""
    return CascadeFusion(options, sizes, outputs)


_EXAMPLE: Final = {"drugs": 12, "diseases": 10}

MODEL: Final = ModelEntry(
    title="Cascade fusion of networks for drugs and targets",
    domain="drugs",
    rate=1.5,
    options=CascadeFusionOptions,
    build=build,
    tasks=("binary", "multiclass", "regression"),
    inputs=(
        Input("drug_drugs", "flag", ("drugs",), "the drugs that the drug interacts with"),
        Input("drug_diseases", "flag", ("diseases",), "the diseases that the drug is for"),
        Input("protein_diseases", "flag", ("diseases",), "the diseases that the protein has to do with"),
    ),
    citation="Hu, Huang, You, Li, Chan, Leung and Hu 2019, Learning from deep representations of multiple networks for "
    "predicting drug-target interactions, Intelligent Computing Theories and Application, Lecture Notes in Computer "
    "Science 11644:151-161",
    presets={
        "paper": CascadeFusionOptions(),
        "small": CascadeFusionOptions(network=12, fused=10, hidden=10),
    },
    # 733,460 of drugs, 291,896 of proteins, 24,705 of the head; the widths are ours
    counts=(
        Count("paper", {"drugs": 732, "diseases": 440}, (), 1_050_061),
        Count("small", _EXAMPLE, (), 1_933),
    ),
    example=_EXAMPLE,
    objectives={"networks": ("networks",), "fusion": ("fusions",)},
    task_layers=(
        *(f"networks.{place}.encoder" for place in range(len(_NETWORKS))),
        "fusions.0.encoder",
        "fusions.1.encoder",
        "pair",
        "head",
    ),
    replaced=(
        Replacement(
            paper="each row of a network could be an example of its autoencoder",
            here="the rows of a pair are, and all pairs of a drug are clipped together",
            why="the promise is made to drugs, or to patients, and one with many pairs must not count more",
        ),
        Replacement(
            paper="links could be drawn one by one for tests, from drugs that are known",
            here="no test drug is in training",
            why="a drug is what is protected, so that a study is about new ones",
        ),
    ),
)
