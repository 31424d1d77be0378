"""Translation of images by whole pixels: values are moved, never mixed."""

import torch

from models.augment.draws import Vary, align, draw_chosen, draw_uniform
from privacy.study.augmentation import Translate


def draw_translations(step: Translate, first: torch.Tensor, generator: torch.Generator) -> Vary:
    """Draw how many pixels each chosen record moves down and to the right.

    Each is the nearest whole number to a uniform number in +-``part`` of the height, and of the width.
    """
    chosen = draw_chosen(len(first), step.chance, generator, first.device)
    shares = [draw_uniform(len(first), -step.part, step.part, generator, first.device) for _ in range(2)]

    def vary(name: str, tensor: torch.Tensor) -> torch.Tensor:
        for axis, share in zip((-2, -1), shares, strict=True):
            moved = (share * tensor.shape[axis]).round().long() * chosen  # (records,)
            tensor = _move(tensor, axis, moved, zero=step.outside == "zero")
        return tensor

    return vary


def _move(tensor: torch.Tensor, axis: int, moved: torch.Tensor, zero: bool) -> torch.Tensor:
    """Move every record by its number of pixels, (records,), along ``axis``."""
    length = tensor.shape[axis]
    along = [1] * tensor.dim()
    along[axis] = length
    places = torch.arange(length, device=tensor.device).reshape(along)  # of what comes
    sources = places - align(moved, tensor)  # (records, 1, ..., length, ...)
    taken = tensor.gather(axis, sources.clamp(0, length - 1).expand(tensor.shape))
    return taken.masked_fill((sources < 0) | (sources >= length), 0) if zero else taken
