"""Low-rank adapters beside frozen layers, and the plain model that equals an adapted one.

A layer W becomes x -> W x + scale * B A x, where only A (r, inputs) and B (outputs, r) are trained. A convolution W
becomes W * x + scale * B * (A * x): A is a convolution with r channels and the window, stride, padding and dilation
of W; B is a convolution with a window of one.

Rules:

* adapters consist of plain torch layers, so that the per-patient gradients of plain layers apply to them;
* B begins at zero (:func:`models.parameters.initial.draw_initial_shared_parameters`), so that the model begins as
  the public one;
* a merged weight W + scale * B A is computed in numpy float64, one rank after the other, element by element, and
  rounded once to float32, so that every machine computes the same bits.

Source: Hu et al. 2022, "LoRA: Low-rank adaptation of large language models".
"""

from collections.abc import Iterable
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.errors import ModelError

_CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Adapted(nn.Module):
    """A frozen layer ``base`` (linear, or a convolution with one group) and an adapter of rank ``rank``."""

    def __init__(self, base: nn.Module, rank: int, scale: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down, self.up = _make_factors(base, rank)
        self.scale = scale

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the output of ``base`` plus that of the adapter; the shape of the output of ``base``."""
        adapted: torch.Tensor = self.base(features) + self.scale * self.up(self.down(features))
        return adapted

    def compute_merged_weight(self) -> NDArray[np.float32]:
        """Compute the weight W + scale * B A of the equal plain layer; the shape of the weight of ``base``."""
        weight, down, up = (_convert_to_float64(layer.weight) for layer in (self.base, self.down, self.up))
        total = weight.reshape(len(weight), -1)  # (outputs, inputs of a window)
        # No matrix product: its order of summation depends on the machine.
        for out, into in zip(up.reshape(len(up), -1).T, down.reshape(len(down), -1), strict=True):
            part = out[:, None] * into[None, :]  # (outputs, inputs of a window), of one rank
            total = total + np.float64(self.scale) * part
        return total.reshape(weight.shape).astype(np.float32)


def add_adapter(module: nn.Module, name: str, rank: int, scale: float) -> None:
    """Replace the layer ``name`` of ``module`` by the frozen layer and an adapter.

    Raises:
        ModelError: the layer takes no adapter, or the rank is greater than the layer's own.
    """
    base = module.get_submodule(name)
    if not takes_adapter(base):
        raise ModelError(
            f"model.adapters: layer '{name}' ({type(base).__name__}) takes no adapter; Linear and Conv1d to Conv3d of "
            "one group do"
        )
    weight = cast(torch.Tensor, base.weight)
    most = min(len(weight), weight[0].numel())
    if rank > most:
        raise ModelError(
            f"model.adapters: rank {rank} is more than layer '{name}' has ({most}): train it whole (model.trained), or "
            "name other layers"
        )
    parent, _, local = name.rpartition(".")
    setattr(module.get_submodule(parent), local, Adapted(base, rank, scale))


def takes_adapter(layer: nn.Module) -> bool:
    """Return whether a layer is linear, or a convolution with one group."""
    return type(layer) is nn.Linear or (type(layer) in _CONVOLUTIONS and cast(nn.Conv2d, layer).groups == 1)


def list_plain_names(module: nn.Module) -> dict[str, str]:
    """Map the names of the parameters that the model without adapters has too to their names in that model."""
    return _list_names_of_plain_model(module, (name for name, _ in module.named_parameters()))


def list_plain_buffers(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the buffers that a state dict contains, by their names in the plain model."""
    parameters = {name for name, _ in module.named_parameters()}
    buffers = {name: value for name, value in module.state_dict().items() if name not in parameters}
    return {plain: buffers[name] for name, plain in _list_names_of_plain_model(module, buffers).items()}


def compute_plain_tensors(module: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Compute all tensors of the equal plain model by their names in it: adapters merged, buffers unchanged.

    A buffer, such as a table of positions, is part of the model's function: a release needs it.
    """
    merged = {
        f"{name}.base.weight": layer.compute_merged_weight()
        for name, layer in module.named_modules()
        if isinstance(layer, Adapted)
    }
    parameters = dict(module.named_parameters())
    tensors = {
        plain: merged[name] if name in merged else _convert_to_float32(parameters[name])
        for name, plain in list_plain_names(module).items()
    }
    return tensors | {name: value.cpu().numpy().copy() for name, value in list_plain_buffers(module).items()}


def _list_names_of_plain_model(module: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Map those of ``names`` that the model without adapters has too to their names in that model."""
    adapted = [f"{name}." for name, layer in module.named_modules() if isinstance(layer, Adapted)]
    plain: dict[str, str] = {}
    for name in names:
        inside = next((each for each in adapted if name.startswith(each)), None)
        if inside is None:
            plain[name] = name
        elif name.startswith(f"{inside}base."):
            plain[name] = inside + name.removeprefix(f"{inside}base.")
    return plain


def _make_factors(base: Any, rank: int) -> tuple[Any, Any]:
    if isinstance(base, nn.Linear):
        return nn.Linear(base.in_features, rank, bias=False), nn.Linear(rank, base.out_features, bias=False)
    kind = type(base)
    window = {
        name: getattr(base, name) for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
    }
    return (
        kind(base.in_channels, rank, bias=False, **window),
        kind(rank, base.out_channels, kernel_size=1, bias=False),
    )


def _convert_to_float64(parameter: Any) -> NDArray[np.float64]:
    values: NDArray[np.float64] = parameter.detach().cpu().double().numpy()
    return values


def _convert_to_float32(parameter: nn.Parameter) -> NDArray[np.float32]:
    values: NDArray[np.float32] = parameter.detach().cpu().float().numpy().copy()
    return values
