"""The first values of a model's parameters: the same bits on every machine.

Rules:

* values are uniform in +-1/sqrt(fan-in), biases included;
* they are drawn by numpy's PCG64, whose raw output is the same on every machine and in every version, never by
  torch's generator;
* parameters that public weights set keep these values, and the second factor of an adapter begins at zero, so that
  a model begins as the public one.
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
    """Draw the first shared parameters of a study, the same at every site; (P,).

    Args:
        module: the model; the values of the parameters in ``given`` are kept.
        seed: hexadecimal; in a study it is the digest of the terms.
        given: names of parameters that public weights have set.
    """
    first = _draw_first_values(module, seed, given)
    return join_vectors([first[name] for name in list_shared_parameters(module)])


def draw_initial_personal_parameters(module: nn.Module, seed: str, given: Collection[str] = ()) -> Vector:
    """Draw the first personal parameters, the same at every site; (Q,).

    Arguments as for :func:`draw_initial_shared_parameters`.
    """
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
            # The upper 53 bits fit a float64, so that the step to [-1, 1) rounds nothing.
            words = bits.random_raw(parameter.numel())
            uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0  # [-1, 1)
            first[name] = uniform / np.sqrt(np.float64(fan_in))
    return first
