"""Per-sample gradients of group, layer and instance normalisation."""

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
    """Scale and shift of each channel."""
    return _compute_channel_gradients(
        layer, calls, batch, dtype, lambda rows: functional.group_norm(rows, layer.num_groups, eps=layer.eps)
    )


def compute_instance_norm_gradients(
    layer: Any, calls: list[Call], batch: Batch, dtype: torch.dtype
) -> LayerGradients:
    """Scale and shift of each channel; statistics are of one record."""
    return _compute_channel_gradients(
        layer, calls, batch, dtype, lambda rows: functional.instance_norm(rows, eps=layer.eps)
    )


def compute_layer_norm_gradients(
    layer: nn.LayerNorm, calls: list[Call], batch: Batch, dtype: torch.dtype
) -> LayerGradients:
    """Scale and shift of each entry of the last axes."""
    shape, entries = layer.normalized_shape, layer.weight.numel()
    pairs = []
    for call in calls:
        normal = functional.layer_norm(call.rows.to(dtype), shape, eps=layer.eps)
        gradient = call.output_gradient.to(dtype)
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
        scale, shift = torch.linalg.vecdot(normal, gradient), gradient.sum(2)
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
