"""Per-sample gradients of an embedding."""

import torch
from torch import nn

from privacy.dpsgd.activations import Call
from privacy.dpsgd.batching import Batch
from privacy.dpsgd.grad_sample.patient_gradients import LayerGradients, join_positions
from privacy.dpsgd.norms import SLICE, compute_row_norms


def compute_embedding_gradients(
    layer: nn.Embedding, calls: list[Call], batch: Batch, dtype: torch.dtype
) -> LayerGradients:
    """The table of an embedding."""
    left = join_positions([call.output_gradient for call in calls], batch, dtype)
    indices = torch.cat([call.rows.reshape(batch.records, -1) for call in calls], dim=1)
    if layer.padding_idx is not None:
        left = left.masked_fill((indices == layer.padding_idx)[:, :, None], 0.0)
    return {"weight": _Lookups(left, indices, batch, layer.num_embeddings)}


class _Lookups:
    """Gradients of a table whose rows were looked up.

    Args:
        left: (records, positions, width) what came back.
        indices: (records, positions) which rows.
        batch: whose records they are.
        entries: rows of the table.
    """

    def __init__(self, left: torch.Tensor, indices: torch.Tensor, batch: Batch, entries: int) -> None:
        self._entries, self._patients = entries, batch.patients
        keys = (batch.owner.to(left.device)[:, None] * entries + indices).flatten()
        self._found, place = torch.unique(keys, return_inverse=True)  # of a patient and an index, once each
        self._sums = left.new_zeros(len(self._found), left.shape[2])
        self._sums.index_add_(0, place, left.flatten(0, 1))

    def compute_norms(self) -> torch.Tensor:
        """See :class:`privacy.dpsgd.grad_sample.patient_gradients.PatientGradients`."""
        squared = torch.zeros(self._patients, dtype=torch.float64, device=self._sums.device)
        return squared.index_add_(0, self._found // self._entries, compute_row_norms(self._sums).square()).sqrt()

    def add(self, factors: torch.Tensor, into: torch.Tensor) -> None:
        """See :class:`privacy.dpsgd.grad_sample.patient_gradients.PatientGradients`."""
        own = factors[self._found // self._entries]
        table = into.view(self._entries, -1)
        at_once = max(1, SLICE // self._sums.shape[1])
        for first in range(0, len(own), at_once):
            some = slice(first, first + at_once)
            rows = (self._sums[some].double() * own[some, None]).to(into.dtype)
            table.index_add_(0, self._found[some] % self._entries, rows)
