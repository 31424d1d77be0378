"""What a model is trained for: its loss, what is counted of test patients, and the figures of these counts.

One task a file in ``models/tasks/``. What a task must keep, so that training and evaluation stay private:

* the loss of a record depends on this record alone;
* a test patient adds one to one cell, whatever the numbers are: counting never fails, and has sensitivity 1;
* figures are computed from summed cells alone, by a rule that is the same at every site and at the coordinator.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from models.tasks.binary import Metrics


class Task(Protocol):
    """One task. Methods that take tensors run where the records are; figures are computed without torch."""

    def compute_losses(self, outputs: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
        """Compute the loss of each record from the model's ``outputs``; (records,)."""
        ...

    def count_cells(self, outputs: "torch.Tensor", labels: NDArray[np.float32], bins: int) -> NDArray[np.int64]:
        """Count test patients, one record each, by cell; (cells,). Every patient is in exactly one cell."""
        ...

    def compute_figures(self, counts: Sequence[int]) -> "Metrics":
        """Compute the figures of summed cells."""
        ...
