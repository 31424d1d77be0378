"""A softmax over the entries that are present, for attention over visits and steps."""

import torch


def masked_softmax(scores: torch.Tensor, present: torch.Tensor, axis: int = 1) -> torch.Tensor:
    """Return weights that sum to one over the present entries of ``axis``, and 0 for the others.

    A record without a present entry has weights 0 and gradients 0, never a division by zero.

    Args:
        scores: any real numbers.
        present: flags, of the same shape or broadcastable to it.
        axis: over which weights sum to one.
    """
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~present, lowest).softmax(axis).masked_fill(~present, 0.0)
