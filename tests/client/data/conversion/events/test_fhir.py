"""A FHIR export becomes the same records as the tables that say the same."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from client.data.conversion.events.fhir import SYSTEMS
from privacy.study import EventsContract
from tests.client.data.conversion.converting import SHARED, Converted, convert, list_reasons
from tests.client.data.conversion.events.people import GLUCOSE, convert_rows, icd, lab, make

Resource = dict[str, Any]
ICD_10 = "http://hl7.org/fhir/sid/icd-10-cm"
RXNORM = {"system": "rxnorm", "words": ["860975"]}
PATIENT = {"resourceType": "Patient", "id": "p1"}


def code(system: str, word: str) -> Resource:
    return {"coding": [{"system": system, "code": word}], "text": "never read"}


def about(kind: str, reference: str = "Patient/p1", **keys: Any) -> Resource:
    return {"resourceType": kind, "id": "x", "subject": {"reference": reference}} | keys


def condition(time: str = "2020-01-01T10:00:00+01:00", word: str = "E11.9", **keys: Any) -> Resource:
    return about("Condition", onsetDateTime=time, code=code(ICD_10, word)) | keys


def convert_resources(
    contract: EventsContract, folder: Path, files: dict[str, list[Resource]], most: float = 0.0, **origin: Any
) -> Converted:
    export = folder / "export"
    export.mkdir(exist_ok=True)
    for name, resources in files.items():
        text = "\n".join(map(json.dumps, resources)).encode()
        (export / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    mapping = {"zone": "Europe/Berlin", "origin": {"kind": "fhir", "folder": "export"} | origin}
    return convert(contract, mapping, folder, most)


def test_export_gives_the_records_of_tables_that_say_the_same(tmp_path: Path) -> None:
    visit = about("Encounter", period={"start": "2020-01-01T08:00:00+01:00", "end": "2020-01-01T12:00:00+01:00"})
    files = {
        # the order of the files is not that in which they refer to each other
        "Condition.ndjson.gz": [condition(encounter={"reference": "Encounter/e1"})],
        "Encounter.ndjson": [visit | {"id": "e1", "status": "finished"}],
        "Observation.ndjson": [
            about(
                "Observation",
                status="final",
                encounter={"reference": "https://a.example/fhir/Encounter/e1"},
                effectiveDateTime="2020-01-01T09:00:00Z",
                code=code("http://loinc.org", "2345-7"),
                valueQuantity={"value": 10, "unit": "mmol per litre", "code": "mmol/L"},
            )
        ],
        "Patient.ndjson": [PATIENT | {"birthDate": "1960-05", "gender": "female"}],
    }
    static = [{"kind": "age"}, {"kind": "fact", "name": "sex", "values": ["female", "male"]}]
    contract = make(variables=[GLUCOSE | {"molar_mass": 180.156}], static=static)
    found = convert_resources(contract, tmp_path, files)
    rows = [icd("p1", "2020-01-01T10:00", "e1", "E11.9"), lab("p1", "2020-01-01T10:00", "e1", "180.15600")]
    visits = [["p1", "e1", "2020-01-01T08:00", "2020-01-01T12:00"]]
    expected = convert_rows(contract, tmp_path, rows, persons=[["p1", "1960-05", "", "", "F"]], visits=visits)
    assert found.patients == expected.patients
    for name, values in expected.arrays.items():
        assert found.arrays[name] == pytest.approx(values, abs=1e-6), name


@pytest.mark.parametrize(
    "reference",
    [
        "Patient/p1",
        "Patient/p1/_history/2",
        "https://a.example/fhir/Patient/p1",
        "urn:uuid:p1",
    ],
)
def test_reference_leads_to_its_patient(tmp_path: Path, reference: str) -> None:
    one = condition() | {"subject": {"reference": reference}}
    contract = make(steps={"kind": "visits", "length": 3, "by": "day"})
    assert convert_resources(contract, tmp_path, {"a.ndjson": [PATIENT, one]}).patients == ["p1"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"subject": {"reference": "Patient?identifier=a|b"}}, "'subject' leads to no Patient by its id"),
        ({"subject": {"reference": "Group/p1"}}, "'subject' leads to no Patient by its id"),
        ({"subject": {}}, "'subject' leads to no Patient by its id"),
        (
            {"subject": {"reference": "Patient/p2"}},
            "'subject' leads to a Patient that the export does not have, or that cannot be used",
        ),
        ({"onsetDateTime": "2020"}, "'onsetDateTime' has no day"),
        ({"onsetDateTime": "yesterday"}, "'onsetDateTime' is not written as 'format' says (iso)"),
        ({"onsetDateTime": None}, "has no time"),
        ({"code": code(ICD_10, "250.00")}, "'coding.code' is no code of icd10cm"),
    ],
)
def test_resource_that_cannot_be_used_is_left_out(tmp_path: Path, change: Resource, reason: str) -> None:
    contract = make(steps={"kind": "visits", "length": 3, "by": "day"})
    found = convert_resources(contract, tmp_path, {"a.ndjson": [PATIENT, condition(), condition() | change]}, 0.9)
    assert list_reasons(found.report) == {reason: 1}
    assert found.report.quarantined[0].places[0].row == 3


@pytest.mark.parametrize(
    "change",
    [
        {"verificationStatus": code("http://terminology.hl7.org/CodeSystem/condition-ver-status", "refuted")},
        {
            "verificationStatus": code(
                "http://terminology.hl7.org/CodeSystem/condition-ver-status", "entered-in-error"
            )
        },
        {"status": "entered-in-error"},
    ],
)
def test_what_did_not_happen_does_not_count(tmp_path: Path, change: Resource) -> None:
    contract = make(steps={"kind": "visits", "length": 3, "by": "day"})
    files = {"a.ndjson": [PATIENT, condition(word="I10"), condition() | change]}
    found = convert_resources(contract, tmp_path, files)
    assert found.arrays["visits"][0, 0].tolist() == [False, True]
    assert "FHIR: 1 resources are of what was refuted, not done or entered in error" in found.report.notes


@pytest.mark.parametrize("where", ["inside", "contained", "export"])
def test_medication_is_found_wherever_its_coding_stands(tmp_path: Path, where: str) -> None:
    drug = code("http://www.nlm.nih.gov/research/umls/rxnorm", "860975")
    medication: Resource = {"resourceType": "Medication", "id": "m1", "code": drug}
    places: dict[str, Resource] = {
        "inside": {"medicationCodeableConcept": drug},
        "contained": {"contained": [medication], "medicationReference": {"reference": "#m1"}},
        "export": {"medicationReference": {"reference": "Medication/m1"}},
    }
    request = about("MedicationRequest", status="active", authoredOn="2020-01-01", **places[where])
    files = {"a.ndjson": [PATIENT, request], "b.ndjson": [medication]}
    contract = make(codes=[RXNORM], steps={"kind": "visits", "length": 3, "by": "day"})
    assert convert_resources(contract, tmp_path, files).arrays["visits"][0, 0].tolist() == [True]


def test_parts_of_an_observation_are_values_of_their_own(tmp_path: Path) -> None:
    pressures = {"8480-6": 141, "8462-4": 92}
    parts = [
        {"code": code("http://loinc.org", each), "valueQuantity": {"value": value, "code": "mm[Hg]"}}
        for each, value in pressures.items()
    ]
    whole = code("http://loinc.org", "85354-9")
    observation = about("Observation", effectiveInstant="2020-01-01T10:00:00Z", code=whole, component=parts)
    variables = [
        {"name": each, "codes": [{"system": "loinc", "code": word}], "unit": "mm[Hg]", "low": 40, "high": 240}
        for each, word in (("systolic", "8480-6"), ("diastolic", "8462-4"))
    ]
    contract = make(codes=[], variables=variables, steps={"kind": "visits", "length": 1, "by": "day"})
    found = convert_resources(contract, tmp_path, {"a.ndjson": [PATIENT, observation]})
    assert found.arrays["values"][0, 0] == pytest.approx([2 * (value - 40) / 200 - 1 for value in (141, 92)])


def test_patient_is_named_by_the_identifier_that_the_mapping_names(tmp_path: Path) -> None:
    identifiers = [{"system": "urn:other", "value": "9"}, {"system": "urn:ours", "value": " 0012 "}]
    files = {"a.ndjson": [PATIENT | {"identifier": identifiers}, condition()]}
    contract = make(steps={"kind": "visits", "length": 3, "by": "day"})
    assert convert_resources(contract, tmp_path, files, identifier="urn:ours").patients == ["0012"]


def test_visit_across_the_end_of_summer_time_is_no_mistake(tmp_path: Path) -> None:
    """At 3:00 the clock is set back to 2:00: 2:50 is before 2:10."""
    period = {"start": "2020-10-25T02:50:00+02:00", "end": "2020-10-25T02:10:00+01:00"}
    files = {"a.ndjson": [PATIENT, about("Encounter", status="finished", period=period)]}
    found = convert_resources(make(), tmp_path, files)
    assert list_reasons(found.report) == {}
    assert found.arrays["present"].sum() == 1


def test_coding_of_an_unknown_system_is_counted_or_named(tmp_path: Path) -> None:
    own = condition() | {"code": code("urn:own", "DM2")}
    contract = make(
        codes=[{"system": "other", "words": ["DM2"]}], steps={"kind": "visits", "length": 1, "by": "day"}
    )
    found = convert_resources(contract, tmp_path, {"a.ndjson": [PATIENT, own]})
    assert not found.arrays["visits"].any()
    assert any("system that is not known" in note for note in found.report.notes)
    named = convert_resources(contract, tmp_path, {"a.ndjson": [PATIENT, own]}, systems={"urn:own": "other"})
    assert named.arrays["visits"].all()


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_real_export_gives_every_visit_with_its_codes(tmp_path: Path) -> None:
    """The oracle counts in the files themselves: encounters and the SNOMED codes that stand in each."""
    resources = [
        json.loads(line)
        for path in sorted((SHARED / "fhir").glob("*.ndjson.gz"))
        for line in gzip.decompress(path.read_bytes()).split(b"\n")
        if line
    ]
    encounters = [each for each in resources if each["resourceType"] == "Encounter"]
    pairs = {
        (each["encounter"]["reference"], coding["code"])
        for each in resources
        if each["resourceType"] in ("Condition", "Procedure")
        for coding in each["code"]["coding"]
        if SYSTEMS.get(coding["system"]) == "snomed"
    }
    words = sorted({word for _, word in pairs})
    contract = make(codes=[{"system": "snomed", "words": words}], steps={"kind": "visits", "length": 2000})
    origin = {"kind": "fhir", "folder": str(SHARED / "fhir")}
    found = convert(contract, {"zone": "America/New_York", "origin": origin}, tmp_path)
    assert list_reasons(found.report) == {}
    assert len(found.patients) == len({each["subject"]["reference"] for each in encounters})
    assert found.arrays["present"].sum() == len(encounters)
    assert found.arrays["visits"].sum() == len(pairs)
