"""What tests ask of a whole network: its kernels mirrored, the shapes after its layers."""

import torch
from torch import nn


def mirror_kernels(module: nn.Module) -> None:
    """Mirror every kernel; the answer to a mirrored image must then be the mirrored answer."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Conv3d | nn.ConvTranspose3d):
                layer.weight.copy_(layer.weight.flip(-1))


def list_shapes(module: nn.Module, kind: type[nn.Module], inputs: dict[str, torch.Tensor]) -> list[tuple[int, ...]]:
    """Shapes of one record after each layer of ``kind``, in the order of their calls."""
    shapes: list[tuple[int, ...]] = []
    hooks = [
        layer.register_forward_hook(lambda layer, args, output: shapes.append(tuple(output.shape[1:])))
        for layer in module.modules()
        if isinstance(layer, kind)
    ]
    module(inputs)
    for hook in hooks:
        hook.remove()
    return shapes
