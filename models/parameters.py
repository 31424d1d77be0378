"""Between a torch module and the flat vector that sites exchange.

Rules:

* the order is that of ``named_parameters()``, each tensor flattened row by row;
* the vector is float64; a module that computes in float32 holds each value rounded to the nearest float32;
* first parameters are drawn by numpy's PCG64 (whose raw output is the same everywhere and for ever), never by
  torch's generator: uniform in +-1/sqrt(fan-in), biases included.
"""

import numpy as np
import torch
from torch import nn

from models.vector import Vector


def parameter_count(module: nn.Module) -> int:
    """P, the length of the module's vector."""
    return sum(parameter.numel() for parameter in module.parameters())


def to_vector(module: nn.Module) -> Vector:
    """The module's parameters; (P,)."""
    parts = [parameter.detach().cpu().double().reshape(-1).numpy() for parameter in module.parameters()]
    return np.concatenate(parts)


def from_vector(module: nn.Module, vector: Vector) -> None:
    """Give the module the parameters of ``vector`` (P,), on whatever device it lives.

    Raises:
        ValueError: the vector is not of the module's length.
    """
    count = parameter_count(module)
    if vector.shape != (count,):
        raise ValueError(f"expected a vector of {count} parameters, got shape {vector.shape}")
    start = 0
    with torch.no_grad():
        for parameter in module.parameters():
            part = vector[start : start + parameter.numel()]
            parameter.copy_(torch.from_numpy(part.reshape(parameter.shape).copy()))
            start += parameter.numel()


def initial_vector(module: nn.Module, seed: str) -> Vector:
    """The first parameters of a study, the same at every site; (P,).

    Args:
        module: gives names and shapes; its present values do not matter.
        seed: hexadecimal, in practice the digest of the terms.
    """
    bits = np.random.PCG64(int(seed, 16))
    parts = []
    fan_in = 1
    for parameter in module.parameters():
        if parameter.dim() > 1:  # a bias has the fan-in of the weight before it
            fan_in = parameter[0].numel()
        words = bits.random_raw(parameter.numel())
        uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0  # [-1, 1)
        parts.append(uniform / np.sqrt(np.float64(fan_in)))
    return np.concatenate(parts)
