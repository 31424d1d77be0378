"""What every model of visits and of series must do: padding says nothing, order says something, no step is no error."""

import pytest
import torch
from torch import nn

from tests.models.records_over_time import Tensors, build_model, draw_inputs, pad_inputs

SERIES = {"time": 6, "variables": 4}
VISITS = {"visits": 5, "codes": 12}
ADMISSIONS = {
    "visits": 5,
    "diagnoses_each": 4,
    "interventions_each": 3,
    "diagnosis_codes": 20,
    "intervention_codes": 12,
}
OF_RECORD = {
    "gru-d": (SERIES, (3,)),
    "retain": (VISITS, (3,)),
    "dynamic-deephit": (SERIES, (9,)),
    "disease-atlas": (SERIES, (9,)),
    "modality-gru": (SERIES, (3,)),
    "recurrent": (SERIES, (3,)),
    "deep-care": (ADMISSIONS, (3,)),
    "phenotyping-cnn": (VISITS, (3,)),
}
OF_VISIT = {"doctor-ai": (VISITS, (5, 12)), "med2vec": (VISITS, (5, 12)), "code-embeddings": (VISITS, (5, 12))}
ALL = {**OF_RECORD, **OF_VISIT}


def _go_back(returned: Tensors) -> None:
    torch.autograd.backward([value.square().sum() for value in returned.values()])


def _returned(module: nn.Module, inputs: Tensors) -> Tensors:
    found = module(inputs)
    return found if isinstance(found, dict) else {"outputs": found}


@pytest.mark.parametrize(
    "name", [name for name in ALL if name != "phenotyping-cnn"]
)  # its windows are parts of the axis
def test_padding_changes_nothing(name: str) -> None:
    sizes, outputs = ALL[name]
    module, inputs = build_model(name, sizes, outputs), draw_inputs(name, sizes, [1, 2, 5])
    plain, padded = _returned(module, inputs), _returned(module, pad_inputs(inputs, 3))
    for key, value in plain.items():
        same = padded[key][:, : sizes["visits"]] if name in OF_VISIT and key == "outputs" else padded[key]
        torch.testing.assert_close(same, value)


@pytest.mark.parametrize("name", ALL)
def test_values_in_steps_that_are_not_present_change_nothing(name: str) -> None:
    sizes, outputs = ALL[name]
    module, inputs = build_model(name, sizes, outputs), draw_inputs(name, sizes, [1, 3, 4])
    present = inputs["present"]
    other = {key: value.clone() for key, value in inputs.items()}
    for key, value in draw_inputs(name, sizes, [1, 3, 4], seed=1).items():
        other[key][~present] = value[~present]
    for key, value in _returned(module, inputs).items():
        got = _returned(module, other)[key]
        rows = present if name in OF_VISIT and key == "outputs" else slice(None)
        torch.testing.assert_close(got[rows], value[rows])


@pytest.mark.parametrize("name", [*OF_RECORD, "doctor-ai"])
def test_order_of_steps_matters(name: str) -> None:
    sizes, outputs = ALL[name]
    module, inputs = build_model(name, sizes, outputs), draw_inputs(name, sizes, [4])
    order = [1, 0, *range(2, len(inputs["present"][0]))]
    turned = {key: value[:, order] for key, value in inputs.items()}
    at = (0, 3) if name in OF_VISIT else (0,)
    first, second = _returned(module, inputs)["outputs"][at], _returned(module, turned)["outputs"][at]
    assert not torch.allclose(first, second, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_records_without_and_with_one_step_are_finite_with_finite_gradients(name: str) -> None:
    sizes, outputs = ALL[name]
    module = build_model(name, sizes, outputs)
    returned = _returned(module, draw_inputs(name, sizes, [0, 1]))
    _go_back(returned)
    assert all(torch.isfinite(value).all() for value in returned.values())
    assert all(torch.isfinite(value.grad).all() for value in module.parameters() if value.grad is not None)


@pytest.mark.parametrize("name", ALL)
def test_every_parameter_of_every_layer_has_a_gradient(name: str) -> None:
    sizes, outputs = ALL[name]
    module = build_model(name, sizes, outputs)
    returned = _returned(module, draw_inputs(name, sizes, [2, 5, 4, 3]))
    _go_back(returned)
    for key, value in module.named_parameters():
        assert value.grad is not None, key
        assert value.grad.any(), key
