"""Random records of visits and of irregular series, and models of them with random parameters."""

from collections.abc import Mapping
from typing import Any

import torch

from models.catalogue import find_model

Tensors = dict[str, torch.Tensor]


def draw_inputs(name: str, sizes: Mapping[str, int], lengths: list[int], seed: int = 0) -> Tensors:
    """Inputs of the model ``name``, one record for each of ``lengths``, the number of present steps."""
    random = torch.Generator().manual_seed(seed)
    found: Tensors = {}
    for each in find_model(name).inputs:
        shape = [len(lengths), *(sizes[str(axis)] for axis in each.axes)]
        if each.name == "present":
            found[each.name] = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
        elif each.type == "id":
            found[each.name] = torch.randint(0, sizes[str(each.values)], shape, generator=random)
        elif each.type == "flag":
            found[each.name] = torch.rand(shape, generator=random) < 0.5
        else:
            low = 0.0 if each.name == "gaps" else -1.0
            found[each.name] = low + (1 - low) * torch.rand(shape, generator=random)
    return found


def build_model(name: str, sizes: Mapping[str, int], outputs: tuple[int, ...], seed: int = 0) -> Any:
    """The small preset of the model ``name`` with random parameters, in evaluation."""
    entry = find_model(name)
    module = entry.build(entry.presets["small"], sizes, outputs)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=random) - 0.5)
    return module.eval()


def pad_inputs(inputs: Tensors, steps: int) -> Tensors:
    """The inputs with ``steps`` more steps at the end that are not present, and anything else in them."""
    padded = {}
    for name, value in inputs.items():
        more = torch.ones_like(value[:, :1]).repeat_interleave(steps, dim=1)
        padded[name] = torch.cat([value, torch.zeros_like(more) if name == "present" else more], dim=1)
    return padded
