"""Dropping words: some places of a record are emptied, as if they had not been recorded."""

import torch

from models.augment.draws import Vary, align, draw_chosen
from privacy.study.augmentation import DropWords


def draw_dropped_words(step: DropWords, first: torch.Tensor, generator: torch.Generator) -> Vary:
    """Draw which places of each chosen record are emptied; ``first`` is (records, *shape) as all tensors are."""
    chosen = draw_chosen(len(first), step.chance, generator, first.device)
    drawn = torch.rand(first.shape, generator=generator, device=generator.device).to(first.device)
    dropped = (drawn < step.part) & align(chosen, first)
    return lambda name, tensor: tensor.masked_fill(dropped, 0)
