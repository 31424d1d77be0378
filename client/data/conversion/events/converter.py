"""Convert events to records: read them, sort them by patient, make the records of one patient after another.

Rules:

* everything that is found is reported: what is left out with its place, what is odd as a count;
* codes that become nothing, and codes that a map leads to several codes, are listed with their numbers of events in
  ``unused_codes.csv`` beside the snapshot; it stays at the site;
* a variable most of whose values lie beyond its range is probably in another unit: a note says so.
"""

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from client.data.adapters.code_maps import read_code_map
from client.data.conversion.batch import Batch, BatchBuilder
from client.data.conversion.converters import Request
from client.data.conversion.events.fhir import read_fhir
from client.data.conversion.events.history import HistoryMaker
from client.data.conversion.events.inputs import InputMaker
from client.data.conversion.events.mapping import (
    EventsMapping,
    EventTable,
    Fhir,
    Omop,
    PersonTable,
    Tables,
    VisitTable,
)
from client.data.conversion.events.moments import MomentFinder
from client.data.conversion.events.omop import make_tables
from client.data.conversion.events.raw import AnyRaw, Person, SystemCode, Visit
from client.data.conversion.events.resolve import Resolver, UnusableEventError
from client.data.conversion.events.store import EventStore, Timeline
from client.data.conversion.events.tables import read_tables
from client.data.conversion.events.targets import NoLabelError, TargetMaker
from client.data.conversion.events.times import UNITS_S, find_day
from client.data.conversion.sources import CsvSource, ExcelSource, ParquetSource
from client.data.identifiers import count_alike
from privacy.errors import SiteConfigError, StorageError
from privacy.files import replace_file
from privacy.study import EventsContract
from privacy.study.data.events import VisitSteps

LISTING_FILE: Final = "unused_codes.csv"
_SUSPICIOUS: Final = 0.5  # of a variable's values beyond its range
_PROGRESS: Final = 1000  # patients


def convert_events(request: Request) -> Iterator[Batch]:
    """Yield the records that the events of the mapping give.

    Raises:
        DataUnavailableError: a source cannot be read now.
        DataError: a source cannot be read at all.
        SiteConfigError: the mapping lacks a map that the contract has.
    """
    contract: EventsContract = request.contract
    resolver = Resolver(contract, _read_maps(request))
    with contextlib.closing(EventStore(request.scratch)) as store:
        for raw in _read(request):
            _take(raw, store, resolver, request)
        _report_codes(resolver, request)
        if not request.findings.mistakes:
            yield from _make_records(store, resolver, request)


def list_event_files(mapping: EventsMapping) -> Mapping[str, Path] | None:
    """List the files that ``mapping`` reads, if it reads nothing else; see ``Converter``."""
    origin = mapping.origin
    if not isinstance(origin, Tables):
        return None
    tables: tuple[PersonTable | VisitTable | EventTable, ...] = (*origin.persons, *origin.visits, *origin.events)
    sources = [each.source for each in tables]
    files = [each for each in sources if isinstance(each, CsvSource | ExcelSource | ParquetSource)]
    if len(files) < len(sources):
        return None
    return {each.title: each.path for each in files} | {str(each.path): each.path for each in mapping.maps}


def _read_maps(request: Request) -> list[tuple[str, str, bool, Mapping[str, tuple[str, ...]]]]:
    """Read the contract's maps between code systems from the files that the mapping names."""
    files = {(each.source, each.target): each.path for each in request.mapping.maps}
    maps = list[tuple[str, str, bool, Mapping[str, tuple[str, ...]]]]()
    for each in request.contract.maps:
        path = files.get((each.source, each.target))
        if path is None:
            raise SiteConfigError(
                f"maps: the study leads from {each.source} to {each.target} by the file with the SHA-256 "
                f"{each.sha256}; "
                f"name it: {{source: {each.source}, target: {each.target}, path: FILE}}"
            )
        codes = read_code_map(request.folder / path, each.form, each.source, each.target, each.sha256)
        request.findings.record_source(str(path), each.sha256)
        maps.append((each.source, each.target, each.several == "all", codes))
    return maps


def _read(request: Request) -> Iterator[AnyRaw]:
    match request.mapping.origin:
        case Tables() as tables:
            return read_tables(tables, request)
        case Omop() as omop:
            return read_tables(make_tables(omop), request)
        case Fhir() as fhir:
            return read_fhir(fhir, request)
    raise AssertionError("the mapping has one of these origins")


def _take(raw: AnyRaw, store: EventStore, resolver: Resolver, request: Request) -> None:
    if isinstance(raw, Person):
        store.add_person(raw)
    elif isinstance(raw, Visit):
        store.add_visit(raw)
    else:
        try:
            store.add_event(raw, resolver.resolve(raw))
        except UnusableEventError as error:
            request.findings.quarantine(str(error), *raw.origin)


