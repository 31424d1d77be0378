"""Compute per-patient gradients of a linear layer.

Source: Goodfellow 2015 (arXiv 1510.01799): the weight's gradient for one row is an outer product.
"""

import torch
from torch import nn

from privacy.dpsgd.activations import Call
from privacy.dpsgd.batching import Batch
from privacy.dpsgd.grad_sample.outer_products import OuterProducts
from privacy.dpsgd.grad_sample.patient_gradients import (
    LayerGradients,
    Materialised,
    Names,
    PatientGradients,
    join_positions,
    sum_by_patient,
)
from privacy.dpsgd.norms import compute_side_norms


def compute_linear_gradients(
    layer: nn.Linear, names: Names, calls: list[Call], batch: Batch, dtype: torch.dtype
) -> LayerGradients:
    """Compute the gradients of weight and bias, where the matrix is applied to the last axis."""
    left = join_positions([call.output_gradient for call in calls], batch, dtype)  # (records, positions, outputs)
    rows = [call.rows for call in calls]
    calls.clear()  # of several calls, what was joined is not held twice
    shares: dict[str, PatientGradients] = {}
    norms: torch.Tensor | None = None
    if "weight" in names:
        right = join_positions(rows, batch, dtype)  # (records, positions, inputs)
        if left.shape[1] == 1 and batch.records == batch.patients:
            norms = compute_side_norms(left[:, 0], right[:, 0])
        shares["weight"] = OuterProducts(left, right, batch, norms)
    if "bias" in names:
        each = left[:, 0] if left.shape[1] == 1 else left.sum(1)  # (records, outputs)
        # where a patient has one row, it is also the gradient of the bias, and its norm serves both
        shares["bias"] = Materialised(sum_by_patient(each, batch), None if norms is None else norms[0])
    return shares
