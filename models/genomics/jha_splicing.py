"""How often an exon is used, and how that changes between conditions, from features of the exon and a context.

::

    encoder     code = tanh(V f + a)                      of the features f of an exon
    decoder     V' code + a'                              restores them, from a copy in which some are set to 0
    layers      h = dropout(relu(W [code, context] + b))  two of them; the context says the tissues, or the factor
    outputs     U h + c                                   the share of transcripts that have the exon, and how much that
                                                          rises and falls from the first condition to the second

Two stages share one budget: the objective ``features`` trains encoder and decoder without labels, then the task trains
the encoder and the layers. Where features are those of a public genome, the first stage needs no patients: train it
on all public exons and begin with its weights, at no privacy cost.

**A patient is the person whose RNA was measured, and all their exons in all conditions are their records: epsilon
protects all that was measured of a person.** The paper's code is not public: the model is after its description, and
widths are those of this catalogue.
"""

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.dense import list_hidden_layers
from models.layers.heads import count_outputs, shape_outputs


class JhaSplicingOptions(Options):
    """The options of ``jha-splicing``.

    Attributes:
        code: numbers that the encoder makes of an exon's features.
        corruption: the part of the features that is set to 0 in the first stage.
        hidden: units of the layers between code and outputs.
        dropout: the part of their values that is set to 0 in training.
    """

    code: Units = 500
    corruption: float = Field(default=0.1, ge=0, lt=1)
    hidden: tuple[Units, ...] = Field(default=(400, 200), min_length=1, max_length=4)
    dropout: float = Field(default=0.5, ge=0, lt=1)


class JhaSplicing(nn.Module):
    """An autoencoder of features, and layers on its code and a context."""

    objective: str = "task"
    draws_randomly = True

    def __init__(self, options: JhaSplicingOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = nn.Linear(sizes["features"], options.code)
        self.decoder = nn.Linear(options.code, sizes["features"])
        widths = (options.code + sizes["contexts"], *options.hidden)
        layers = list_hidden_layers(widths, options.dropout)
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], count_outputs(outputs)))
        self._corruption, self._outputs = options.corruption, outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the outputs of ``features`` (records, features) and ``context``, or the loss of the first stage."""
        features = inputs["features"]
        if self.objective != "task":
            return {"own_loss": self._compute_restoration_losses(features)}
        code = torch.tanh(self.encoder(features))
        return shape_outputs(self.layers(torch.cat([code, inputs["context"]], dim=1)), self._outputs)

    def _compute_restoration_losses(self, features: torch.Tensor) -> torch.Tensor:
        """Compute the mean squared error over the features of each record; (records,)."""
        corrupted = features
        if self.training:
            corrupted = features * (torch.rand_like(features) >= self._corruption)
        restored: torch.Tensor = self.decoder(torch.tanh(self.encoder(corrupted)))
        return (restored - features).square().mean(1)


def build(options: JhaSplicingOptions, sizes: Sizes, outputs: tuple[int, ...]) -> JhaSplicing:
    """Build the network for ``features`` of an exon and ``contexts`` of one-hot contexts."""
    return JhaSplicing(options, sizes, outputs)


_PAPER: Final = {"features": 1_357, "contexts": 10}
_EXAMPLE: Final = {"features": 12, "contexts": 2}

MODEL: Final = ModelEntry(
    title="Use of an exon and its change, from features and a context",
    domain="genomics",
    rate=0.1,
    options=JhaSplicingOptions,
    build=build,
    tasks=("regression", "binary", "multilabel"),
    inputs=(
        Input("features", "number", ("features",), "public features of an exon and its neighbours"),
        Input(
            "context", "number", ("contexts",), "one-hot: the tissues or conditions, the factor that was changed"
        ),
    ),
    citation="Jha, Gazzara and Barash 2017, Integrative deep models for alternative splicing, Bioinformatics "
    "33(14):i274-i282",
    presets={
        "paper": JhaSplicingOptions(),
        "small": JhaSplicingOptions(code=8, hidden=(8, 4), dropout=0.0),
    },
    # 1,358,857 in the autoencoder; in the layers 285,203 for two of five tissues, and 290,803 for 24 contexts, where
    # cell types, factors and kinds of experiment are joined to them
    counts=(
        Count("paper", _PAPER, (3,), 1_644_060),
        Count("paper", {"features": 1_357, "contexts": 24}, (3,), 1_649_660),
        Count("small", _EXAMPLE, (), 341),
    ),
    example=_EXAMPLE,
    objectives={"features": ("encoder", "decoder")},
    task_layers=("encoder", "layers"),
    replaced=(
        Replacement(
            paper="features scaled by what the cohort's exons have",
            here="by public ranges",
            why="with a person's own variants, features are theirs",
        ),
        Replacement(
            paper="each pair of tissues of an exon is an example",
            here="all that was measured of a person are their records, and are clipped together",
            why="a person is in thousands of pairs: protecting a pair would not protect the person",
        ),
        Replacement(
            paper="expectations of a probabilistic quantification as soft targets of a cross-entropy",
            here="the squared error of the task",
            why="this is not for privacy: one task of numbers serves all models",
        ),
        Replacement(
            paper="targets that were not measured are left out of the loss",
            here="records without them are left out by the data contract",
            why="a loss that is divided by how many targets there are would depend on the patient",
        ),
    ),
)
