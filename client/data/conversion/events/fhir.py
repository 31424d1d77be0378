"""Read patients, visits and events from a FHIR R4 bulk export.

Source: FHIR R4 (4.0.1), the types Patient, Encounter, Condition, Observation, MedicationRequest, Procedure,
Immunization and Medication. Resources of other types are counted and not used.

Rules:

* a patient is named by the resource's id, or by the identifier of the system that the mapping names;
* a reference leads to a resource by its id: ``Patient/ID``, a URL that ends so, ``urn:uuid:ID``, each with or without
  a version. A conditional reference (``Patient?identifier=...``) leads nowhere here;
* a code is a coding whose system's URI is known; the text beside it is not read. The coding of a medication may stand
  in the request, in a contained resource, or in a Medication of the export;
* what was refuted, not done, or entered in error did not happen, and is counted;
* a time without its day has no place in an order and leaves the resource out; that of a birth is completed.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from client.data.adapters.fhir import Line, Resource, list_fhir_files, read_resources
from client.data.conversion.converters import Request
from client.data.conversion.dates import ISO
from client.data.conversion.events.mapping import Fhir
from client.data.conversion.events.raw import AnyRaw, Event, Origin, Person, SystemCode, Visit
from client.data.conversion.events.tables import UnusableRowError, make_visit
from client.data.conversion.events.times import Moment, TimeReader, UnusableTimeError, lacks_day
from client.data.conversion.findings import Findings
from client.data.identifiers import is_usable, normalise
from privacy.study.data.code_systems import CodeSystem, normalise_code

SYSTEMS: Final[dict[str, CodeSystem]] = {
    "http://hl7.org/fhir/sid/icd-9-cm": "icd9cm", "http://hl7.org/fhir/sid/icd-10-cm": "icd10cm",
    "http://hl7.org/fhir/sid/icd-10": "icd10", "http://fhir.de/CodeSystem/bfarm/icd-10-gm": "icd10",
    "http://www.whocc.no/atc": "atc", "http://fhir.de/CodeSystem/bfarm/atc": "atc",
    "http://hl7.org/fhir/sid/ndc": "ndc", "http://loinc.org": "loinc", "http://snomed.info/sct": "snomed",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "rxnorm", "http://hl7.org/fhir/sid/cvx": "cvx",
}  # fmt: skip
_OTHER_TYPES: Final = {
    "AllergyIntolerance", "CarePlan", "CareTeam", "Claim", "Consent", "Coverage", "Device", "DeviceRequest",
    "DiagnosticReport", "DocumentReference", "ExplanationOfBenefit", "FamilyMemberHistory", "Flag", "Goal",
    "Group", "HealthcareService", "ImagingStudy", "InsurancePlan", "List", "Location",
    "MedicationAdministration", "MedicationDispense", "MedicationStatement", "NutritionOrder", "Organization",
    "Practitioner", "PractitionerRole", "Provenance", "Questionnaire", "QuestionnaireResponse",
    "RelatedPerson", "RiskAssessment", "Schedule", "ServiceRequest", "Slot", "Specimen", "SupplyDelivery",
    "Task", "VisionPrescription",
}  # fmt: skip
_TIMES: Final = {
    "Condition": ("onsetDateTime", "onsetPeriod", "recordedDate"),
    "Observation": ("effectiveDateTime", "effectivePeriod", "effectiveInstant", "issued"),
    "MedicationRequest": ("authoredOn",),
    "Procedure": ("performedDateTime", "performedPeriod"),
    "Immunization": ("occurrenceDateTime", "recorded"),
}
_CODES: Final = {
    "Condition": "code", "Observation": "code", "Procedure": "code", "Immunization": "vaccineCode",
    "MedicationRequest": "medicationCodeableConcept",
}  # fmt: skip
_NOT_HAPPENED: Final = frozenset(
    {"entered-in-error", "refuted", "not-done", "cancelled", "planned", "preparation", "draft"}
)


def read_fhir(fhir: Fhir, request: Request) -> Iterator[AnyRaw]:
    """Yield what the files of the export have.

    Raises:
        DataUnavailableError: a file cannot be read now.
        DataError: the folder has no files of an export, or one is no whole file.
    """
    yield from _FhirReader(fhir, request).read()


class _FhirReader:
    def __init__(self, fhir: Fhir, request: Request) -> None:
        self._fhir, self._folder = fhir, request.folder / fhir.folder
        self._findings: Findings = request.findings
        self._times = TimeReader((ISO,), request.mapping.find_zone())
        self._systems: dict[str, str] = {**SYSTEMS, **fhir.systems}
        self._patients: dict[str, str] = {}
        self._medications: dict[str, list[Any]] = {}
        self._unused = Counter[str]()

    def read(self) -> Iterator[AnyRaw]:
        files = list_fhir_files(self._folder)
        # what others refer to is read first, whatever the files are called
        yield from self._read_types(files, frozenset({"Patient", "Medication"}), is_first=True)
        yield from self._read_types(files, frozenset({"Encounter", *_TIMES}), is_first=False)
        for sentence, count in sorted(self._unused.items()):
            self._findings.add_note(f"FHIR: {count} {sentence}")

    def _read_types(self, files: list[Path], types: frozenset[str], *, is_first: bool) -> Iterator[AnyRaw]:
        for path in files:
            name = path.name
            resources = read_resources(
                path,
                lambda reason, line, name=name: self._report(reason, name, line, is_first),  # type: ignore[misc]
            )
            read = 0
            while True:
                try:
                    line = next(resources)
                except StopIteration as stop:
                    self._findings.record_source(name, stop.value)
                    break
                read += 1
                if read % 10_000 == 0:
                    self._findings.report_progress(name, read)
                kind = line.resource["resourceType"]
                if kind in types:
                    yield from self._read_resource(line, Origin(name, line.number))
                elif is_first and kind in _OTHER_TYPES:
                    self._unused[f"resources of type {kind} are not used"] += 1
                elif is_first and kind not in ("Encounter", *_TIMES):
                    self._findings.quarantine("is of no type of FHIR R4 that is known", name, line.number)

    def _report(self, reason: str, name: str, line: int, is_first: bool) -> None:
        if is_first:
            self._findings.quarantine(reason, name, line)

    def _read_resource(self, line: Line, origin: Origin) -> Iterator[AnyRaw]:
        try:
            match line.resource["resourceType"]:
                case "Patient":
                    yield self._read_patient(line.resource)
                case "Medication":
                    self._medications[_read_id(line.resource)] = _list_codings(line.resource.get("code"))
                case "Encounter":
                    if self._happened(line.resource):
                        yield self._read_encounter(line.resource, origin)
                case _:
                    if self._happened(line.resource):
                        yield from self._read_event(line.resource, origin)
        except UnusableRowError as error:
            self._findings.quarantine(str(error), *origin, error.column)

    def _read_patient(self, resource: Resource) -> Person:
        key = _read_id(resource)
        word = key
        if self._fhir.identifier is not None:
            words = {
                each.get("value") for each in _as_list(resource.get("identifier"))
                if isinstance(each, dict) and each.get("system") == self._fhir.identifier
            }  # fmt: skip
            found = [each for each in words if isinstance(each, str)]
            if len(found) != 1:
                raise UnusableRowError(
                    f"has {len(found)} values of the mapping's system, expected one", "identifier"
                )
            word = found[0]
        patient = normalise(word)
        if not is_usable(patient):
            raise UnusableRowError("names no patient", "id")
        born = resource.get("birthDate")
        birth = None if born is None else self._read_time(born, "birthDate", is_birth=True)
        death = (
            self._read_time(resource["deceasedDateTime"], "deceasedDateTime")
            if "deceasedDateTime" in resource
            else None
        )
        if resource.get("deceasedBoolean") is True:
            self._unused["patients are dead, and no date says since when"] += 1
        if birth is not None and death is not None and death.end < birth.second:
            raise UnusableRowError("lies before the birth", "deceasedDateTime")
        self._patients[key] = patient
        sex = resource.get("gender")
        return Person(
            patient,
            None if birth is None else birth.second,
            None if death is None else death.end,
            None,
            (("sex", sex),) if isinstance(sex, str) and sex != "unknown" else (),
            isinstance(born, str) and lacks_day(born),
        )

    def _read_encounter(self, resource: Resource, origin: Origin) -> Visit:
        period = resource.get("period")
        start, end = (
            self._read_time(period[name], f"period.{name}") if isinstance(period, dict) and name in period else None
            for name in ("start", "end")
        )
        patient, visit = self._find_patient(resource), _read_id(resource)
        return make_visit(patient, visit, start, end, origin, "period.start", "period.end")

    def _read_event(self, resource: Resource, origin: Origin) -> Iterator[Event]:
        kind = resource["resourceType"]
        patient, second = self._find_patient(resource), self._find_time(resource).second
        visit = self._find_visit(resource)
        codings = self._list_medication(resource) if kind == "MedicationRequest" else None
        codes = self._list_codes(_list_codings(resource.get(_CODES[kind])) if codings is None else codings)
        parts = _as_list(resource.get("component")) if kind == "Observation" else []
        value, unit = self._read_quantity(resource) if kind == "Observation" else (None, "")
        yield Event(patient, visit, second, codes, value, unit, "", origin)
        for part in parts:  # such as the two pressures of one measurement
            if isinstance(part, dict):
                value, unit = self._read_quantity(part)
                codes = self._list_codes(_list_codings(part.get("code")))
                yield Event(patient, visit, second, codes, value, unit, "", origin)

    def _happened(self, resource: Resource) -> bool:
        codings = _list_codings(resource.get("verificationStatus"))
        states = [resource.get("status"), *(each.get("code") for each in codings if isinstance(each, dict))]
        gone = any(isinstance(each, str) and each in _NOT_HAPPENED for each in states)
        if gone or resource.get("doNotPerform") is True:
            self._unused["resources are of what was refuted, not done or entered in error"] += 1
            return False
        return True

    def _find_patient(self, resource: Resource) -> str:
        reference = resource.get("subject") or resource.get("patient")
        key = _read_reference(reference, "Patient")
        if key is None:
            raise UnusableRowError("leads to no Patient by its id", "subject")
        if key not in self._patients:
            raise UnusableRowError(
                "leads to a Patient that the export does not have, or that cannot be used", "subject"
            )
        return self._patients[key]

    def _find_visit(self, resource: Resource) -> str | None:
        reference = resource.get("encounter") or resource.get("context")
        if reference is None:
            return None
        key = _read_reference(reference, "Encounter")
        if key is None:
            self._unused["references to encounters are not by their ids, and do not count"] += 1
        return key

    def _find_time(self, resource: Resource) -> Moment:
        for name in _TIMES[resource["resourceType"]]:
            value = resource.get(name)
            if name.endswith("Period") and isinstance(value, dict):
                name, value = f"{name}.start", value.get("start")  # noqa: PLW2901 - the field within it
            if value is not None:
                return self._read_time(value, name)
        raise UnusableRowError("has no time", "")

    def _read_time(self, value: Any, name: str, *, is_birth: bool = False) -> Moment:
        if not isinstance(value, str):
            raise UnusableRowError("is no text", name)
        try:
            return self._times.read_birth(value) if is_birth else self._times.read(value)
        except UnusableTimeError as error:
            raise UnusableRowError(str(error), name) from None

    def _list_codes(self, codings: list[Any]) -> tuple[SystemCode, ...]:
        codes = list[SystemCode]()
        for coding in codings:
            if not isinstance(coding, dict) or not isinstance(coding.get("code"), str):
                self._unused["codings have no code"] += 1
                continue
            uri = coding.get("system")
            system = self._systems.get(uri) if isinstance(uri, str) else None
            if system is None:
                self._unused["codings are of a system that is not known ('systems' in the mapping)"] += 1
                continue
            code = normalise_code(system, coding["code"])
            if code is None:
                raise UnusableRowError(f"is no code of {system}", "coding.code")
            codes.append(SystemCode(system, code))
        return tuple(dict.fromkeys(codes))

    def _list_medication(self, resource: Resource) -> list[Any]:
        """List the codings of a request's medication, wherever they stand."""
        if "medicationReference" not in resource:
            return _list_codings(resource.get("medicationCodeableConcept"))
        reference = resource["medicationReference"]
        text = reference.get("reference") if isinstance(reference, dict) else None
        if isinstance(text, str) and text.startswith("#"):
            inside = [
                each
                for each in _as_list(resource.get("contained"))
                if isinstance(each, dict) and each.get("id") == text[1:]
            ]
            return _list_codings(inside[0].get("code")) if inside else []
        key = _read_reference(reference, "Medication")
        if key is None or key not in self._medications:
            self._unused["requests are for medications that the export does not have"] += 1
            return []
        return self._medications[key]

    def _read_quantity(self, resource: Resource) -> tuple[float | None, str]:
        quantity = resource.get("valueQuantity")
        if not isinstance(quantity, dict) or quantity.get("value") is None:
            return None, ""
        value = quantity["value"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MOST:
            raise UnusableRowError("is no number of usual size", "valueQuantity.value")
        if quantity.get("comparator"):
            self._unused["values are limits, not values, and do not count"] += 1
            return None, ""
        words: Mapping[str, str] = self._fhir.units
        unit = quantity.get("code") or quantity.get("unit") or ""
        unit = unit if isinstance(unit, str) else ""
        return float(value), words.get(unit, unit)


_MOST: Final = 1e15


def _read_id(resource: Resource) -> str:
    found = resource.get("id")
    if not isinstance(found, str) or not found or not found.isprintable() or len(found) > 200:
        raise UnusableRowError("has no id", "id")
    return found


def _read_reference(reference: Any, kind: str) -> str | None:
    """Return the id that a reference leads to; None if it leads nowhere by an id.

    >>> _read_reference({"reference": "https://a.example/fhir/Patient/7/_history/2"}, "Patient")
    '7'
    >>> _read_reference({"reference": "urn:uuid:6f1c"}, "Patient"), _read_reference({"reference": "Group/7"}, "Patient")
    ('6f1c', None)
    """
    text = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(text, str) or "?" in text:
        return None
    if text.startswith("urn:uuid:"):
        return text.removeprefix("urn:uuid:") or None
    parts = text.partition("/_history/")[0].rsplit("/", 2)
    return parts[-1] or None if len(parts) > 1 and parts[-2] == kind else None


def _list_codings(concepts: Any) -> list[Any]:
    return [
        coding
        for concept in _as_list(concepts)
        if isinstance(concept, dict)
        for coding in _as_list(concept.get("coding"))
    ]


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
