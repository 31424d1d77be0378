"""Apply one step to tensors, with a generator of a given seed, and repeat its draws."""

from typing import Any

import torch

from models.augment.augmentation import Tensors, make_augmentation
from privacy.study.augmentation import Augmentation


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def apply(
    step: dict[str, Any], inputs: Tensors, targets: Tensors | None = None, seed: int = 5
) -> tuple[Tensors, Tensors]:
    """Vary a batch by one step; without ``tensors`` it varies ``image``."""
    choice = Augmentation.model_validate({"steps": [{"tensors": ["image"], **step}]})
    return make_augmentation(choice)(inputs, targets or {}, seeded(seed))


def apply_to_image(step: dict[str, Any], image: torch.Tensor, seed: int = 5) -> torch.Tensor:
    return apply(step, {"image": image}, seed=seed)[0]["image"]


def repeat_draws(records: int, seed: int, low: float, high: float, place: int = 1) -> list[float]:
    """The numbers in [low, high) that a step draws for each record: in each place so many, chances in place 0."""
    generator = seeded(seed)
    for _ in range(place):
        torch.rand(records, generator=generator)
    return (low + (high - low) * torch.rand(records, generator=generator)).tolist()
