"""Compute per-patient gradients of group, layer and instance normalisation.

With y = scale * n + shift, where n is the normalised input, the gradient of scale is the sum of n times the
gradient of y, and that of shift is the sum of the gradient of y. Statistics are of one record, so a record's
gradient depends on no other record.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from privacy.dpsgd.activations import Call
from privacy.dpsgd.batching import Batch
from privacy.dpsgd.grad_sample.patient_gradients import (
    LayerGradients,
    Materialised,
    PatientGradients,
    sum_by_patient,
)


def compute_group_norm_gradients(
    layer: nn.GroupNorm, calls: list[Call], batch: Batch, dtype: torch.dtype
) -> LayerGradients:
    """Compute the gradients of the scale and shift of each channel, normalised in groups."""
    return _compute_channel_gradients(
        layer, calls, batch, dtype, lambda rows: functional.group_norm(rows, layer.num_groups, eps=layer.eps)
    )


def compute_instance_norm_gradients(
    layer: Any, calls: list[Call], batch: Batch, dtype: torch.dtype
) -> LayerGradients:
    """Compute the gradients of the scale and shift of each channel, normalised one by one."""
    return _compute_channel_gradients(
        layer, calls, batch, dtype, lambda rows: functional.instance_norm(rows, eps=layer.eps)
    )


def compute_layer_norm_gradients(
    layer: nn.LayerNorm, calls: list[Call], batch: Batch, dtype: torch.dtype
) -> LayerGradients:
    """Compute the gradients of the scale and shift of each entry of the last axes."""
    shape, entries = layer.normalized_shape, layer.weight.numel()
    pairs = []
    for call in calls:
        normal = functional.layer_norm(call.rows.to(dtype), shape, eps=layer.eps)  # (rows, ..., *shape)
        gradient = call.output_gradient.to(dtype)
        # each part is (records, entries), summed over positions
        pairs.append(
            tuple(part.reshape(batch.records, -1, entries).sum(1) for part in (normal * gradient, gradient))
        )
    return _make_scale_and_shift_gradients(layer, pairs, batch)


def _compute_channel_gradients(
    layer: Any,
    calls: list[Call],
    batch: Batch,
    dtype: torch.dtype,
    normalised: Callable[[torch.Tensor], torch.Tensor],
) -> LayerGradients:
    pairs = []
    for call in calls:
        gradient = call.output_gradient.to(dtype)
        gradient = gradient.reshape(*gradient.shape[:2], -1)  # (rows, channels, positions)
        normal = normalised(call.rows.to(dtype)).view_as(gradient)
        scale, shift = torch.linalg.vecdot(normal, gradient), gradient.sum(2)  # (rows, channels)
        pairs.append(tuple(part.reshape(batch.records, -1, part.shape[1]).sum(1) for part in (scale, shift)))
    return _make_scale_and_shift_gradients(layer, pairs, batch)


def _make_scale_and_shift_gradients(
    layer: Any, pairs: list[tuple[torch.Tensor, ...]], batch: Batch
) -> LayerGradients:
    shares: dict[str, PatientGradients] = {}
    for name, parts in zip(("weight", "bias"), zip(*pairs, strict=True), strict=True):
        parameter = cast(torch.Tensor | None, getattr(layer, name))
        if parameter is not None and parameter.requires_grad:
            shares[name] = Materialised(sum_by_patient(torch.stack(parts).sum(0), batch))
    return shares
