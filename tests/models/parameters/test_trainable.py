"""What is trained, shared, personal and frozen of a model, by the names in a study's terms."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from models.errors import ModelError
from models.parameters.flatten import (
    Personal,
    copy_personal_tensors,
    count_personal_parameters,
    count_shared_parameters,
    list_personal_parameters,
    list_shared_parameters,
    list_trained_parameters,
    pad_personal,
    read_personal_parameters,
    read_shared_parameters,
    set_personal_parameters,
    set_shared_parameters,
)
from models.parameters.initial import draw_initial_personal_parameters, draw_initial_shared_parameters
from models.parameters.trainable import ParameterCounts, count_by_kind
from tests.models.choices import arranged, convolutional
from tests.models.tables import build_for_table

LAYERS = {"layers.0": 5 * 4 + 4, "layers.2": 4 * 3 + 3, "layers.4": 3 + 1}
"""Of ``mlp`` on 5 inputs with hidden layers of 4 and 3."""


def mlp(**choices: Any) -> nn.Module:
    return arranged(build_for_table("mlp", {"hidden": [4, 3]}, 5), **choices)


def names(parameters: dict[str, nn.Parameter]) -> list[str]:
    return sorted({name.rpartition(".")[0] for name in parameters})


@pytest.mark.parametrize(
    ("choices", "sent", "own"),
    [
        ({}, {"layers.0", "layers.2", "layers.4"}, set()),
        ({"frozen": ["layers.0"]}, {"layers.2", "layers.4"}, set()),
        ({"trained": ["head"]}, {"layers.4"}, set()),
        ({"trained": ["layers.4", "layers.2"]}, {"layers.2", "layers.4"}, set()),
        ({"personal": ["head"]}, {"layers.0", "layers.2"}, {"layers.4"}),
        ({"trained": ["layers.2"], "personal": ["head"]}, {"layers.2"}, {"layers.4"}),
        ({"frozen": ["layers.0"], "personal": ["layers.2"]}, {"layers.4"}, {"layers.2"}),
    ],
)
def test_layers_that_are_named_are_trained_sent_or_kept(
    choices: dict[str, Any], sent: set[str], own: set[str]
) -> None:
    module = mlp(**choices)
    assert (set(names(list_shared_parameters(module))), set(names(list_personal_parameters(module)))) == (sent, own)
    amounts = [sum(LAYERS[name] for name in chosen) for chosen in (sent, own, set(LAYERS) - sent - own)]
    assert (
        count_by_kind(module)
        == ParameterCounts(*amounts)
        == (count_shared_parameters(module), count_personal_parameters(module), amounts[2])
    )
    asking = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert (
        asking
        == set(list_trained_parameters(module))
        == set(list_shared_parameters(module)) | set(list_personal_parameters(module))
    )


def test_name_of_a_part_stands_for_all_layers_in_it() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    whole = arranged(nn.ModuleDict({"body": module, "last": nn.Linear(2, 1)}), frozen=["body"])
    assert names(list_shared_parameters(whole)) == ["last"]
    with pytest.raises(ModelError, match="every layer is frozen, so there is nothing to train together"):
        mlp(frozen=["layers"])


def test_adapters_without_names_stand_beside_every_layer_that_is_not_trained() -> None:
    module = mlp(adapters={"rank": 2}, trained=["head"])
    assert names(list_shared_parameters(module)) == [
        "layers.0.down", "layers.0.up", "layers.2.down", "layers.2.up", "layers.4",
    ]  # fmt: skip
    assert count_by_kind(module) == ParameterCounts(
        2 * (5 + 4) + 2 * (4 + 3) + 4, 0, LAYERS["layers.0"] + LAYERS["layers.2"]
    )


def test_adapters_with_names_leave_the_rest_frozen() -> None:
    module = mlp(adapters={"rank": 1, "layers": ["layers.2"]})
    assert names(list_shared_parameters(module)) == ["layers.2.down", "layers.2.up"]
    assert count_shared_parameters(module) == 4 + 3


def test_adapters_and_a_personal_layer_are_trained_beside_each_other() -> None:
    module = mlp(adapters={"rank": 2}, personal=["head"])
    assert names(list_shared_parameters(module)) == ["layers.0.down", "layers.0.up", "layers.2.down", "layers.2.up"]
    assert names(list_personal_parameters(module)) == ["layers.4"]


KNOWN = "its layers: layers.0 (Linear), layers.2 (Linear), layers.4 (Linear); head is layers.4"


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"frozen": ["layer.0"]}, f"model.frozen: the model has no layer 'layer.0' with parameters; {KNOWN}"),
        ({"trained": ["layers.1"]}, f"model.trained: the model has no layer 'layers.1' with parameters; {KNOWN}"),
        ({"trained": ["layers.0.weight"]}, "model.trained: the model has no layer 'layers.0.weight'"),
        ({"personal": ["norms"]}, "model.personal: the model has no layer 'norms'"),
        ({"adapters": {"rank": 1, "layers": ["x"]}}, "model.adapters.layers: the model has no layer 'x'"),
        ({"frozen": ["head"], "personal": ["layers.4"]}, "model.personal: layer 'layers.4' is frozen as well"),
        (
            {"adapters": {"rank": 1, "layers": ["head"]}, "trained": ["layers.4"]},
            "model.adapters: layer 'layers.4' is trained whole; an adapter stands beside a frozen layer",
        ),
        (
            {"adapters": {"rank": 1, "layers": ["head"]}, "personal": ["head"]},
            "model.adapters: layer 'layers.4' is trained whole",
        ),
        ({"adapters": {"rank": 2}}, "model.adapters: rank 2 is more than layer 'layers.4' has (1): train it whole"),
        (
            {"adapters": {"rank": 1}, "trained": ["layers"]},
            "model.adapters: no frozen layer is left that takes an adapter",
        ),
        (
            {"personal": ["layers"]},
            "every layer that is trained is personal, so there is nothing to train together",
        ),
        ({"trained": ["head"], "personal": ["head"]}, "every layer that is trained is personal"),
    ],
)
def test_choice_that_cannot_be_is_refused_with_the_models_layers(choices: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError) as caught:
        mlp(**choices)
    assert sentence in str(caught.value)


def test_adapter_beside_a_norm_is_refused() -> None:
    with pytest.raises(ModelError, match=r"layer 'layers\.1' \(GroupNorm\) takes no adapter"):
        arranged(convolutional(), adapters={"rank": 1, "layers": ["layers.1"]})


def test_adapter_beside_a_convolution_of_groups_is_refused() -> None:
    module = nn.Sequential(nn.Conv1d(4, 4, 2, groups=2), nn.Flatten(), nn.Linear(4, 1))
    with pytest.raises(ModelError, match="takes no adapter; Linear and Conv1d to Conv3d of one group do"):
        arranged(nn.ModuleDict({"layers": module}), adapters={"rank": 1, "layers": ["layers.0"]})


CHOICES: list[dict[str, Any]] = [
    {},
    {"frozen": ["layers.2"]},
    {"trained": ["head"]},
    {"personal": ["layers.0", "head"]},
    {"adapters": {"rank": 2}, "trained": ["head"]},
    {"adapters": {"rank": 1, "layers": ["layers.0"]}, "personal": ["head"]},
]


@given(st.data(), st.sampled_from(CHOICES))
def test_vectors_of_float32_values_round_trip_and_touch_nothing_else(
    data: st.DataObject, choices: dict[str, Any]
) -> None:
    module = mlp(**choices)
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    values = st.floats(-100, 100, width=32)
    sent = data.draw(arrays(np.float32, count_shared_parameters(module), elements=values)).astype(np.float64)
    own = data.draw(arrays(np.float32, count_personal_parameters(module), elements=values)).astype(np.float64)
    set_shared_parameters(module, sent)
    set_personal_parameters(module, own)
    assert (read_shared_parameters(module).tolist(), read_personal_parameters(module).tolist()) == (
        sent.tolist(),
        own.tolist(),
    )
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, before[name])
    named = copy_personal_tensors(module)
    assert np.concatenate([np.zeros(0), *(part.ravel() for part in named.values())]).tolist() == own.tolist()


@given(st.sampled_from(CHOICES))
def test_widened_vector_is_zero_where_a_parameter_is_personal(choices: dict[str, Any]) -> None:
    module = mlp(**choices)
    vector = np.arange(1.0, count_shared_parameters(module) + 1)
    wide = pad_personal(module, vector)
    places = np.concatenate(
        [np.full(each.numel(), isinstance(each, Personal)) for each in list_trained_parameters(module).values()]
    )
    assert wide[~places].tolist() == vector.tolist()
    assert not wide[places].any()


def test_own_vector_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a vector of 4 parameters"):
        set_personal_parameters(mlp(personal=["head"]), np.zeros(5))


def test_personal_parameters_stay_personal_in_a_copy() -> None:
    module = mlp(personal=["head"])
    again = copy.deepcopy(module).double().float()
    assert count_personal_parameters(again) == count_personal_parameters(module) == 4
    assert read_personal_parameters(again).tolist() == read_personal_parameters(module).tolist()


def test_first_values_are_those_of_the_whole_model_however_they_are_kept() -> None:
    """The same draw as without personal layers, taken apart."""
    whole = draw_initial_shared_parameters(mlp(), "ab" * 32)
    module = mlp(personal=["layers.2"])
    sent, own = (
        draw_initial_shared_parameters(module, "ab" * 32),
        draw_initial_personal_parameters(module, "ab" * 32),
    )
    start, end = LAYERS["layers.0"], LAYERS["layers.0"] + LAYERS["layers.2"]
    assert own.tolist() == whole[start:end].tolist()
    assert sent.tolist() == [*whole[:start], *whole[end:]]


def test_first_adapters_change_nothing() -> None:
    module = mlp(adapters={"rank": 2}, trained=["head"])
    features = torch.rand(6, 5)
    set_shared_parameters(
        module, draw_initial_shared_parameters(module, "ab" * 32, given=("layers.4.weight", "layers.4.bias"))
    )
    plain = copy.deepcopy(module)
    for name in ("0", "2"):
        layers = plain.get_submodule("layers")
        setattr(layers, name, layers.get_submodule(name).get_submodule("base"))
    assert torch.equal(module({"features": features}), plain({"features": features}))
    downs = [parameter for name, parameter in list_shared_parameters(module).items() if ".down." in name]
    assert all(parameter.any() for parameter in downs), "if both factors were zero, nothing would ever move"
