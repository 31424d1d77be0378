"""The loss of predicted numbers, and their way between the target's own units and the scale that models see."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from privacy.study.data.tensors import Numbers
from privacy.study.tasks.number_target import NumberTargetTerms

if TYPE_CHECKING:
    import torch


def compute_number_losses(
    outputs: "torch.Tensor", truths: "torch.Tensor", terms: NumberTargetTerms
) -> "torch.Tensor":
    """Compute the loss of each record, the mean over its numbers; (records,).

    Args:
        outputs: in the scale that models see, (records, *shape).
        truths: in the same scale and shape.
        terms: which loss.
    """
    from torch.nn.functional import huber_loss, mse_loss  # the coordinator reads figures without torch

    if terms.loss == "huber":
        losses = huber_loss(outputs, truths, reduction="none", delta=terms.delta)
    else:
        losses = mse_loss(outputs, truths, reduction="none")
    return losses.reshape(len(losses), -1).mean(dim=1)


def compute_shares(values: NDArray[np.generic], numbers: Numbers) -> NDArray[np.float64]:
    """Compute shares of the range, 0 for its low end and 1 for its high one, of numbers as models see them."""
    low, high = numbers.range
    shares: NDArray[np.float64] = (values.astype(np.float64) - low) / (high - low)
    return shares


def describe_numbers(outputs: "torch.Tensor", numbers: Numbers) -> NDArray[np.float64]:
    """Return outputs in the target's own units, (records, *shape); they may lie beyond its range."""
    shares = compute_shares(outputs.detach().double().cpu().numpy(), numbers)
    return numbers.low + shares * (numbers.high - numbers.low)
