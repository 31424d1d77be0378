"""The first values of a model's parameters: by the kind of layer, and the same bits on every machine.

===========================  ==============================================  ======================================
layer                        weight                                          bias
===========================  ==============================================  ======================================
linear, convolution          Kaiming uniform with a = sqrt(5), that is       uniform in +-1/sqrt(fan-in)
                             uniform in +-1/sqrt(fan-in) (He et al. 2015)
layer, group, instance norm  1                                               0
embedding                    uniform with variance 1/width; the padding row  none
                             is 0
RNN, GRU, LSTM               into the layer: Xavier uniform in               0; an LSTM's forget gate 1 (Jozefowicz
                             +-sqrt(6/(fan-in + fan-out)) (Glorot and        et al. 2015)
                             Bengio 2010); recurrent: orthogonal, gate by
                             gate (Saxe et al. 2014)
attention                    Xavier uniform, block by block                  0
any other                    uniform in +-1/sqrt(fan-in)                     uniform in +-1/sqrt(fan-in)
with ``initial_gain``        that times the gain (``models/layers/sigmoid``) as above
with ``initial_bound``       uniform in +- the bound                         uniform in +- the bound
===========================  ==============================================  ======================================

Rules:

* random values are drawn by numpy's PCG64, whose raw output is the same on every machine and in every version,
  never by torch's generator;
* all further operations are ones that IEEE 754 rounds correctly, so that all sites begin with the same bits;
* parameters that public weights set keep these values, and the second factor of an adapter begins at zero, so that
  a model begins as the public one.
"""

import math
from collections.abc import Collection, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from models.parameters.flatten import (
    flatten_parameter,
    join_vectors,
    list_personal_parameters,
    list_shared_parameters,
)
from models.parameters.lora import Adapted
from models.parameters.vector import Vector

_NORMS: Final = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_GATES: Final = {"RNN_TANH": 1, "RNN_RELU": 1, "GRU": 3, "LSTM": 4}
_FORGET_GATE: Final = 1  # of input, forget, cell and output gate, in torch's order


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
    first: dict[str, Vector] = {}
    for name, layer, local, parameter, fan_in in _list_parameters(module):
        if not parameter.requires_grad:
            continue
        if name in given:
            first[name] = flatten_parameter(parameter)
        else:
            first[name] = _draw_parameter(bits, layer, local, parameter, fan_in).reshape(-1)
    return first


def _list_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter, int]]:
    """Yield name, layer, name in the layer, parameter and fan-in, in the order of ``named_parameters()``."""
    layers = dict(module.named_modules())
    ups = {f"{name}.up" for name, layer in layers.items() if isinstance(layer, Adapted)}
    fan_in = 1
    for name, parameter in module.named_parameters():
        path, _, local = name.rpartition(".")
        if parameter.dim() > 1:  # a bias has the fan-in of the weight before it
            fan_in = parameter[0].numel()
        yield name, _Zero() if path in ups else layers[path], local, parameter, fan_in


class _Zero(nn.Module):
    """A placeholder for a layer whose parameters begin at zero: the second factor of an adapter."""


def _draw_parameter(
    bits: np.random.PCG64, layer: nn.Module, local: str, parameter: nn.Parameter, fan_in: int
) -> NDArray[np.float64]:
    shape = tuple(parameter.shape)
    if isinstance(layer, _Zero):
        return np.zeros(shape)
    if isinstance(layer, _NORMS):
        return np.ones(shape) if local == "weight" else np.zeros(shape)
    if isinstance(layer, nn.Embedding):
        return _draw_embedding(bits, layer, shape)
    if isinstance(layer, nn.RNNBase):
        return _draw_recurrent(bits, layer, local, shape)
    if isinstance(layer, nn.MultiheadAttention | NonDynamicallyQuantizableLinear):  # the latter is its last layer
        return _draw_attention(bits, local, shape)
    bound: float | None = getattr(layer, "initial_bound", None)
    if bound is not None:
        bounded: NDArray[np.float64] = _draw_uniform(bits, shape) * bound
        return bounded
    gain: float = getattr(layer, "initial_gain", 1.0) if len(shape) > 1 else 1.0
    values: NDArray[np.float64] = _draw_uniform(bits, shape) * gain / math.sqrt(fan_in)
    return values


def _draw_embedding(bits: np.random.PCG64, layer: nn.Embedding, shape: tuple[int, ...]) -> NDArray[np.float64]:
    table: NDArray[np.float64] = _draw_uniform(bits, shape) * math.sqrt(3.0 / shape[1])
    if layer.padding_idx is not None:
        table[layer.padding_idx] = 0.0
    return table


def _draw_recurrent(
    bits: np.random.PCG64, layer: nn.RNNBase, local: str, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    gates = _GATES[layer.mode]
    if local.startswith("bias"):
        values = np.zeros(shape)
        if layer.mode == "LSTM" and local.startswith("bias_ih"):  # the layer adds two biases: one of them is 1
            width = layer.hidden_size
            values[_FORGET_GATE * width : (_FORGET_GATE + 1) * width] = 1.0
        return values
    rows = shape[0] // gates
    draw = _draw_orthogonal if local.startswith("weight_hh") else _draw_xavier
    return np.concatenate([draw(bits, rows, shape[1]) for _ in range(gates)])


def _draw_attention(bits: np.random.PCG64, local: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if "bias" in local and len(shape) == 1:
        return np.zeros(shape)
    if local == "in_proj_weight":  # queries, keys and values, one below the other
        return np.concatenate([_draw_xavier(bits, shape[0] // 3, shape[1]) for _ in range(3)])
    return _draw_xavier(bits, shape[0], int(np.prod(shape[1:]))).reshape(shape)


def _draw_xavier(bits: np.random.PCG64, rows: int, columns: int) -> NDArray[np.float64]:
    values: NDArray[np.float64] = _draw_uniform(bits, (rows, columns)) * math.sqrt(6.0 / (rows + columns))
    return values


def _draw_orthogonal(bits: np.random.PCG64, rows: int, columns: int) -> NDArray[np.float64]:
    """Draw a matrix whose rows (or columns, if these are fewer) are orthonormal, by Gram and Schmidt's method.

    Scalar products are summed by :func:`math.fsum`, which rounds once, and therefore alike on every machine. A
    library's QR decomposition does not.
    """
    wide = _draw_uniform(bits, (min(rows, columns), max(rows, columns)))
    for place in range(len(wide)):
        for _ in range(2):  # the second pass removes what rounding left; two are enough (Giraud et al. 2005)
            for before in wide[:place]:
                wide[place] -= math.fsum(wide[place] * before) * before
        wide[place] /= math.sqrt(math.fsum(wide[place] ** 2))
    return wide if rows <= columns else wide.T.copy()


def _draw_uniform(bits: np.random.PCG64, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw uniform values in [-1, 1)."""
    # The upper 53 bits fit a float64, so that the step to [-1, 1) rounds nothing.
    words = bits.random_raw(math.prod(shape))
    uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0  # [-1, 1)
    return uniform.reshape(shape)
