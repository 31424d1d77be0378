"""Count the parameters that a model of the catalogue really has, without memory for them."""

import torch

from models.entry import Count, ModelEntry


def count_parameters(entry: ModelEntry, count: Count) -> int:
    """Build the preset that ``count`` is of, and count."""
    with torch.device("meta"):
        module = entry.build(entry.presets[count.preset], count.sizes, count.outputs)
    return sum(parameter.numel() for parameter in module.parameters())
