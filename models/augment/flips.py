"""Flips and quarter turns of images: places are exchanged, values never change."""

from typing import Final

import torch

from models.augment.draws import Vary, align, draw_chosen, draw_uniform, select
from privacy.study.augmentation import Flip, QuarterTurn

_AXES: Final = {"width": -1, "height": -2, "depth": -3}


def draw_flips(step: Flip, first: torch.Tensor, generator: torch.Generator) -> Vary:
    """Draw which records are mirrored; ``first`` is one of the tensors, (records, ..., height, width)."""
    chosen = draw_chosen(len(first), step.chance, generator, first.device)
    return lambda name, tensor: select(chosen, tensor.flip(_AXES[step.axis]), tensor)


def draw_quarter_turns(step: QuarterTurn, first: torch.Tensor, generator: torch.Generator) -> Vary:
    """Draw for each chosen record a turn by 0, 90, 180 or 270 degrees, each as likely."""
    chosen = draw_chosen(len(first), step.chance, generator, first.device)
    turns = draw_uniform(len(first), 0.0, 4.0, generator, first.device).long() * chosen  # (records,)

    def vary(name: str, tensor: torch.Tensor) -> torch.Tensor:
        varied = tensor
        for number in (1, 2, 3):
            varied = torch.where(align(turns == number, tensor), tensor.rot90(number, (-2, -1)), varied)
        return varied

    return vary
