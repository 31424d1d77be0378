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
    PatientGradients,
    join_positions,
    sum_by_patient,
)


def compute_linear_gradients(
    layer: nn.Linear, calls: list[Call], batch: Batch, dtype: torch.dtype
) -> LayerGradients:
    """Compute the gradients of weight and bias, where the matrix is applied to the last axis."""
    left = join_positions([call.output_gradient for call in calls], batch, dtype)  # (records, positions, outputs)
    shares: dict[str, PatientGradients] = {}
    if layer.weight.requires_grad:
        shares["weight"] = OuterProducts(left, join_positions([call.rows for call in calls], batch, dtype), batch)
    if layer.bias is not None and layer.bias.requires_grad:
        shares["bias"] = Materialised(sum_by_patient(left.sum(1), batch))
    return shares