def _make_records(store: EventStore, resolver: Resolver, request: Request) -> Iterator[Batch]:
    findings, contract = request.findings, request.contract
    maker = _RecordMaker(resolver, request)
    builder = BatchBuilder((*contract.list_inputs(), *(contract.list_targets() if request.with_targets else ())))
    for number, timeline in enumerate(store.read_timelines(), start=1):
        if number % _PROGRESS == 0:
            findings.report_progress("patients", number, store.patients)
        held_out = request.with_targets and bool(request.splitter.is_held_out(timeline.patient))
        for values in maker.make(timeline):
            if (batch := builder.add(timeline.patient, held_out, values)) is not None:
                yield batch
    if (batch := builder.finish()) is not None:
        yield batch
    if alike := count_alike(store.list_patients()):
        findings.add_note(f"{alike} identifiers of patients differ only in letter case, spaces or leading zeros")
    maker.report(store.patients)


class _RecordMaker:
    """Makes the records of one patient after another, and counts what the site may want to know."""

    def __init__(self, resolver: Resolver, request: Request) -> None:
        self._resolver, self._findings = resolver, request.findings
        self._contract: EventsContract = request.contract
        steps, index, label = self._contract.steps, self._contract.index, self._contract.label
        self._histories = HistoryMaker(
            by_day=isinstance(steps, VisitSteps) and steps.by == "day",
            report=lambda reason, origin: request.findings.quarantine(reason, *origin),
        )
        self._finder = MomentFinder(index, *(resolver.number_criteria(each) for each in (index.of, index.without)))
        self._inputs = InputMaker(self._contract)
        self._targets: TargetMaker | None = None
        if label is not None and request.with_targets:
            self._targets = TargetMaker(label, resolver, [variable.name for variable in self._contract.variables])
        self._has_dates = _has_dates(request)
        self._left_out = Counter[str]()
        self._records = 0

    def make(self, timeline: Timeline) -> Iterator[dict[str, Any]]:
        """Yield the tensors of each record of a patient, in order of time."""
        history = self._histories.make(timeline)
        moments = [] if history is None else list(self._finder.find(history))
        self._left_out["patients have no moment of prediction (data.index), such as a visit"] += not moments
        for moment in moments:
            assert history is not None
            try:
                values = {} if self._targets is None else self._targets.make(history, moment)
            except NoLabelError as error:
                self._left_out[f"records {error}"] += 1
                continue
            self._records += 1
            if self._has_dates:
                self._findings.count_month(find_day(moment.second))
            yield {**values, **self._inputs.make(history, moment)}

    def report(self, patients: int) -> None:
        """Report what was counted; that there is no record at all is a mistake."""
        if not self._records and patients:
            reasons = [f"{count} {clause}" for clause, count in sorted(self._left_out.items()) if count]
            self._findings.add_mistake(f"of {patients} patients none gives a record: {'; '.join(reasons)}")
        for counts in (self._left_out, self._histories.counts, self._inputs.counts):
            for clause, count in sorted(counts.items()):
                if count:
                    self._findings.add_note(f"{count} {clause}")
        self._report_values()

    def _report_values(self) -> None:
        for number, variable in enumerate(self._contract.variables):
            used, below, above = (
                each[number] for each in (self._inputs.values, self._inputs.below, self._inputs.above)
            )
            unit = f" {variable.unit}" if variable.unit else ""
            if not used:
                self._findings.add_warning(
                    f"'{variable.name}' has no value at all; are its codes those of this hospital?"
                )
                continue
            self._findings.count_column(variable.name, used, 0, below, above)
            if below + above > _SUSPICIOUS * used:
                self._findings.add_warning(
                    f"'{variable.name}': {below + above} of {used} values are beyond {variable.low:g} to "
                    f"{variable.high:g}{unit}; are they in this unit?"
                )
        for number, missing in sorted(self._resolver.without_value.items()):
            name = self._contract.variables[number].name
            self._findings.add_note(f"'{name}': {missing} measurements have no value")


def _has_dates(request: Request) -> bool:
    """Return whether times are dates, and not numbers since an origin."""
    origin = request.mapping.origin
    return not isinstance(origin, Tables) or not any(set(each.format) & set(UNITS_S) for each in origin.events)


def _report_codes(resolver: Resolver, request: Request) -> None:
    counts = resolver.counts
    if request.contract.codes and not resolver.has_codes:
        request.findings.add_warning("no code of the sources is in data.codes; are they of these systems?")
    for name, counter, words in (
        ("unused", counts.unused, "become nothing in this study"),
        ("ambiguous", counts.ambiguous, "lead to several codes by a map"),
    ):
        systems = Counter[str]()
        for code, events in counter.items():
            systems[code.system] += events
        for system, events in sorted(systems.items()):
            different = sum(code.system == system for code in counter)
            request.findings.add_note(
                f"{system}: {different} codes of {events} events {words}; they are listed in {LISTING_FILE} ({name})"
            )
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("list", "system", "code", "events"))
    for name, counter in (("unused", counts.unused), ("ambiguous", counts.ambiguous)):
        writer.writerows((name, code.system, code.code, events) for code, events in _sort(counter))
    replace_file(request.scratch.parent / LISTING_FILE, out.getvalue().encode("utf-8"), StorageError)


def _sort(counter: Counter[SystemCode]) -> list[tuple[SystemCode, int]]:
    return sorted(counter.items(), key=lambda each: (-each[1], each[0]))
