"""Mutated files of events give records or a sentence: no traceback, no value in a message, no number from nowhere."""

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.data.conversion.report import ConversionError
from privacy.errors import Error
from tests.client.data.conversion.converting import SHARED, convert, list_reasons
from tests.client.data.conversion.events.people import GLUCOSE, convert_rows, icd, lab, make

CONTRACT = make(variables=[GLUCOSE], static=[{"kind": "age"}])
FHIR = {"zone": "Europe/Berlin", "origin": {"kind": "fhir", "folder": "export"}}
RESOURCES: list[dict[str, Any]] = [
    {"resourceType": "Patient", "id": "p1", "birthDate": "1960-05", "gender": "female"},
    {"resourceType": "Encounter", "id": "e1", "status": "finished", "subject": {"reference": "Patient/p1"},
     "period": {"start": "2020-01-01T08:00:00+01:00", "end": "2020-01-01T12:00:00+01:00"}},
    {"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/p1"},
     "encounter": {"reference": "Encounter/e1"}, "onsetDateTime": "2020-01-01T09:00:00+01:00",
     "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "E11.9"}]}},
    {"resourceType": "Observation", "id": "o1", "status": "final", "subject": {"reference": "Patient/p1"},
     "encounter": {"reference": "Encounter/e1"}, "effectiveDateTime": "2020-01-01T10:00:00+01:00",
     "code": {"coding": [{"system": "http://loinc.org", "code": "2345-7"}]},
     "valueQuantity": {"value": 180, "unit": "mg/dL", "code": "mg/dL"}},
]  # fmt: skip
STRANGE: list[Any] = [
    None, True, -1, 1e308, 10**400, "", "\u0000", "2020", [], {}, [[]], "9" * 5000, {"reference": 7},
]  # fmt: skip
SECRETS = ("p1", "E11.9", "1960", "180")


def require_records_of_the_contract(arrays: dict[str, Any]) -> None:
    for tensor in CONTRACT.list_inputs():
        found = arrays[tensor.name]
        assert found.shape[1:] == tensor.shape
        if tensor.type == "number":
            assert np.isfinite(found).all()
            assert found.min() >= tensor.low
            assert found.max() <= tensor.high


def convert_export(text: bytes, folder: Path, most: float = 1.0) -> Any:
    (folder / "export").mkdir()
    (folder / "export" / "all.ndjson").write_bytes(text)
    return convert(CONTRACT, FHIR, folder, most)


def mutate(value: Any, draw: random.Random) -> Any:
    """Change one thing, somewhere within ``value``."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        key = draw.choice(sorted(value))
        if draw.random() < 0.2:
            return {name: each for name, each in value.items() if name != key}
        return value | {key: mutate(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.85:
        place = draw.randrange(len(value))
        return [*value[:place], mutate(value[place], draw), *value[place + 1 :]]
    return draw.choice(
        [None, True, -1, 1e308, 10**400, "", "\u0000", "2020", [], {}, [[]], "9" * 5000, {"reference": 7}]
    )


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_mutated_resources_give_records_or_a_sentence(seed: int, changes: int) -> None:
    draw = random.Random(seed)
    resources: list[Any] = list(RESOURCES)
    for _ in range(changes):
        place = draw.randrange(len(resources))
        resources[place] = mutate(resources[place], draw)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = convert_export("\n".join(map(json.dumps, resources)).encode(), Path(folder))
        except Error as error:
            said = str(error).replace(folder, "")
        else:
            require_records_of_the_contract(found.arrays)
            said = " ".join([*found.report.notes, *list_reasons(found.report)])
    assert not [word for word in SECRETS if f"{word} " in f"{said} "]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mutated_bytes_of_an_export_give_records_or_a_sentence(data: st.DataObject) -> None:
    text = bytearray("\n".join(map(json.dumps, RESOURCES)).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=6))
    with tempfile.TemporaryDirectory() as folder:
        try:
            require_records_of_the_contract(convert_export(bytes(text), Path(folder)).arrays)
        except Error as error:
            assert "\n" not in str(error)  # noqa: PT017 - it depends on what was drawn


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mutated_fields_of_a_table_give_records_or_a_sentence(data: st.DataObject) -> None:
    rows: list[list[Any]] = [icd("p1", "2020-01-01", "v", "E11.9"), lab("p1", "2020-01-01", "v", 180)]
    strange = st.one_of(
        st.text(max_size=12), st.sampled_from(["1,5", "1e400", "2020-13-01", "NaN", "-", "=1+1", "∞", "١٢"])
    )
    for _ in range(data.draw(st.integers(1, 4))):
        rows[data.draw(st.integers(0, 1))][data.draw(st.integers(0, 7))] = data.draw(strange)
    with tempfile.TemporaryDirectory() as folder:
        try:
            require_records_of_the_contract(convert_rows(CONTRACT, Path(folder), rows, most=1.0).arrays)
        except Error as error:
            assert "Traceback" not in str(error)  # noqa: PT017 - it depends on what was drawn


def test_deep_nesting_and_numbers_without_end_leave_out_the_line(tmp_path: Path) -> None:
    bad = [
        b"[" * 100_000,
        b'{"resourceType": "Condition", "a": NaN}',
        b'{"resourceType": "Condition", "a": 1' + b"0" * 5000 + b"}",
    ]
    found = convert_export(b"\n".join([*(json.dumps(each).encode() for each in RESOURCES), *bad]), tmp_path)
    assert list_reasons(found.report) == {"is no JSON: it was cut, or is not of FHIR": 3}


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_broken_export_says_what_is_broken_and_refuses_past_the_limit(tmp_path: Path) -> None:
    """Three things are wrong in the file: a line that was cut, an unknown type; a blank line is no mistake."""
    broken = (SHARED / "adapters" / "fhir" / "broken.ndjson").read_bytes()
    with pytest.raises(ConversionError) as caught:
        convert_export(broken, tmp_path)
    reasons = {each.reason: each for each in caught.value.report.quarantined}
    assert reasons["is no JSON: it was cut, or is not of FHIR"].places[0].row == 4
    assert reasons["is of no type of FHIR R4 that is known"].places[0].row == 12
    lines = [line for line in broken.splitlines() if line.strip()]
    others = reasons["'subject' leads to a Patient that the export does not have, or that cannot be used"]
    assert others.count == len(lines) - 2
