"""Reverse complement: the other strand of a sequence, read backwards; it says the same of a double strand of DNA."""

import torch

from models.augment.draws import Vary, draw_chosen, select
from privacy.study.augmentation import ReverseComplement


def draw_reverse_complements(step: ReverseComplement, first: torch.Tensor, generator: torch.Generator) -> Vary:
    """Draw which records are read on the other strand."""
    chosen = draw_chosen(len(first), step.chance, generator, first.device)
    opposite = torch.tensor(step.complement, device=first.device)
    letters, positions = (-2, -1) if step.letters == "first" else (-1, -2)

    def vary(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if name in step.positions:
            return select(chosen, tensor.flip(-1), tensor)
        if tensor.dtype == torch.int64:
            return select(chosen, opposite[tensor].flip(-1), tensor)
        return select(chosen, tensor.index_select(letters, opposite).flip(positions), tensor)

    return vary
