"""First values by kind of layer, against what the papers say of them and against torch's own layers."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from models.parameters.flatten import list_shared_parameters, set_shared_parameters
from models.parameters.initial import draw_initial_shared_parameters
from models.parameters.vector import compute_vector_digest
from tests.models.tables import build_for_table

SEED = "5f" * 32


def begun(layer: nn.Module) -> dict[str, np.ndarray]:
    """The layer's first values, by name, as a study would begin with them."""
    set_shared_parameters(layer, draw_initial_shared_parameters(layer, SEED))
    return {name: value.detach().double().numpy() for name, value in list_shared_parameters(layer).items()}


@pytest.mark.parametrize("layer", [nn.LayerNorm(16), nn.GroupNorm(2, 8), nn.InstanceNorm2d(3, affine=True)])
def test_norm_begins_as_the_identity_on_what_it_has_normalised(layer: nn.Module) -> None:
    found = begun(layer)
    assert set(found["weight"]) == {1.0}
    assert set(found["bias"]) == {0.0}


def test_norm_in_a_model_of_the_catalogue_begins_at_one() -> None:
    module = build_for_table("mlp", {"hidden": [6], "norm": "layer"}, 4)
    found = begun(module)
    assert set(found["layers.1.weight"]) == {1.0}
    assert len(set(found["layers.0.weight"].ravel())) == 24


@pytest.mark.parametrize(
    ("layer", "fan_in"), [(nn.Linear(50, 400), 50), (nn.Conv1d(6, 300, 5), 30), (nn.Conv2d(4, 300, 3), 36)]
)
def test_linear_and_convolution_are_uniform_by_fan_in_as_torch_begins_them(layer: nn.Module, fan_in: int) -> None:
    torch.manual_seed(1)
    layer.reset_parameters()  # type: ignore[operator]
    theirs = layer.weight.detach().double().std().item()  # type: ignore[operator]
    weight = begun(layer)["weight"]
    assert np.abs(weight).max() <= 1 / math.sqrt(fan_in)
    assert weight.std() == pytest.approx(1 / math.sqrt(3 * fan_in), rel=0.02)
    assert weight.std() == pytest.approx(theirs, rel=0.03)


def test_embedding_has_variance_one_over_width_and_an_empty_padding_row() -> None:
    table = begun(nn.Embedding(3000, 16, padding_idx=2))["weight"]
    assert set(table[2]) == {0.0}
    assert np.delete(table, 2, axis=0).var() == pytest.approx(1 / 16, rel=0.02)


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_recurrent_weights_are_orthogonal_gate_by_gate(kind: Callable[[int, int], nn.RNNBase], gates: int) -> None:
    found = begun(kind(5, 12))
    for gate in np.split(found["weight_hh_l0"], gates):
        np.testing.assert_allclose(gate @ gate.T, np.eye(12), atol=1e-6)  # float32 of the module
    into = found["weight_ih_l0"]
    assert np.abs(into).max() <= math.sqrt(6 / 17)
    assert into.std() == pytest.approx(math.sqrt(2 / 17), rel=0.15)


def test_forget_gate_of_an_lstm_begins_open_and_other_biases_at_zero() -> None:
    found = begun(nn.LSTM(5, 3))
    both = found["bias_ih_l0"] + found["bias_hh_l0"]
    assert both.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_attention_is_xavier_block_by_block() -> None:
    found = begun(nn.MultiheadAttention(64, 4))
    assert np.abs(found["in_proj_weight"]).max() <= math.sqrt(6 / 128)
    assert found["in_proj_weight"].std() == pytest.approx(math.sqrt(2 / 128), rel=0.03)
    assert set(found["in_proj_bias"]) == set(found["out_proj.bias"]) == {0.0}


@pytest.mark.parametrize(
    ("layer", "bits"),
    [
        (nn.Linear(3, 2), "71587c2508d05a72"),
        (nn.Embedding(4, 3), "6bd2881f6f311df5"),
        (nn.GRU(3, 4), "39c4d5d1c68339bd"),
        (nn.MultiheadAttention(4, 2), "6e2f7a50ffa5156e"),
    ],
)
def test_bits_stay_the_same(layer: nn.Module, bits: str) -> None:
    """Origin: this function when layers got their own first values; every site must begin at these bits."""
    assert compute_vector_digest(draw_initial_shared_parameters(layer, SEED))[:16] == bits


class Within(nn.Linear):
    initial_bound = 0.25


def test_layer_with_a_bound_begins_uniform_within_it() -> None:
    found = begun(Within(50, 400))
    for values in found.values():
        assert np.abs(values).max() <= 0.25
        assert values.std() == pytest.approx(0.25 / math.sqrt(3), rel=0.08)
