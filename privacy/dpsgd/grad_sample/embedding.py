"""Compute per-patient gradients of an embedding.

Only the rows of the table that a patient's records looked up have a gradient. So the gradients are kept as one
vector for each pair of a patient and an index, never as a whole table for each patient.
"""

import torch
from torch import nn

from privacy.dpsgd.activations import Call
from privacy.dpsgd.batching import Batch
from privacy.dpsgd.grad_sample.patient_gradients import Factors, LayerGradients, Names, join_positions
from privacy.dpsgd.norms import SLICE, compute_row_norms


def compute_embedding_gradients(
    layer: nn.Embedding, names: Names, calls: list[Call], batch: Batch, dtype: torch.dtype
) -> LayerGradients:
    """Compute the gradients of the table of an embedding."""
    left = join_positions([call.output_gradient for call in calls], batch, dtype)  # (records, positions, width)
    indices = torch.cat([call.rows.reshape(batch.records, -1) for call in calls], dim=1)  # (records, positions)
    if layer.padding_idx is not None:
        # as in torch, the row of the padding index does not train
        left = left.masked_fill((indices == layer.padding_idx)[:, :, None], 0.0)
    return {"weight": _Lookups(left, indices, batch, layer.num_embeddings)}


class _Lookups:
    """Per-patient gradients of a table whose rows were looked up.

    Args:
        left: (records, positions, width) output gradients.
        indices: (records, positions) the rows that were looked up.
        batch: the patients of the records.
        entries: number of rows of the table.
    """

    grows = False

    def __init__(self, left: torch.Tensor, indices: torch.Tensor, batch: Batch, entries: int) -> None:
        self._entries, self._patients = entries, batch.patients
        # one number for each pair of patient and index
        keys = (batch.owner.to(left.device)[:, None] * entries + indices).flatten()
        self._found, place = torch.unique(keys, return_inverse=True)  # each pair once
        self._sums = left.new_zeros(len(self._found), left.shape[2])  # (pairs, width)
        self._sums.index_add_(0, place, left.flatten(0, 1))

    def compute_norms(self) -> torch.Tensor:
        """Compute norms as in :class:`privacy.dpsgd.grad_sample.patient_gradients.PatientGradients`."""
        squared = torch.zeros(self._patients, dtype=torch.float64, device=self._sums.device)
        return squared.index_add_(0, self._found // self._entries, compute_row_norms(self._sums).square()).sqrt()

    def leave_out(self, patients: torch.Tensor) -> None:
        """Leave patients out as in :class:`privacy.dpsgd.grad_sample.patient_gradients.PatientGradients`."""
        self._sums = self._sums.masked_fill(patients[self._found // self._entries, None], 0.0)

    def add(self, factors: Factors, into: torch.Tensor) -> None:
        """Add as in :class:`privacy.dpsgd.grad_sample.patient_gradients.PatientGradients`."""
        own = factors.exact[self._found // self._entries]  # (pairs,)
        table = into.view(self._entries, -1)
        at_once = max(1, SLICE // self._sums.shape[1])
        for first in range(0, len(own), at_once):
            some = slice(first, first + at_once)
            rows = (self._sums[some].double() * own[some, None]).to(into.dtype)
            table.index_add_(0, self._found[some] % self._entries, rows)
