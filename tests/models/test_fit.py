"""A study whose model, task and data do not fit is refused with what is missing, what was expected and what came."""

from typing import Any

import pytest

from models.errors import ModelError
from models.fit import build_study_module, check_fit, find_layers_of_round, name_inputs
from models.generated.study import write_generated_study
from privacy.errors import TermsError
from privacy.study import Terms, parse_terms


def study(name: str, **changes: Any) -> Terms:
    value = write_generated_study(name)
    for section, change in changes.items():
        value[section] = {**value[section], **change}
    return parse_terms(value)


def inputs_of(name: str, **changes: dict[str, Any]) -> dict[str, Any]:
    """The generated study's inputs with some of them changed, by their names."""
    written = write_generated_study(name)["data"]["inputs"]
    return {"inputs": [{**each, **changes.get(each["name"], {})} for each in written]}


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        (
            "gru-d",
            {"inputs": [{"type": "number", "name": "values", "shape": [4, 3], "low": 0, "high": 1}]},
            r"the model 'gru-d' needs an input 'observed' \(flag, timexvariables\); the data 'generated-gru-d' have "
            r"values \(number, 4x3\)",
        ),
        (
            "unet",
            inputs_of("unet", image={"shape": [32, 32]}),
            r"the model 'unet' takes 'image' as number, channelsxheightxwidth; the data give 'image' as number, 32x32",
        ),
        (
            "gru-d",
            inputs_of("gru-d", observed={"shape": [4, 2]}),
            r"takes 'observed' as flag, timexvariables; the data give 'observed' as flag, 4x2; time is \d+, not 4",
        ),
        (
            "deepdta",
            {
                "inputs": [
                    {"type": "number", "name": "compound", "shape": [20], "low": 0, "high": 1},
                    {"type": "id", "name": "protein", "shape": [30], "values": 26},
                ]
            },
            r"takes 'compound' as id of compound_letters words, compound_length; "
            r"the data give 'compound' as number, 20",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_named_with_what_was_expected_and_what_came(
    name: str, data: dict[str, Any], sentence: str
) -> None:
    terms = study(name, data=data, **({"task": {"kind": "binary"}} if name == "gru-d" else {}))
    with pytest.raises(ModelError, match=sentence):
        check_fit(terms.model, terms.data, terms.task)
    with pytest.raises(ModelError, match=sentence):
        build_study_module(terms)


def test_model_that_does_not_suit_the_task_is_refused() -> None:
    terms = study("mlp", task={"kind": "reconstruction"})
    with pytest.raises(ModelError, match="the model 'mlp' cannot learn the task 'reconstruction'; it suits binary"):
        check_fit(terms.model, terms.data, terms.task)


def test_task_whose_target_is_missing_is_refused_with_the_terms() -> None:
    with pytest.raises(
        TermsError, match=r"task: the task needs 'outcome', .*; the data have no tensor of this name"
    ):
        study("mlp", task={"kind": "binary", "target": "outcome"})


def test_only_input_is_taken_whatever_its_name() -> None:
    data = {"inputs": [{"type": "number", "name": "findings", "shape": [5], "low": 0, "high": 1}]}
    terms = study("mlp", data=data)
    assert name_inputs(terms.model, terms.data) == {"features": "findings"}


def test_input_is_found_by_the_name_that_the_terms_give() -> None:
    data = {
        "inputs": [
            {"type": "number", "name": "findings", "shape": [5], "low": 0, "high": 1},
            {"type": "number", "name": "scan", "shape": [3], "low": 0, "high": 1},
        ]
    }
    terms = study("mlp", data=data, model={"inputs": {"features": "scan"}})
    assert build_study_module(terms).get_submodule("layers.0").in_features == 3


def test_name_of_no_input_is_refused() -> None:
    terms = study("mlp", model={"inputs": {"picture": "features"}})
    with pytest.raises(ModelError, match="'mlp' takes no input 'picture'; its inputs: features"):
        build_study_module(terms)


def staged(*stages: dict[str, Any], name: str = "dbn") -> Terms:
    value = write_generated_study(name)
    value["training"] = {"local_steps": 1, "sampling_rate": 0.5, "stages": list(stages)}
    value["evaluation"] = {}
    return parse_terms(value)


def test_each_round_trains_the_layers_of_its_stage() -> None:
    terms = staged(
        {"name": "one", "objective": "layer-1", "rounds": 2, "learning_rate": 0.1},
        {"name": "two", "rounds": 1, "learning_rate": 0.2},
        {"name": "three", "rounds": 1, "learning_rate": 0.3, "trained": ["head"]},
    )
    module = build_study_module(terms)
    assert find_layers_of_round(module, terms, 1) == frozenset({"machines.0.hidden", "machines.0.visible"})
    assert find_layers_of_round(module, terms, 2) == frozenset({"machines.0.hidden", "machines.0.visible"})
    task = find_layers_of_round(module, terms, 3)
    assert task is not None
    assert "machines.0.visible" not in task
    assert {"machines.0.hidden", "head"} <= task
    assert find_layers_of_round(module, terms, 4) == frozenset({"head"})


def test_objective_that_the_model_lacks_is_refused() -> None:
    terms = staged({"name": "one", "objective": "layer-9", "rounds": 1, "learning_rate": 0.1})
    with pytest.raises(ModelError, match=r"the model 'dbn' has no objective 'layer-9'; it has layer-1, .*, task"):
        build_study_module(terms)


def test_stage_that_trains_nothing_of_its_objective_is_refused() -> None:
    terms = staged({"name": "one", "objective": "layer-1", "rounds": 1, "learning_rate": 0.1, "trained": ["head"]})
    with pytest.raises(ModelError, match="stage 'one' trains no layer of its objective 'layer-1'"):
        build_study_module(terms)


def test_control_variates_of_a_model_that_trains_some_layers_only_are_refused() -> None:
    value = write_generated_study("dbn")
    value["training"] = {"rounds": 1, "local_steps": 1, "sampling_rate": 0.5, "learning_rate": 0.1}
    value["training"]["control_variates"] = True
    value["evaluation"] = {}
    with pytest.raises(ModelError, match="'dbn' has layers that only some objectives train; leave it out"):
        build_study_module(parse_terms(value))
