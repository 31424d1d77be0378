"""A contract of events says everything that decides a number, and refuses what contradicts itself."""

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from models.generated.records import generate_records
from privacy.study import EventsContract
from privacy.study.data.kinds import ContractFile

DIABETES = {"kind": "code", "system": "icd10cm", "codes": ["E11"]}
GLUCOSE = {
    "name": "glucose",
    "codes": [{"system": "loinc", "code": "2345-7"}],
    "unit": "mg/dL",
    "low": 40,
    "high": 600,
}


def make(text: str = "", **keys: Any) -> EventsContract:
    value = {
        "kind": "events",
        "name": "people",
        "ranges_from": "invented",
        "steps": {"kind": "visits", "length": 3},
        "codes": [{"system": "icd10cm", "words": ["E11", "I10"]}],
    }
    made = ContractFile.model_validate({"data": value | (yaml.safe_load(text) or {}) | keys}).data
    assert isinstance(made, EventsContract)
    return made


def shapes(contract: EventsContract) -> dict[str, tuple[int, ...]]:
    return {each.name: each.shape for each in (*contract.list_inputs(), *contract.list_targets())}


def test_visits_become_the_inputs_of_visit_models() -> None:
    assert shapes(make()) == {"visits": (3, 2), "days": (3,), "present": (3,)}


def test_codes_as_ids_keep_zero_for_none() -> None:
    contract = make(steps={"kind": "visits", "length": 3, "most_codes": 4})
    ids = contract.find_tensor("codes")
    assert ids is not None
    assert ids.shape == (3, 4)
    assert ids.model_dump()["values"] == 3


def test_grid_becomes_the_inputs_of_gru_d() -> None:
    contract = make(
        steps={"kind": "grid", "length": 48},
        codes=[],
        variables=[GLUCOSE],
        index={"at": "visit-start", "hours": 48},
    )
    assert shapes(contract) == {"values": (48, 1), "observed": (48, 1), "gaps": (48, 1), "present": (48,)}


def test_bag_is_one_vector_of_everything() -> None:
    static = [{"kind": "age"}, {"kind": "fact", "name": "sex", "values": ["female", "male"]}]
    contract = make(steps={"kind": "bag"}, variables=[GLUCOSE], static=static)
    assert shapes(contract) == {"features": (2 + 2 + 2 + 3,)}


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ({"kind": "happens", "of": [DIABETES]}, {"label": ()}),
        ({"kind": "several", "of": [[DIABETES], [DIABETES]]}, {"labels": (2,)}),
        ({"kind": "codes", "of": {"system": "atc", "every": "atc-1"}}, {"labels": (14,)}),
        ({"kind": "class", "of": [[DIABETES]], "otherwise": "class"}, {"label": ()}),
    ],
)
def test_label_has_the_targets_of_its_kind(label: dict[str, Any], expected: dict[str, Any]) -> None:
    contract = make(label={**label, "window": {"when": "after", "days": 365}})
    assert {each.name: each.shape for each in contract.list_targets()} == expected


def test_survival_has_time_and_event() -> None:
    contract = make(
        label={"kind": "survival", "causes": [[{"kind": "death"}], [DIABETES]], "longest": 10, "unit": "years"}
    )
    time, event = contract.list_targets()
    assert (time.name, event.name, event.model_dump()["values"]) == ("time", "event", 3)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"codes": [{"system": "icd10cm", "words": ["250.00"]}]}, "no codes of icd10cm: 250.00"),
        ({"codes": [{"system": "icd10cm", "words": ["E11", "e11"]}]}, "listed twice"),
        ({"codes": [{"system": "icd10cm"}]}, "one of every, words and buckets"),
        ({"codes": [{"system": "atc", "every": "icd9cm-categories"}]}, "are no codes of atc"),
        ({"codes": []}, "expected codes, variables or static"),
        ({"steps": {"kind": "grid", "length": 4}}, "a grid has variables"),
        ({"index": {"at": "date"}}, "needs 'date'"),
        ({"index": {"at": "first-event"}}, "needs 'of'"),
        ({"index": {"hours": 4}}, "hours are for"),
        ({"patient": "visits"}, "name of an input"),
        ({"variables": [GLUCOSE, GLUCOSE]}, "named twice"),
        ({"variables": [GLUCOSE | {"low": 0, "logarithm": True}]}, "logarithm needs low above 0"),
        ({"variables": [GLUCOSE | {"codes": [{"system": "loinc", "code": "2345-8"}]}]}, "no codes of loinc"),
        (
            {"label": {"kind": "happens", "of": [{"kind": "value", "variable": "HbA1c", "above": 7}],
                       "window": {"when": "this-visit"}}},
            "no variable of data.variables: HbA1c",
        ),
        ({"label": {"kind": "happens", "of": [DIABETES], "window": {"when": "after"}}}, "needs days"),
        ({"label": {"kind": "class", "of": [[DIABETES]], "otherwise": "left-out",
                    "window": {"when": "this-visit"}}}, "at least two classes"),
        ({"maps": [{"source": "icd9cm", "target": "icd9cm", "form": "gem", "sha256": "0" * 64}]}, "two systems"),
    ],
)  # fmt: skip
def test_contract_that_contradicts_itself_is_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make(**keys)
    assert words in str(caught.value)


def test_records_can_be_generated_for_it() -> None:
    contract = make(
        variables=[GLUCOSE], label={"kind": "happens", "of": [DIABETES], "window": {"when": "next-visit"}}
    )
    generated = generate_records(contract, 5, 1)
    assert generated.arrays["visits"].shape == (5, 3, 2)
    assert generated.arrays["label"].shape == (5,)
