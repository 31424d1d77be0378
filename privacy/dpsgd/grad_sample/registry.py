"""What each kind of layer contributes to a patient's gradient, from its inputs and the gradients of its outputs.

====================================  ====================================================================
layer                                 each parameter's share
====================================  ====================================================================
Linear (also on sequences, and the    weight: outer products of rows (:mod:`~privacy.dpsgd.grad_sample.outer_products`);
cells of DPRNN, DPGRU and DPLSTM)     bias: sum of the rows that came back
Embedding                             the rows that came back, summed by (patient, index)
Conv1d, Conv2d, Conv3d, transposed    :mod:`privacy.dpsgd.grad_sample.convolution`
GroupNorm, LayerNorm, InstanceNorm    sums of the normalised input times what came back; bias: of what came back
any other that owns parameters        its own gradient, patient by patient (:mod:`privacy.dpsgd.grad_sample.fallback`)
====================================  ====================================================================

A layer counts as a kind by the forward function it runs and the parameters it owns, so a subclass that computes
something else is never taken for its parent.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import torch
from torch import nn
from torch.nn import functional

from privacy.dpsgd.activations import Call
from privacy.dpsgd.batching import Batch
from privacy.dpsgd.grad_sample.convolution import convolution
from privacy.dpsgd.grad_sample.fallback import anything
from privacy.dpsgd.grad_sample.outer_products import Built, OuterProducts, Share, by_patient
from privacy.dpsgd.norms import SLICE, row_norms

Shares = Mapping[str, Share]
"""By the name of the parameter within its layer."""

Kind = Callable[[Any, list[Call], Batch, torch.dtype], Shares]
"""(layer, its calls, whose records they are, type to compute in) -> the shares of the parameters that train."""


def kind_of(layer: nn.Module) -> Kind:
    """How the layer's gradients are found."""
    kind = _KINDS.get(type(layer).forward)
    inner = getattr(type(layer), "_conv_forward", None)
    usual = "forward" not in vars(layer) and (inner is None or inner in _CONVOLUTIONS)
    known = {name for name, _ in layer.named_parameters(recurse=False)} <= {"weight", "bias"}
    return kind if kind is not None and usual and known else anything


def linear(layer: nn.Linear, calls: list[Call], batch: Batch, dtype: torch.dtype) -> Shares:
    """Weight and bias of a matrix applied to the last axis."""
    left = _positions([call.output_gradient for call in calls], batch, dtype)
    shares: dict[str, Share] = {}
    if layer.weight.requires_grad:
        shares["weight"] = OuterProducts(left, _positions([call.rows for call in calls], batch, dtype), batch)
    if layer.bias is not None and layer.bias.requires_grad:
        shares["bias"] = Built(by_patient(left.sum(1), batch))
    return shares


def embedding(layer: nn.Embedding, calls: list[Call], batch: Batch, dtype: torch.dtype) -> Shares:
    """The table of an embedding."""
    left = _positions([call.output_gradient for call in calls], batch, dtype)
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

    def norms(self) -> torch.Tensor:
        """See :class:`privacy.dpsgd.grad_sample.outer_products.Share`."""
        squared = torch.zeros(self._patients, dtype=torch.float64, device=self._sums.device)
        return squared.index_add_(0, self._found // self._entries, row_norms(self._sums).square()).sqrt()

    def add(self, factors: torch.Tensor, into: torch.Tensor) -> None:
        """See :class:`privacy.dpsgd.grad_sample.outer_products.Share`."""
        own = factors[self._found // self._entries]
        table = into.view(self._entries, -1)
        at_once = max(1, SLICE // self._sums.shape[1])
        for first in range(0, len(own), at_once):
            some = slice(first, first + at_once)
            rows = (self._sums[some].double() * own[some, None]).to(into.dtype)
            table.index_add_(0, self._found[some] % self._entries, rows)


def group_norm(layer: nn.GroupNorm, calls: list[Call], batch: Batch, dtype: torch.dtype) -> Shares:
    """Scale and shift of each channel."""
    return _by_channel(
        layer, calls, batch, dtype, lambda rows: functional.group_norm(rows, layer.num_groups, eps=layer.eps)
    )


def instance_norm(layer: Any, calls: list[Call], batch: Batch, dtype: torch.dtype) -> Shares:
    """Scale and shift of each channel; statistics are of one record."""
    return _by_channel(layer, calls, batch, dtype, lambda rows: functional.instance_norm(rows, eps=layer.eps))


def layer_norm(layer: nn.LayerNorm, calls: list[Call], batch: Batch, dtype: torch.dtype) -> Shares:
    """Scale and shift of each entry of the last axes."""
    shape, entries = layer.normalized_shape, layer.weight.numel()
    pairs = []
    for call in calls:
        normal = functional.layer_norm(call.rows.to(dtype), shape, eps=layer.eps)
        gradient = call.output_gradient.to(dtype)
        pairs.append(
            tuple(part.reshape(batch.records, -1, entries).sum(1) for part in (normal * gradient, gradient))
        )
    return _scale_and_shift(layer, pairs, batch)


def _by_channel(
    layer: Any,
    calls: list[Call],
    batch: Batch,
    dtype: torch.dtype,
    normalised: Callable[[torch.Tensor], torch.Tensor],
) -> Shares:
    pairs = []
    for call in calls:
        gradient = call.output_gradient.to(dtype)
        gradient = gradient.reshape(*gradient.shape[:2], -1)  # (rows, channels, positions)
        normal = normalised(call.rows.to(dtype)).view_as(gradient)
        scale, shift = torch.linalg.vecdot(normal, gradient), gradient.sum(2)
        pairs.append(tuple(part.reshape(batch.records, -1, part.shape[1]).sum(1) for part in (scale, shift)))
    return _scale_and_shift(layer, pairs, batch)


def _scale_and_shift(layer: Any, pairs: list[tuple[torch.Tensor, ...]], batch: Batch) -> Shares:
    shares: dict[str, Share] = {}
    for name, parts in zip(("weight", "bias"), zip(*pairs, strict=True), strict=True):
        parameter = cast(torch.Tensor | None, getattr(layer, name))
        if parameter is not None and parameter.requires_grad:
            shares[name] = Built(by_patient(torch.stack(parts).sum(0), batch))
    return shares


def _positions(parts: list[torch.Tensor], batch: Batch, dtype: torch.dtype) -> torch.Tensor:
    """Tensors with the records first, calls side by side; (records, positions, width)."""
    flat = [part.to(dtype).reshape(batch.records, -1, part.shape[-1]) for part in parts]
    return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)


_CONVOLUTIONS: Final = {nn.Conv1d._conv_forward, nn.Conv2d._conv_forward, nn.Conv3d._conv_forward}

_KINDS: Final[Mapping[Any, Kind]] = {
    nn.Linear.forward: linear,
    nn.Embedding.forward: embedding,
    nn.Conv1d.forward: convolution,
    nn.Conv2d.forward: convolution,
    nn.Conv3d.forward: convolution,
    nn.ConvTranspose1d.forward: convolution,
    nn.ConvTranspose2d.forward: convolution,
    nn.ConvTranspose3d.forward: convolution,
    nn.GroupNorm.forward: group_norm,
    nn.InstanceNorm2d.forward: instance_norm,
    nn.LayerNorm.forward: layer_norm,
}
