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

from collections.abc import Mapping
from typing import Any, Final

from torch import nn

from privacy.dpsgd.grad_sample.convolution import compute_convolution_gradients
from privacy.dpsgd.grad_sample.embedding import compute_embedding_gradients
from privacy.dpsgd.grad_sample.fallback import compute_vmap_gradients
from privacy.dpsgd.grad_sample.linear import compute_linear_gradients
from privacy.dpsgd.grad_sample.normalisation import (
    compute_group_norm_gradients,
    compute_instance_norm_gradients,
    compute_layer_norm_gradients,
)
from privacy.dpsgd.grad_sample.patient_gradients import GradSampler


def grad_sampler_of(layer: nn.Module) -> GradSampler:
    """How the layer's gradients are found."""
    kind = GRAD_SAMPLERS.get(type(layer).forward)
    inner = getattr(type(layer), "_conv_forward", None)
    usual = "forward" not in vars(layer) and (inner is None or inner in _CONVOLUTIONS)
    known = {name for name, _ in layer.named_parameters(recurse=False)} <= {"weight", "bias"}
    return kind if kind is not None and usual and known else compute_vmap_gradients


_CONVOLUTIONS: Final = {nn.Conv1d._conv_forward, nn.Conv2d._conv_forward, nn.Conv3d._conv_forward}

GRAD_SAMPLERS: Final[Mapping[Any, GradSampler]] = {
    nn.Linear.forward: compute_linear_gradients,
    nn.Embedding.forward: compute_embedding_gradients,
    nn.Conv1d.forward: compute_convolution_gradients,
    nn.Conv2d.forward: compute_convolution_gradients,
    nn.Conv3d.forward: compute_convolution_gradients,
    nn.ConvTranspose1d.forward: compute_convolution_gradients,
    nn.ConvTranspose2d.forward: compute_convolution_gradients,
    nn.ConvTranspose3d.forward: compute_convolution_gradients,
    nn.GroupNorm.forward: compute_group_norm_gradients,
    nn.InstanceNorm2d.forward: compute_instance_norm_gradients,
    nn.LayerNorm.forward: compute_layer_norm_gradients,
}
