"""Between a torch module and the flat vectors of what is trained: the one that sites exchange, and a site's own.

Rules:

* shared is what is trained and not :class:`Personal`; what is frozen is in no vector;
* the order is that of ``named_parameters()``, each tensor flattened row by row;
* a vector is float64; a module that computes in float32 holds each value rounded to the nearest float32;
* first parameters are drawn by numpy's PCG64 (whose raw output is the same everywhere and for ever), never by
  torch's generator: uniform in +-1/sqrt(fan-in), biases included. What public weights give is not drawn, and the second
  factor of an adapter is zero, so that a model begins as the public one.
"""

from collections.abc import Collection, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.parameters.lora import Adapted
from models.parameters.vector import Vector


class Personal(nn.Parameter):
    """A parameter that each site trains for itself: it is in no vector that is shared."""


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained, shared or not, by name: the order of the engine's gradients."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def shared(module: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained and sent, by name."""
    return {name: value for name, value in trained(module).items() if not isinstance(value, Personal)}


def personal(module: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained and stays at the site, by name."""
    return {name: value for name, value in trained(module).items() if isinstance(value, Personal)}


def parameter_count(module: nn.Module) -> int:
    """P, the length of the shared vector."""
    return _count(shared(module).values())


def personal_count(module: nn.Module) -> int:
    """Q, the length of a site's own vector."""
    return _count(personal(module).values())


def to_vector(module: nn.Module) -> Vector:
    """The module's shared parameters; (P,)."""
    return _joined([_values(parameter) for parameter in shared(module).values()])


def from_vector(module: nn.Module, vector: Vector) -> None:
    """Give the module the shared parameters of ``vector`` (P,), on whatever device it lives.

    Raises:
        ValueError: the vector is not of the module's length.
    """
    _fill(shared(module).values(), vector)


def to_personal(module: nn.Module) -> Vector:
    """A site's own parameters; (Q,)."""
    return _joined([_values(parameter) for parameter in personal(module).values()])


def from_personal(module: nn.Module, vector: Vector) -> None:
    """Give the module a site's own parameters ``vector`` (Q,).

    Raises:
        ValueError: the vector is not of their length.
    """
    _fill(personal(module).values(), vector)


def personal_tensors(module: nn.Module) -> dict[str, NDArray[np.float32]]:
    """A site's own parameters, by name, each in its shape."""
    return {name: value.detach().cpu().float().numpy().copy() for name, value in personal(module).items()}


def widened(module: nn.Module, vector: Vector) -> Vector:
    """A shared ``vector`` (P,) as long as what is trained (P + Q,): zero where a parameter is a site's own."""
    parts, start = [], 0
    for parameter in trained(module).values():
        if isinstance(parameter, Personal):
            parts.append(np.zeros(parameter.numel()))
        else:
            parts.append(vector[start : start + parameter.numel()])
            start += parameter.numel()
    return _joined(parts)


def initial_vector(module: nn.Module, seed: str, given: Collection[str] = ()) -> Vector:
    """The first shared parameters of a study, the same at every site; (P,).

    Args:
        module: gives names and shapes; present values matter where they are ``given``.
        seed: hexadecimal, in practice the digest of the terms.
        given: names of parameters that public weights have set.
    """
    first = _first(module, seed, given)
    return _joined([first[name] for name in shared(module)])


def initial_personal(module: nn.Module, seed: str, given: Collection[str] = ()) -> Vector:
    """The first values of every site's own parameters, the same at every site; (Q,). Arguments as before."""
    first = _first(module, seed, given)
    return _joined([first[name] for name in personal(module)])


def _first(module: nn.Module, seed: str, given: Collection[str]) -> dict[str, Vector]:
    bits = np.random.PCG64(int(seed, 16))
    ups = {f"{name}.up.weight" for name, layer in module.named_modules() if isinstance(layer, Adapted)}
    first: dict[str, Vector] = {}
    fan_in = 1
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1:  # a bias has the fan-in of the weight before it
            fan_in = parameter[0].numel()
        if not parameter.requires_grad:
            continue
        if name in given:
            first[name] = _values(parameter)
        elif name in ups:
            first[name] = np.zeros(parameter.numel())
        else:
            words = bits.random_raw(parameter.numel())
            uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0  # [-1, 1)
            first[name] = uniform / np.sqrt(np.float64(fan_in))
    return first


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _values(parameter: nn.Parameter) -> Vector:
    values: Vector = parameter.detach().cpu().double().reshape(-1).numpy()
    return values


def _joined(parts: list[Vector]) -> Vector:
    return np.concatenate(parts) if parts else np.zeros(0)


def _fill(parameters: Collection[nn.Parameter], vector: Vector) -> None:
    count = _count(parameters)
    if vector.shape != (count,):
        raise ValueError(f"expected a vector of {count} parameters, got shape {vector.shape}")
    start = 0
    with torch.no_grad():
        for parameter in parameters:
            part = vector[start : start + parameter.numel()]
            parameter.copy_(torch.from_numpy(part.reshape(parameter.shape).copy()))
            start += parameter.numel()
