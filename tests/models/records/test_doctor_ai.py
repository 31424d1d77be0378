from typing import Any

import pytest
import torch

from models.catalogue import find_model
from models.errors import ModelError
from tests.models.records_over_time import build_model, draw_inputs

SIZES = {"visits": 5, "codes": 12}


def test_prediction_at_a_visit_does_not_see_later_visits() -> None:
    module, inputs = build_model("doctor-ai", SIZES, (5, 12)), draw_inputs("doctor-ai", SIZES, [5])
    later = inputs["visits"].clone()
    later[:, 3:] = ~later[:, 3:]
    first, second = module(inputs), module(inputs | {"visits": later})
    assert torch.equal(first[:, :3], second[:, :3])
    assert (first[:, 3:] != second[:, 3:]).all()


def test_other_codes_may_be_predicted_than_those_of_the_visits() -> None:
    assert build_model("doctor-ai", SIZES, (5, 7))(draw_inputs("doctor-ai", SIZES, [5, 2])).shape == (2, 5, 7)


@pytest.mark.parametrize("name", ["doctor-ai", "med2vec"])
@pytest.mark.parametrize("outputs", [(), (12,), (4, 12)])
def test_task_without_a_row_for_each_visit_is_refused(name: str, outputs: tuple[int, ...]) -> None:
    entry = find_model(name)
    with pytest.raises(ModelError, match=rf"'{name}' gives outputs of shape \(5, labels\)"):
        entry.build(entry.presets["small"], SIZES, outputs)


def test_layers_are_as_many_as_the_options_say() -> None:
    entry = find_model("doctor-ai")
    options = entry.check_options("doctor-ai", {"embedding": 6, "hidden": [5, 4, 3], "dropout": 0})
    module: Any = entry.build(options, SIZES, (5, 12))
    widths = [(layer.input.in_features, layer.candidate.out_features) for layer in module.layers]
    assert widths == [(6, 5), (5, 4), (4, 3)]
