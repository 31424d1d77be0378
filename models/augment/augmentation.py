"""The augmentation that the terms ask for, as one function of a batch.

Rules:

* every record gets its own draws, and no record meets another one;
* the same generator state gives the same batch; nothing else is random;
* shapes and types stay, and the tensors given are not changed;
* a tensor that is both input and target, because it is to be reconstructed, is varied in both by what moves places;
  what changes values changes the input alone.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from models.augment.draws import Vary
from models.augment.flips import draw_flips, draw_quarter_turns
from models.augment.intensity import draw_contrasts, draw_noise
from models.augment.resampling import draw_crops, draw_rotations, draw_scales
from models.augment.sequences import draw_reverse_complements
from models.augment.stain import draw_stains
from models.augment.translation import draw_translations
from models.augment.words import draw_dropped_words
from models.errors import ModelError
from privacy.study.augmentation import Augmentation

Tensors = Mapping[str, torch.Tensor]
Augment = Callable[[Tensors, Tensors, torch.Generator], tuple[Tensors, Tensors]]
"""(inputs, targets, generator) -> inputs and targets with varied records, in the same order."""

_DRAWS: Final[dict[str, Callable[[Any, torch.Tensor, torch.Generator], Vary]]] = {
    "flip": draw_flips,
    "quarter_turn": draw_quarter_turns,
    "rotate": draw_rotations,
    "translate": draw_translations,
    "crop": draw_crops,
    "scale": draw_scales,
    "contrast": draw_contrasts,
    "noise": draw_noise,
    "stain": draw_stains,
    "reverse_complement": draw_reverse_complements,
    "drop_words": draw_dropped_words,
}


def make_augmentation(choice: Augmentation) -> Augment:
    """Make the function that varies the records of a batch, step by step.

    It takes and gives tensors by the names of the data contract, records first, and raises :class:`ModelError` if one
    that a step names is missing.
    """

    def augment(inputs: Tensors, targets: Tensors, generator: torch.Generator) -> tuple[Tensors, Tensors]:
        varied = (dict(inputs), dict(targets))
        for step in choice.steps:
            parts = varied[:1] if step.inputs_only else varied
            places = [(part, name) for name in step.list_tensors() for part in parts if name in part]
            if missing := set(step.list_tensors()) - {name for _, name in places}:
                known = ", ".join(dict.fromkeys(name for part in parts for name in part))
                raise ModelError(
                    f"augmentation, {step.kind}: there is no tensor '{min(missing)}' to vary, only {known}"
                )
            part, name = places[0]
            vary = _DRAWS[step.kind](step, part[name], generator)
            for part, name in places:
                part[name] = vary(name, part[name])
        return varied

    return augment
