"""What all kinds of variation share: a draw for each record, and a choice of the records that are varied.

Rules:

* a draw for each record, all of them on the device of the generator, so that they depend on it alone;
* how many numbers are drawn depends on shapes alone, never on values or on what was drawn before.
"""

from collections.abc import Callable

import torch

Vary = Callable[[str, torch.Tensor], torch.Tensor]
"""The variation of one step, once its draws are made: from a tensor's name and values, records first, to new values."""


def draw_uniform(
    records: int, low: float, high: float, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """Draw a number in [low, high) for each record; (records,) on ``device``."""
    return low + (high - low) * torch.rand(records, generator=generator, device=generator.device).to(device)


def draw_chosen(records: int, chance: float, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """Draw for each record whether it is varied, with the probability ``chance``; (records,) bool on ``device``."""
    return draw_uniform(records, 0.0, 1.0, generator, device) < chance


def align(values: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """Arrange a value for each record, (records,), as (records, 1, ...) with as many axes as ``tensor``."""
    return values.reshape(-1, *[1] * (tensor.dim() - 1))


def select(chosen: torch.Tensor, varied: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """Take the records of ``varied`` where ``chosen``, (records,), says so, else those of ``tensor``."""
    return torch.where(align(chosen, tensor), varied, tensor)
