"""Rotation, scaling and crops of images: every pixel is read from an affine place of the record's own image.

Rules:

* numbers are interpolated linearly between the four nearest pixels; ids and flags are those of the nearest one, so that
  a mask stays a mask;
* a place is y and x of pixel centres, from the middle of the image. What comes to p is read at M p + s, with a matrix M
  and a shift s for each record.
"""

import torch
from torch.nn import functional

from models.augment.draws import Vary, draw_chosen, draw_uniform, select
from privacy.study.augmentation import Crop, Rotate, Scale


def draw_rotations(step: Rotate, first: torch.Tensor, generator: torch.Generator) -> Vary:
    """Draw an angle for each record, uniform in +-``degrees``; a positive one turns against the clock."""
    chosen = draw_chosen(len(first), step.chance, generator, first.device)
    angles = draw_uniform(len(first), -step.degrees, step.degrees, generator, first.device).deg2rad()
    cos, sin = angles.cos(), angles.sin()
    matrices = torch.stack([cos, sin, -sin, cos], dim=1).reshape(-1, 2, 2)
    shifts = torch.zeros(len(first), 2, device=first.device)
    return lambda name, tensor: select(chosen, _resample(tensor, matrices, shifts, step.outside), tensor)


def draw_scales(step: Scale, first: torch.Tensor, generator: torch.Generator) -> Vary:
    """Draw a factor for each record between 1 / (1 + ``part``) and 1 + ``part``, uniform in its logarithm."""
    chosen = draw_chosen(len(first), step.chance, generator, first.device)
    factors = (1 + step.part) ** draw_uniform(len(first), -1.0, 1.0, generator, first.device)
    matrices = torch.eye(2, device=first.device) / factors[:, None, None]
    shifts = torch.zeros(len(first), 2, device=first.device)
    return lambda name, tensor: select(chosen, _resample(tensor, matrices, shifts, step.outside), tensor)


def draw_crops(step: Crop, first: torch.Tensor, generator: torch.Generator) -> Vary:
    """Draw a window for each record: its part of height and width, uniform from ``least`` to 1, and its place."""
    chosen = draw_chosen(len(first), step.chance, generator, first.device)
    parts = draw_uniform(len(first), step.least, 1.0, generator, first.device)
    places = [draw_uniform(len(first), -0.5, 0.5, generator, first.device) for _ in range(2)]
    matrices = torch.eye(2, device=first.device) * parts[:, None, None]

    def vary(name: str, tensor: torch.Tensor) -> torch.Tensor:
        free = [(1 - parts) * length for length in tensor.shape[-2:]]  # pixels that the window leaves out
        shifts = torch.stack([place * left for place, left in zip(places, free, strict=True)], dim=1)
        return select(chosen, _resample(tensor, matrices, shifts, "edge"), tensor)

    return vary


def _resample(tensor: torch.Tensor, matrices: torch.Tensor, shifts: torch.Tensor, outside: str) -> torch.Tensor:
    """Read every pixel of ``tensor`` (records, ..., height, width) at its place.

    Args:
        tensor: numbers, ids or flags.
        matrices: (records, 2, 2), of y and x.
        shifts: (records, 2), in pixels.
        outside: ``edge`` or ``zero``: what is read beyond the image.
    """
    height, width = tensor.shape[-2:]
    lengths = torch.tensor([height, width], device=tensor.device)
    y, x = (torch.arange(length, device=tensor.device) - (length - 1) / 2 for length in (height, width))
    places = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1)  # (height, width, 2)
    read = torch.einsum("rij,hwj->rhwi", matrices, places) + shifts[:, None, None]
    grid = (2 * read / lengths).flip(-1)  # x before y, and the image from -1 to 1
    numbers = tensor.is_floating_point()
    images = (tensor if numbers else tensor.float()).reshape(len(tensor), -1, height, width)
    found = functional.grid_sample(
        images,
        grid.to(images.dtype),
        mode="bilinear" if numbers else "nearest",
        padding_mode="border" if outside == "edge" else "zeros",
        align_corners=False,
    )
    return found.reshape(tensor.shape).to(tensor.dtype)
