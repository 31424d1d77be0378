"""Compute per-patient gradients of group, layer and instance normalisation.

With y = scale * n + shift, where n is the normalised input, the gradient of scale is the sum of n times the
gradient of y, and that of shift is the sum of the gradient of y. Statistics are of one record, so a record's
gradient depends on no other record.

The input is normalised again a few records at a time, which stay in the processor's cache.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from privacy.dpsgd.activations import Call
from privacy.dpsgd.batching import Batch
from privacy.dpsgd.grad_sample.patient_gradients import LayerGradients, Materialised, Names, sum_by_patient
from privacy.dpsgd.norms import count_rows_at_once

Change = Callable[[torch.Tensor], torch.Tensor]
"""Changes rows (rows, ...), each by itself."""


def compute_group_norm_gradients(
    layer: nn.GroupNorm, names: Names, calls: list[Call], batch: Batch, dtype: torch.dtype
) -> LayerGradients:
    """Compute the gradients of the scale and shift of each channel, normalised in groups."""

    def normalise(rows: torch.Tensor) -> torch.Tensor:
        return functional.group_norm(rows, layer.num_groups, eps=layer.eps)

    return _compute_gradients(names, calls, batch, dtype, normalise, _arrange_channels, 2)


def compute_instance_norm_gradients(
    layer: Any, names: Names, calls: list[Call], batch: Batch, dtype: torch.dtype
) -> LayerGradients:
    """Compute the gradients of the scale and shift of each channel, normalised one by one."""

    def normalise(rows: torch.Tensor) -> torch.Tensor:
        return functional.instance_norm(rows, eps=layer.eps)

    return _compute_gradients(names, calls, batch, dtype, normalise, _arrange_channels, 2)


def compute_layer_norm_gradients(
    layer: nn.LayerNorm, names: Names, calls: list[Call], batch: Batch, dtype: torch.dtype
) -> LayerGradients:
    """Compute the gradients of the scale and shift of each entry of the last axes."""

    def normalise(rows: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(rows, layer.normalized_shape, eps=layer.eps)

    def arrange(rows: torch.Tensor) -> torch.Tensor:
        return rows.reshape(len(rows), -1, entries)  # (rows, positions, entries)

    entries = layer.weight.numel()
    return _compute_gradients(names, calls, batch, dtype, normalise, arrange, 1)


def _arrange_channels(rows: torch.Tensor) -> torch.Tensor:
    return rows.reshape(*rows.shape[:2], -1)  # (rows, channels, positions)


def _compute_gradients(
    names: Names,
    calls: list[Call],
    batch: Batch,
    dtype: torch.dtype,
    normalise: Change,
    arrange: Change,
    positions: int,
) -> LayerGradients:
    """Compute the gradients of scale and shift.

    Args:
        names: as in :class:`privacy.dpsgd.grad_sample.patient_gradients.GradSampler`, also the following.
        calls: of the layer.
        batch: the patients of the records.
        dtype: the type to compute in.
        normalise: normalises rows, each by itself.
        arrange: gives the entries of scale and shift an axis of their own, and their positions another one.
        positions: that other axis.
    """
    sums: dict[str, torch.Tensor] = {}
    for call in calls:
        rows, gradient = call.rows, call.output_gradient
        at_once = count_rows_at_once(rows)
        parts: dict[str, list[torch.Tensor]] = {name: [] for name in names}
        for some, coming in zip(torch.split(rows, at_once), torch.split(gradient, at_once), strict=True):
            back = arrange(coming.to(dtype))
            if "weight" in names:
                parts["weight"].append(arrange(normalise(some.to(dtype))).mul(back).sum(positions))
            if "bias" in names:
                parts["bias"].append(back.sum(positions))
        for name, own in parts.items():
            each = torch.cat(own)  # (rows, entries)
            each = each.reshape(batch.records, -1, each.shape[1]).sum(1)
            sums[name] = sums[name] + each if name in sums else each
    return {name: Materialised(sum_by_patient(each, batch)) for name, each in sums.items()}
