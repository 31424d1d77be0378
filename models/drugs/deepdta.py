"""DeepDTA: two convolutional towers, over a compound's SMILES and a protein's sequence, to predict binding affinity."""

from collections.abc import Mapping
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes, Units
from models.layers.heads import count_outputs, shape_outputs
from models.layers.letter_tower import CONVOLUTIONS, Tower

Kernel = Annotated[int, Field(ge=1, le=100)]


class DeepDtaOptions(Options):
    """The options of ``deepdta``.

    Attributes:
        embedding: numbers for each letter.
        filters: of the first convolution of a tower; the second has twice, the third three times as many.
        compound_kernel: letters that a filter over the compound sees.
        protein_kernel: the same for the protein.
        hidden: units of the three hidden layers.
        dropout: after the first and the second of them, in training.
    """

    embedding: int = Field(default=128, ge=1, le=4096)
    filters: int = Field(default=32, ge=1, le=1024)
    compound_kernel: Kernel = 8
    protein_kernel: Kernel = 12
    hidden: tuple[Units, Units, Units] = (1024, 1024, 512)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class DeepDta(nn.Module):
    """Both towers, and a perceptron on what they give."""

    draws_randomly = True

    def __init__(self, options: DeepDtaOptions, sizes: Sizes, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.compound, self.protein = (
            Tower(
                name, sizes[f"{name}_letters"], sizes[f"{name}_length"], kernel, options.embedding, options.filters
            )
            for name, kernel in (("compound", options.compound_kernel), ("protein", options.protein_kernel))
        )
        first, second, third = options.hidden
        self.layers = nn.Sequential(
            nn.Linear(2 * CONVOLUTIONS * options.filters, first),
            nn.ReLU(),
            nn.Dropout(options.dropout),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Dropout(options.dropout),
            nn.Linear(second, third),
            nn.ReLU(),
            nn.Linear(third, count_outputs(outputs)),
        )
        self._outputs = outputs

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs of ``compound`` and ``protein``, (records, length) each; (records, *outputs)."""
        both = torch.cat([self.compound(inputs["compound"]), self.protein(inputs["protein"])], dim=1)
        return shape_outputs(self.layers(both), self._outputs)


def build(options: DeepDtaOptions, sizes: Sizes, outputs: tuple[int, ...]) -> DeepDta:
    """Build both towers for the lengths and alphabets of ``sizes``."""
    return DeepDta(options, sizes, outputs)


_PAPER: Final = {"compound_length": 100, "compound_letters": 65, "protein_length": 1000, "protein_letters": 26}
_EXAMPLE: Final = {"compound_length": 20, "compound_letters": 65, "protein_length": 40, "protein_letters": 26}

MODEL: Final = ModelEntry(
    title="DeepDTA: affinity of a compound to a protein",
    domain="drugs",
    rate=0.2,
    options=DeepDtaOptions,
    build=build,
    tasks=("pairs", "regression", "binary"),
    inputs=(
        Input("compound", "id", ("compound_length",), "letters of the SMILES, 0 after its end", "compound_letters"),
        Input(
            "protein", "id", ("protein_length",), "amino acids of the sequence, 0 after its end", "protein_letters"
        ),
    ),
    citation="Öztürk, Özgür and Ozkirimli 2018, DeepDTA: deep drug-target binding affinity prediction, Bioinformatics "
    "34(17):i821-i829",
    repository="https://github.com/hkmztrk/DeepDTA",
    presets={
        "paper": DeepDtaOptions(),
        "small": DeepDtaOptions(
            embedding=16, filters=8, compound_kernel=4, protein_kernel=4, hidden=(32, 32, 16), dropout=0.0
        ),
    },
    # the paper chose kernels of 4, 6 or 8 and of 8 or 12 letters by validation
    counts=(
        Count("paper", _PAPER, (), 2_030_337),
        Count("small", _EXAMPLE, (), 9_841),
    ),
    example=_EXAMPLE,
    replaced=(
        Replacement(
            paper="pairs of a compound and a protein are drawn one by one",
            here="all pairs of a compound are its records, and are clipped together",
            why="a compound is in hundreds of pairs: protecting a pair would not protect the compound",
        ),
        Replacement(
            paper="training stops by the loss on a validation fold",
            here="a number of rounds that is fixed in advance, or an evaluation that is paid for",
            why="when training stops tells something of the patients it was stopped by",
        ),
    ),
)
