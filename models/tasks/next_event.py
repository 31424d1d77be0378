"""The codes of the next visit: the loss, and recall from summed histograms.

Row t predicts visit t + 1; the rest is in ``visit_recall.py``. With ``softmax`` the logits compete, as recall at k
has them compete; with ``sigmoid`` each code is judged for itself, and a pair costs the mean over all codes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.tasks.visit_recall import VisitsTask
from privacy.study.tasks.next_event import NextEventTerms

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class NextEventTask(VisitsTask):
    """Predict the codes of the next visit: implements :class:`~models.task.Task`."""

    terms: NextEventTerms

    @property
    def offsets(self) -> tuple[int, ...]:
        """The next visit."""
        return (1,)

    def prepare(self, outputs: "torch.Tensor") -> "torch.Tensor":
        """Return the log-softmax of the logits, or with ``sigmoid`` the logits."""
        return outputs if self.terms.loss == "sigmoid" else super().prepare(outputs)

    def compare(self, scores: "torch.Tensor", codes: "torch.Tensor") -> "torch.Tensor":
        """Compute the loss of each pair of a row of scores and a visit's codes, 0 or 1; (records, pairs)."""
        from torch.nn.functional import binary_cross_entropy_with_logits  # figures are read without torch

        if self.terms.loss == "sigmoid":
            return binary_cross_entropy_with_logits(scores, codes, reduction="none").mean(dim=2)
        return super().compare(scores, codes)

    def describe_outputs(self, outputs: "torch.Tensor") -> Mapping[str, NDArray[np.float64]]:
        """Return the ``probability`` of each code for each row, (records, visits, codes); see the loss."""
        if self.terms.loss == "sigmoid":
            shares: NDArray[np.float64] = outputs.detach().double().sigmoid().cpu().numpy()
            return {"probability": shares}
        return super().describe_outputs(outputs)
