"""A tower over the letters of a sequence, a compound's SMILES or a protein's amino acids, as DeepDTA has it."""

from itertools import pairwise
from typing import Final

import torch
from torch import nn

from models.errors import ModelError
from models.layers.rectifier import ConvolutionBeforeRectifier

CONVOLUTIONS: Final = 3


class Tower(nn.Module):
    """An embedding of letters, three convolutions, and the largest value of each filter over the sequence.

    The padding letter 0 is a letter like the others, as in the paper.

    Args:
        name: of the input, for messages.
        letters: of the alphabet.
        length: letters of a sequence.
        kernel: letters that a filter sees.
        embedding: numbers for each letter.
        filters: of the first convolution; the second has twice, the third three times as many.

    Raises:
        ModelError: the sequences are shorter than three convolutions need.
    """

    def __init__(self, name: str, letters: int, length: int, kernel: int, embedding: int, filters: int) -> None:
        super().__init__()
        least = CONVOLUTIONS * (kernel - 1) + 1
        if length < least:
            raise ModelError(
                f"a tower needs at least {least} letters of '{name}' for a kernel of {kernel}; the data have {length}"
            )
        self.kernel = kernel
        self.widths = tuple(filters * times for times in range(1, CONVOLUTIONS + 1))
        self.embedding = nn.Embedding(letters, embedding)
        self.convolutions = nn.ModuleList(
            ConvolutionBeforeRectifier(before, after, kernel)
            for before, after in pairwise((embedding, *self.widths))
        )

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        """Encode ``letters`` (records, length); (records, 3 * filters)."""
        return self.convolve(self.embed(letters)).amax(2)

    def embed(self, letters: torch.Tensor) -> torch.Tensor:
        """Embed ``letters`` (records, length); (records, embedding, length)."""
        values: torch.Tensor = self.embedding(letters)
        return values.movedim(1, 2)

    def convolve(self, values: torch.Tensor) -> torch.Tensor:
        """Filter embedded sequences (records, embedding, length); (records, 3 * filters, places)."""
        for convolution in self.convolutions:
            values = torch.relu(convolution(values))
        return values
