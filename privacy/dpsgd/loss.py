"""Compute a study's loss on a batch as a weighted sum of the losses of its records."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from privacy.errors import TermsError

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(outputs, labels) -> the loss of each record, (records,)."""


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

    def compute_total_loss(
        self, features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """Return the weighted sum of the records' losses; a scalar.

        Raises:
            TermsError: the loss does not give one number for each record.
        """
        with self._cast(features.device):
            losses = self.loss(self.module(features), labels)
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
