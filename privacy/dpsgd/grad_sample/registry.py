"""Choose how the per-patient gradients of a layer are computed, by the kind of layer.

====================================  =========================================================================
layer                                 gradients of each parameter
====================================  =========================================================================
Linear (also on sequences, and the    weight: outer products of rows (``outer_products``); bias: sum of the
cells of DPRNN, DPGRU and DPLSTM)     output gradients
Embedding                             the output gradients, summed by (patient, index)
Conv1d, Conv2d, Conv3d, transposed    :mod:`privacy.dpsgd.grad_sample.convolution`
GroupNorm, LayerNorm, InstanceNorm    weight: sum of the normalised input times the output gradient; bias: sum
                                      of the output gradients
any other that owns parameters        by vmap over patients (:mod:`privacy.dpsgd.grad_sample.fallback`)
====================================  =========================================================================

All of them use the layer's inputs and output gradients only. A layer counts as a kind by the forward function that
it runs and the parameters that it owns. So a subclass that computes something else never counts as its parent.
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
    """Return the function that computes the per-patient gradients of ``layer``."""
    kind = GRAD_SAMPLERS.get(type(layer).forward)
    inner = getattr(type(layer), "_conv_forward", None)
    # a layer may replace forward on the instance, a convolution also the inner function that forward calls
    usual = "forward" not in vars(layer) and (inner is None or inner in _CONVOLUTIONS)
    known = layer._parameters.keys() <= {"weight", "bias"}
    return kind if kind is not None and usual and known else compute_vmap_gradients


def list_layers_by_vmap(module: nn.Module) -> tuple[str, ...]:
    """List the layers of ``module`` whose per-patient gradients have no rule of their own: exact, but slow."""
    return tuple(
        name
        for name, layer in module.named_modules()
        if layer._parameters and grad_sampler_of(layer) is compute_vmap_gradients
    )


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
