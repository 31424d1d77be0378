"""The largest value over the steps that are present, for filters that are moved over a series."""

import torch


def masked_max(values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return the largest value of each unit over the present steps; (records, steps, units) -> (records, units).

    A record without a present step has values 0 and gradients 0.

    Args:
        values: any real numbers, steps on the second axis.
        present: flags, (records, steps).
    """
    lowest = torch.finfo(values.dtype).min
    largest = values.masked_fill(~present.unsqueeze(2), lowest).amax(1)
    return largest.masked_fill(~present.any(1, keepdim=True), 0.0)
