"""Convert between a torch module and two flat vectors: the shared parameters and a site's personal ones.

Rules:

* shared are the trained parameters that are not :class:`Personal`; frozen parameters are in no vector;
* the order is that of ``named_parameters()``, each tensor flattened row by row;
* a vector is float64; a module that computes in float32 holds each value rounded to the nearest float32.

Sizes: P is the number of shared values, Q the number of personal values.
"""

from collections.abc import Collection, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.parameters.vector import Vector


class Personal(nn.Parameter):
    """A parameter that each site trains for itself and never sends; it is not in the shared vector."""


def list_trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return all trained parameters by name, in the order of the gradients of :class:`privacy.dpsgd.DpSgd`."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def list_shared_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trained parameters that are sent, by name."""
    return {
        name: value for name, value in list_trained_parameters(module).items() if not isinstance(value, Personal)
    }


def list_personal_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trained parameters that stay at the site, by name."""
    return {name: value for name, value in list_trained_parameters(module).items() if isinstance(value, Personal)}


def count_shared_parameters(module: nn.Module) -> int:
    """Return P, the length of the shared vector."""
    return _count_values(list_shared_parameters(module).values())


def count_personal_parameters(module: nn.Module) -> int:
    """Return Q, the length of the personal vector."""
    return _count_values(list_personal_parameters(module).values())


def read_shared_parameters(module: nn.Module) -> Vector:
    """Read the module's shared parameters; (P,)."""
    return _read(list_shared_parameters(module).values())


def set_shared_parameters(module: nn.Module, vector: Vector) -> None:
    """Set the module's shared parameters to ``vector`` (P,), on the module's device.

    Raises:
        ValueError: the vector does not have the length P.
    """
    _fill(list_shared_parameters(module).values(), vector)


def read_personal_parameters(module: nn.Module) -> Vector:
    """Read the module's personal parameters; (Q,)."""
    return _read(list_personal_parameters(module).values())


def set_personal_parameters(module: nn.Module, vector: Vector) -> None:
    """Set the module's personal parameters to ``vector`` (Q,).

    Raises:
        ValueError: the vector does not have the length Q.
    """
    _fill(list_personal_parameters(module).values(), vector)


def copy_personal_tensors(module: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Copy the module's personal parameters, by name, each in its shape."""
    return {
        name: value.detach().cpu().float().numpy().copy()
        for name, value in list_personal_parameters(module).items()
    }


def pad_personal(module: nn.Module, vector: Vector) -> Vector:
    """Pad a shared ``vector`` (P,) to all trained parameters (P + Q,), with zeros for the personal ones."""
    parts, start = [], 0
    for parameter in list_trained_parameters(module).values():
        if isinstance(parameter, Personal):
            parts.append(np.zeros(parameter.numel()))
        else:
            parts.append(vector[start : start + parameter.numel()])
            start += parameter.numel()
    return join_vectors(parts)


def _count_values(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def flatten_parameter(parameter: nn.Parameter) -> Vector:
    """Return one parameter as a vector; (its number of values,)."""
    values: Vector = parameter.detach().cpu().double().reshape(-1).numpy()
    return values


def join_vectors(parts: list[Vector]) -> Vector:
    """Join vectors one after the other; an empty list gives an empty vector."""
    return np.concatenate(parts) if parts else np.zeros(0)


def _read(parameters: Collection[nn.Parameter]) -> Vector:
    vector = np.empty(_count_values(parameters))
    for parameter, part in _divide(parameters, vector):
        torch.from_numpy(part).copy_(parameter.detach())  # converted on the way: large models fill no memory twice
    return vector


def _fill(parameters: Collection[nn.Parameter], vector: Vector) -> None:
    count = _count_values(parameters)
    if vector.shape != (count,):
        raise ValueError(f"expected a vector of {count} parameters, got shape {vector.shape}")
    with torch.no_grad():
        for parameter, part in _divide(parameters, vector):
            parameter.copy_(torch.from_numpy(np.require(part, requirements="W")))  # torch reads no read-only memory


def _divide(parameters: Iterable[nn.Parameter], vector: Vector) -> Iterator[tuple[nn.Parameter, Vector]]:
    """Yield each parameter, and its part of ``vector`` in its shape."""
    start = 0
    for parameter in parameters:
        stop = start + parameter.numel()
        yield parameter, vector[start:stop].reshape(parameter.shape)
        start = stop
