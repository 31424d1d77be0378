"""Contrast and noise: numbers change where they are."""

import torch

from models.augment.draws import Vary, align, draw_chosen, draw_uniform, select
from privacy.study.augmentation import Contrast, Noise


def draw_contrasts(step: Contrast, first: torch.Tensor, generator: torch.Generator) -> Vary:
    """Draw for each record the factor of the differences from its mean, uniform in 1 +- ``part``."""
    chosen = draw_chosen(len(first), step.chance, generator, first.device)
    factors = draw_uniform(len(first), 1 - step.part, 1 + step.part, generator, first.device)

    def vary(name: str, tensor: torch.Tensor) -> torch.Tensor:
        mean = align(tensor.flatten(1).mean(1) if tensor.dim() > 1 else tensor, tensor)
        return select(chosen, mean + align(factors, tensor) * (tensor - mean), tensor)

    return vary


def draw_noise(step: Noise, first: torch.Tensor, generator: torch.Generator) -> Vary:
    """Draw which records get noise; the noise of every number is drawn tensor by tensor."""
    chosen = draw_chosen(len(first), step.chance, generator, first.device)

    def vary(name: str, tensor: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(tensor.shape, generator=generator, device=generator.device).to(tensor)
        return select(chosen, tensor + step.deviation * noise, tensor)

    return vary
