"""The precision of losses: sites may train in bfloat16, which keeps three digits; a sum over voxels needs more."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def widen(outputs: "torch.Tensor") -> "torch.Tensor":
    """Return ``outputs`` as float32 if they are of a shorter type, else as they are."""
    import torch  # the coordinator reads figures without torch

    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))
