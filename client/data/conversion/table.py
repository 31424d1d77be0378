"""Convert rows of a hospital's table, as its mapping says, to the tensors of a contract of kind ``table``.

``sources.py`` yields the rows, ``mapped_columns.py`` gives the contract's words, ``client/data/encoding.py`` numbers.

Rules:

* a row that cannot be used is left out, with all of its reasons;
* what is probably not meant (``client/data/plausibility.py``) is looked for in all rows of a table of up to
  ``MAX_SAMPLED``, and in equally spaced rows of a larger one;
* memory holds one chunk of rows, and that sample.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from client.data.adapters.csv import Words
from client.data.adapters.rows import RowChunk
from client.data.conversion.batch import Batch
from client.data.conversion.converters import Request
from client.data.conversion.findings import Findings
from client.data.conversion.mapped_columns import ColumnConverter, Unusable, list_expected
from client.data.conversion.numbers import NumberForm
from client.data.conversion.sources import CsvSource, open_rows
from client.data.conversion.table_mapping import TableMapping
from client.data.encoding import encode_features
from client.data.label_encoding import EncodedTargets, encode_targets
from client.data.plausibility import find_suspicions
from privacy.errors import SiteConfigError
from privacy.study import TableContract

MAX_SAMPLED: Final = 20_000


def convert_table(request: Request) -> Iterator[Batch]:
    """Yield the rows of the source as records.

    Raises:
        DataUnavailableError: the source cannot be read now.
        SiteConfigError: the mapping names a column that the contract does not have, or a unit that cannot be converted.
    """
    contract: TableContract = request.contract
    mapping: TableMapping = request.mapping
    findings, splitter = request.findings, request.splitter
    columns = _prepare_columns(contract, mapping, with_targets=request.with_targets)
    split = splitter.column
    wanted = [*(name for each in columns for name in each.sources), *([split] if split else [])]
    sample, unsplit = _Sample(), 0
    for chunk in open_rows(mapping.source, request.folder, wanted, findings, ids=columns[0].sources):
        words = {each.expected.name: each.convert(chunk.columns, len(chunk)) for each in columns}
        names = _name_patients(chunk, words, columns, findings)
        of_split = chunk.columns[split] if split else None
        held_out = [
            bool(name) and splitter.is_held_out(name, None if of_split is None else of_split[row])
            for row, name in enumerate(names)
        ]
        unsplit += held_out.count(None)
        kept = [row for row, name in enumerate(names) if name and held_out[row] is not None]
        if kept:
            usable = _select(words, chunk.places, kept)
            sample.add(usable)
            patients = [names[row] for row in kept]
            yield _encode(contract, usable, patients, [bool(held_out[row]) for row in kept], request)
    if unsplit:
        findings.add_mistake(
            f"split: {unsplit} rows have a word in the column '{split}' that is in neither list; add it to one of them"
        )
    for each in columns:
        for doubt in each.list_doubts():
            findings.add_mistake(doubt)
    for warning in sample.find_suspicions(contract, with_targets=request.with_targets):
        findings.add_warning(warning)


def _prepare_columns(
    contract: TableContract, mapping: TableMapping, *, with_targets: bool
) -> list[ColumnConverter]:
    """Prepare the conversion of each column of the contract, that of the patient first."""
    known = contract.list_columns()
    if mapping.groups and set(mapping.groups) != {feature.name for feature in contract.features}:
        raise SiteConfigError(
            "groups: belong into a mapping file of their own, for consilium-site report --groups; leave them out here"
        )
    if strange := [name for name in mapping.columns if name not in known]:
        near = difflib.get_close_matches(strange[0], known, n=1)
        raise SiteConfigError(
            f"columns.{strange[0]}: the contract has no such column"
            + (f"; did you mean '{near[0]}'?" if near else f"; it has {', '.join(known)}")
        )
    source = mapping.source
    form = NumberForm(source.decimal_mark, source.thousands)
    watches = isinstance(source, CsvSource) and source.decimal is None
    return [
        ColumnConverter(each, mapping.find_column(each.name), form, watches_points=watches)
        for each in list_expected(contract, with_targets=with_targets)
    ]


def _name_patients(
    chunk: RowChunk, words: Mapping[str, list[str]], columns: Sequence[ColumnConverter], findings: Findings
) -> list[str]:
    """Return the normal form of each row's patient, (rows,); empty for a row that is left out, which is reported."""
    patient = columns[0]
    names = list[str]()
    bad = _find_unusable(words)
    for row, word in enumerate(words[patient.expected.name]):
        name = findings.name_patient(word, chunk.source, chunk.places[row], ", ".join(patient.sources)) or ""
        for column in columns if row in bad else ():
            reason = words[column.expected.name][row]
            if isinstance(reason, Unusable):
                findings.quarantine(
                    f"column '{column.expected.name}': {reason}",
                    chunk.source,
                    chunk.places[row],
                    ", ".join(column.sources),
                )
                name = ""
        names.append(name)
    return names


def _find_unusable(words: Mapping[str, list[str]]) -> set[int]:
    """Return the rows that have an unusable word."""
    return {
        row
        for column in words.values()
        if any(type(word) is Unusable for word in set(column))
        for row, word in enumerate(column)
        if type(word) is Unusable
    }


def _select(words: Mapping[str, list[str]], places: Sequence[int], kept: list[int]) -> Words:
    if len(kept) == len(places):
        return Words(words, places, "", ())
    columns = {name: [column[row] for row in kept] for name, column in words.items()}
    return Words(columns, [places[row] for row in kept], "", ())


def _encode(
    contract: TableContract, words: Words, patients: list[str], held_out: list[bool], request: Request
) -> Batch:
    features = encode_features(contract, words)
    targets = EncodedTargets({}, (), ())
    if request.with_targets:
        targets = encode_targets(contract.label, words, scaled=False)
    for mistake in (*features.mistakes, *targets.mistakes):
        request.findings.add_mistake(mistake.sentence)
    for count in (*features.counts, *targets.counts):
        request.findings.count_column(count.name, count.rows, count.missing, count.below, count.above)
    return Batch(patients, {"features": features.features, **targets.targets}, held_out)


class _Sample:
    """Equally spaced rows of a table: all of the first ones, then every second, fourth, eighth, ... row."""

    def __init__(self) -> None:
        self._columns: dict[str, list[str]] = {}
        self._every = 1
        self._rows = 0

    def add(self, words: Words) -> None:
        """Look at more rows."""
        first = -self._rows % self._every
        self._rows += len(words.lines)
        for name, column in words.columns.items():
            self._columns.setdefault(name, []).extend(column[first :: self._every])
        while len(next(iter(self._columns.values()))) > MAX_SAMPLED:
            self._every *= 2
            self._columns = {name: column[::2] for name, column in self._columns.items()}

    def find_suspicions(self, contract: TableContract, *, with_targets: bool) -> Iterator[str]:
        """Yield what is probably not meant."""
        if not self._columns:
            return
        rows = len(next(iter(self._columns.values())))
        words = Words(self._columns, range(rows), "", ())
        counts = encode_features(contract, words).counts
        target_counts = encode_targets(contract.label, words).counts if with_targets else ()
        of = "" if self._every == 1 else f" (every {self._every}th row was looked at)"
        for sentence in find_suspicions(contract, words, counts, target_counts):
            yield f"{sentence}{of}"
