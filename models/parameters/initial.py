"""First values of a model's parameters: the same bits on every machine.

Rules:

* first parameters are drawn by numpy's PCG64 (whose raw output is the same everywhere and for ever), never by
  torch's generator: uniform in +-1/sqrt(fan-in), biases included;
* what public weights give is not drawn, and the second factor of an adapter is zero, so that a model begins as the
  public one.
"""

from collections.abc import Collection

import numpy as np
from torch import nn

from models.parameters.flatten import (
    flatten_parameter,
    join_vectors,
    list_personal_parameters,
    list_shared_parameters,
)
from models.parameters.lora import Adapted
from models.parameters.vector import Vector


def draw_initial_shared_parameters(module: nn.Module, seed: str, given: Collection[str] = ()) -> Vector:
    """The first shared parameters of a study, the same at every site; (P,).

    Args:
        module: gives names and shapes; present values matter where they are ``given``.
        seed: hexadecimal, in practice the digest of the terms.
        given: names of parameters that public weights have set.
    """
    first = _draw_first_values(module, seed, given)
    return join_vectors([first[name] for name in list_shared_parameters(module)])


def draw_initial_personal_parameters(module: nn.Module, seed: str, given: Collection[str] = ()) -> Vector:
    """The first values of every site's own parameters, the same at every site; (Q,). Arguments as before."""
    first = _draw_first_values(module, seed, given)
    return join_vectors([first[name] for name in list_personal_parameters(module)])


def _draw_first_values(module: nn.Module, seed: str, given: Collection[str]) -> dict[str, Vector]:
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
            first[name] = flatten_parameter(parameter)
        elif name in ups:
            first[name] = np.zeros(parameter.numel())
        else:
            words = bits.random_raw(parameter.numel())
            uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0  # [-1, 1)
            first[name] = uniform / np.sqrt(np.float64(fan_in))
    return first
