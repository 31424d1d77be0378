"""ADAGE: a denoising autoencoder of gene expression, whose decoder is the transpose of its encoder.

Each hidden unit becomes a signature of genes that vary together; the weights are the result, and
:meth:`Adage.encode` gives the activity of every signature in a sample.
"""

import math
from collections.abc import Mapping
from typing import Final

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from models.entry import Count, Input, ModelEntry, Options, Replacement, Sizes
from models.errors import ModelError


class AdageOptions(Options):
    """The options of ``adage``: the number of signatures, and the part of the genes that is set to 0 in training."""

    signatures: int = Field(default=50, ge=1, le=4096)
    corruption: float = Field(default=0.1, ge=0, lt=1)


class TiedAutoencoder(nn.Module):
    """One weight matrix that encodes and, transposed, decodes: its gradient is the sum of both uses.

    Both uses are in this layer's own ``forward``, and nothing random: so the gradient of each patient is found by
    running the layer once more.
    """

    def __init__(self, genes: int, signatures: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(genes)
        self.weight = nn.Parameter(torch.empty(signatures, genes).uniform_(-bound, bound))
        self.signature_bias = nn.Parameter(torch.zeros(signatures))
        self.gene_bias = nn.Parameter(torch.zeros(genes))

    def forward(self, expression: torch.Tensor) -> torch.Tensor:
        """Encode and decode ``expression`` (records, genes); logits, (records, genes)."""
        return functional.linear(self.encode(expression), self.weight.T, self.gene_bias)

    def encode(self, expression: torch.Tensor) -> torch.Tensor:
        """Encode ``expression`` (records, genes); (records, signatures), in (0, 1)."""
        return torch.sigmoid(functional.linear(expression, self.weight, self.signature_bias))


class Adage(nn.Module):
    """The autoencoder, and the noise that it learns to remove."""

    draws_randomly = True

    def __init__(self, options: AdageOptions, genes: int) -> None:
        super().__init__()
        self.autoencoder = TiedAutoencoder(genes, options.signatures)
        self._corruption = options.corruption

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits of each gene's expression, from that of all genes; (records, genes) both."""
        expression = inputs["features"]
        if self.training:
            expression = expression * (torch.rand_like(expression) >= self._corruption)
        restored: torch.Tensor = self.autoencoder(expression)
        return restored

    def encode(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the activity of every signature, without noise; (records, signatures), in (0, 1)."""
        return self.autoencoder.encode(inputs["features"])


def build(options: AdageOptions, sizes: Sizes, outputs: tuple[int, ...]) -> Adage:
    """Build the autoencoder for ``genes`` numbers in [0, 1].

    Raises:
        ModelError: the task asks for something else than one output a gene.
    """
    if outputs != (sizes["genes"],):
        raise ModelError(
            f"adage gives one number for each of the {sizes['genes']} genes; the task asks for the shape {outputs}"
        )
    return Adage(options, sizes["genes"])


MODEL: Final = ModelEntry(
    title="ADAGE: denoising autoencoder of gene expression",
    domain="genomics",
    options=AdageOptions,
    build=build,
    tasks=("reconstruction",),
    inputs=(Input("features", "number", ("genes",), "the expression of each gene, scaled to [0, 1]"),),
    citation="Tan, Hammond, Hogan and Greene 2016, ADAGE-based integration of publicly available Pseudomonas "
    "aeruginosa gene expression data with denoising autoencoders illuminates microbe-host interactions, mSystems "
    "1(1):e00025-15",
    repository="https://github.com/greenelab/adage",
    presets={"paper": AdageOptions(), "small": AdageOptions(signatures=8)},
    # the paper's 5,549 genes: weights 277,450, biases 50 and 5,549
    counts=(
        Count("paper", {"genes": 5_549}, (5_549,), 283_049),
        Count("small", {"genes": 30}, (30,), 278),
    ),
    example={"genes": 30},
    replaced=(
        Replacement(
            paper="each gene scaled by its smallest and largest value in the compendium",
            here="scaled by the public ranges of the data contract",
            why="smallest and largest values are those of single patients",
        ),
        Replacement(
            paper="the cross-entropy summed over the genes",
            here="the task's mean over them",
            why="then the clipping norm does not depend on the number of genes",
        ),
    ),
)
