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


def test_repeats_raise_the_codes_that_the_patient_had_before() -> None:
    """Against the same layers without it, code by code."""
    entry, inputs = find_model("doctor-ai"), draw_inputs("doctor-ai", SIZES, [5, 3])
    plain: Any = build_model("doctor-ai", SIZES, (5, 12))
    options = entry.presets["small"].model_copy(update={"repeats": 2.5})
    module: Any = entry.build(options, SIZES, (5, 12))
    module.load_state_dict(plain.state_dict() | {"repeats.weight": torch.tensor([[0.25]])})
    raised = module(inputs) - plain(inputs)
    for record, visits in enumerate(inputs["visits"]):
        had: set[int] = set()
        for visit, codes in enumerate(visits):
            had |= set(codes.nonzero().flatten().tolist())
            expected = [2.75 if code in had else 0.0 for code in range(12)]
            torch.testing.assert_close(raised[record, visit], torch.tensor(expected), atol=1e-5, rtol=0)


def test_repeats_need_the_codes_of_the_visits_as_outputs() -> None:
    entry = find_model("doctor-ai")
    options = entry.check_options("doctor-ai", {"preset": "small", "repeats": 3.5})
    with pytest.raises(ModelError, match="expected 12 outputs a visit, got 7; leave repeats out"):
        entry.build(options, SIZES, (5, 7))
