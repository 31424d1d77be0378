"""Compute a study's loss on a batch as a weighted sum of the losses of its records.

The module is called on the inputs as they are, one tensor or a mapping. What it returns goes to the loss as it is.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from privacy.dpsgd.named_tensors import Inputs, Targets, find_device
from privacy.errors import TermsError

Loss = Callable[[Any, Any], torch.Tensor]
"""(outputs of the module, targets) -> the loss of each record, (records,)."""


@dataclass(frozen=True)
class BatchLoss:
    """A module and a loss: what turns a batch into losses.

    Attributes:
        module: the model.
        loss: of each record.
        precision: type of the passes where that is safe (``torch.autocast``); None: the module's own type.
    """

    module: nn.Module
    loss: Loss
    precision: torch.dtype | None = None

    def compute_total_loss(self, inputs: Inputs, targets: Targets, weights: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum of the records' losses; a scalar.

        Raises:
            TermsError: the loss does not give one number for each record.
        """
        with self._cast(find_device(inputs)):
            losses = self.loss(self.module(inputs), targets)
        if losses.shape != weights.shape:
            raise TermsError(
                f"the loss must give one number for each record, expected shape {tuple(weights.shape)}, "
                f"got {tuple(losses.shape)}; use reduction='none'"
            )
        return (losses * weights.to(losses)).sum()

    @contextlib.contextmanager
    def _cast(self, device: torch.device) -> Iterator[None]:
        if self.precision is None:
            yield
        else:
            with torch.autocast(device.type, self.precision):
                yield
