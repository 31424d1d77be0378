"""Refuse layers whose kind alone shows that patients cannot be clipped, and name a replacement.

* Batch normalisation, and instance normalisation with running statistics, mix records.
* torch's recurrent and attention layers hide their per-sample gradients.
* An embedding with ``max_norm`` or ``scale_grad_by_freq`` depends on other records.
"""

from typing import Final

from torch import nn

from privacy.dpsgd.record_axes import describe_layer
from privacy.errors import TermsError

_REPLACEMENTS: Final[dict[type[nn.Module], str]] = {
    nn.LSTM: "DPLSTM of opacus.layers",
    nn.GRU: "DPGRU of opacus.layers",
    nn.RNN: "DPRNN of opacus.layers",
    nn.MultiheadAttention: "DPMultiheadAttention of opacus.layers",
}


def check_module(module: nn.Module) -> None:
    """Refuse a module with a layer that mixes records or hides their gradients.

    Raises:
        TermsError: there is such a layer; names the first one, and what to use instead.
    """
    for name, layer in module.named_modules():
        if _mixes_records(layer):
            raise TermsError(
                f"{describe_layer(name, layer)} mixes records, so no patient's share can be bounded; "
                "use a normalisation within a record, such as GroupNorm"
            )
        if type(layer) in _REPLACEMENTS:
            raise TermsError(
                f"{describe_layer(name, layer)} computes where no gradient of a record is seen; "
                f"use {_REPLACEMENTS[type(layer)]}, which has the same parameters"
            )
        if isinstance(layer, nn.Embedding) and (layer.scale_grad_by_freq or layer.max_norm is not None):
            raise TermsError(
                f"{describe_layer(name, layer)} has max_norm or scale_grad_by_freq, which depend on other records; "
                "leave them out"
            )


def _mixes_records(layer: nn.Module) -> bool:
    if isinstance(layer, nn.modules.instancenorm._InstanceNorm):
        return layer.track_running_stats
    return isinstance(layer, nn.modules.batchnorm._BatchNorm)
