"""Convert FASTA files, intervals of a genome, or a table of sequences to a contract of kind ``sequences``.

Rules:

* an interval of the minus strand becomes its reverse complement only if the contract says so, and the mapping must say
  which strand's letters a FASTA file or a table has;
* with ``flanks: genome`` the window has the contract's length: from the interval's start, round its middle, or up to
  its end, as ``keep`` says, in the direction in which it is read. Beyond the end of a chromosome there is padding;
* two sequences of one name are told apart by nobody: where a table is joined by name, the later one is left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from client.data.adapters.bed import BedFile, Interval
from client.data.adapters.fasta import FastaFile, Genome
from client.data.conversion.batch import Batch, BatchBuilder
from client.data.conversion.converters import Request
from client.data.conversion.findings import collect_mistakes
from client.data.conversion.label_words import UnusableError
from client.data.conversion.record_words import RecordWords
from client.data.conversion.sequences_mapping import (
    FastaSource,
    IntervalSource,
    LettersOf,
    SequencesMapping,
    SequenceTable,
)
from client.data.conversion.sources import open_rows
from client.data.interval_sets import IntervalSet
from client.data.letter_encoding import PAD, LetterEncoder, UnusableLettersError, complement
from privacy.errors import DataError
from privacy.study.data.sequences import Overlap, SequencesContract

_PLACE: Final[tuple[str, ...]] = ("chrom", "start", "end")
_WHOLE: Final = re.compile(r"[0-9]{1,12}")
_STEP: Final = 1000  # records between two reports of progress


@dataclass(frozen=True)
class _Record:
    """A sequence as its source has it, with its words, and where it stands.

    ``plus``: whether its letters are the plus strand's, whatever strand it names.
    """

    letters: str = field(repr=False)
    words: dict[str, str] = field(repr=False)
    source: str
    row: int
    plus: bool = False


def convert_sequences(request: Request) -> Iterator[Batch]:
    """Yield the records of the mapping's source.

    Raises:
        DataUnavailableError: a file cannot be read now.
        SiteConfigError: the mapping does not fit the contract.
    """
    contract: SequencesContract = request.contract
    overlap = contract.overlap if request.with_targets else None
    turns = contract.minus_strand == "reverse-complement"
    more = (*(_PLACE if overlap else ()), *(("strand",) if turns else ()))
    finder = RecordWords(request, contract.label, more, known=_PLACE if contract.overlap else ())
    sets = _read_sets(request) if overlap else {}
    encoder = LetterEncoder(contract.sequence)
    tensors = (*contract.list_inputs(), *(contract.list_targets() if request.with_targets else ()))
    builder, done = BatchBuilder(tensors), 0
    for done, record in enumerate(_read_records(request, finder), 1):
        if done % _STEP == 0:
            request.findings.report_progress("sequences", done)
        found = finder.find(record.words, record.source, record.row)
        if found is None:
            continue
        try:
            letters = (
                _turn(record.letters, finder.pick("strand", found.words))
                if turns and record.plus
                else record.letters
            )
            values: dict[str, Any] = {contract.sequence.name: encoder.encode(letters), **found.targets}
            if overlap:
                values |= _compute_overlap(overlap, [finder.pick(each, found.words) for each in _PLACE], sets)
        except (UnusableError, UnusableLettersError) as error:
            request.findings.quarantine(f"the sequence {error}", record.source, record.row)
            continue
        if batch := builder.add(found.patient, found.held_out, values):
            yield batch
    request.findings.report_progress("sequences", done, done)
    if batch := builder.finish():
        yield batch


def _read_records(request: Request, finder: RecordWords) -> Iterator[_Record]:
    mapping: SequencesMapping = request.mapping
    match mapping.source:
        case FastaSource():
            return _read_fasta(request, finder, mapping.source)
        case IntervalSource():
            return _read_intervals(request, finder, mapping.source)
        case SequenceTable():
            return _read_table(request, finder, mapping.source)


def _read_fasta(request: Request, finder: RecordWords, source: FastaSource) -> Iterator[_Record]:
    findings = request.findings
    pattern = None if source.header is None else re.compile(source.header)
    groups = {} if pattern is None else pattern.groupindex
    plus = _ask_for_strand(request, source.letters_of)
    by_name = any("name" in table.match.values() for table in request.mapping.tables)
    names, twice = set[str](), 0
    for part in source.files:
        title, file = str(part.path), FastaFile(request.folder / part.path)
        finder.require({"name", "file", *groups, *part.words}, title)
        with collect_mistakes(findings):
            for each in file:
                found = None if pattern is None else pattern.fullmatch(each.header)
                if pattern is not None and found is None:
                    findings.quarantine("has a header that the pattern 'header' does not match", title, each.line)
                    continue
                if each.name in names:
                    twice += 1
                    if by_name:
                        findings.quarantine("has the name of an earlier sequence", title, each.line)
                        continue
                names.add(each.name)
                words = {"name": each.name, "file": part.path.name, **part.words}
                words |= {name: word or "" for name, word in (found.groupdict() if found else {}).items()}
                yield _Record(each.letters, words, title, each.line, plus)
            findings.record_source(title, file.sha256)
    if twice:
        findings.add_note(f"{twice} sequences have the name of an earlier one")


def _read_table(request: Request, finder: RecordWords, source: SequenceTable) -> Iterator[_Record]:
    plus = _ask_for_strand(request, source.letters_of)
    finder.set_mark(source.source.decimal_mark)
    columns = (*finder.wanted, source.sequence)
    for chunk in open_rows(source.source, request.folder, columns, request.findings, ids=finder.ids):
        names = list(chunk.columns)
        for place, *row in zip(chunk.places, *chunk.columns.values(), strict=True):
            words = dict(zip(names, row, strict=True))
            letters = "".join(words[source.sequence].split())
            yield _Record(letters, words, chunk.source, place, plus)


def _ask_for_strand(request: Request, letters_of: LettersOf | None) -> bool:
    """Return whether the letters are the plus strand's; ask where it matters and the mapping does not say it."""
    if request.contract.minus_strand == "reverse-complement" and letters_of is None:
        request.findings.add_mistake(
            "source: the contract reads the minus strand as its reverse complement; write letters_of: plus if the file "
            "has the plus strand's letters, or letters_of: strand if they are turned round already"
        )
    return letters_of == "plus"


def _turn(letters: str, strand: str) -> str:
    """Return the letters of the plus strand as those of ``strand``; without one they stay as they are."""
    if strand not in ("+", "-", ".", ""):
        raise UnusableError("has a strand that is none of + - .")
    return complement(letters) if strand == "-" else letters


def _read_intervals(request: Request, finder: RecordWords, source: IntervalSource) -> Iterator[_Record]:
    findings, contract = request.findings, request.contract
    with collect_mistakes(findings):
        chroms = frozenset(
            each.chrom for part in source.files for each in _open_bed(request, part.path, quiet=True)
        )
        findings.report_progress("genome", 0)
        genome = Genome(request.folder / source.genome, chroms, request.scratch / "genome")
        findings.record_source(str(source.genome), genome.sha256)
        if not chroms & genome.names:
            raise DataError(
                f"{source.genome}: has none of the {len(chroms)} sequences that the intervals lie on; its own are "
                f"called like '{min(genome.names, default='')}': the names must be the same (chr1 or 1)"
            )
        for part in source.files:
            title, file = str(part.path), _open_bed(request, part.path)
            for number, each in enumerate(file):
                words = {**each.words, "strand": each.strand, "file": part.path.name, **part.words}
                words |= dict(zip(_PLACE, (each.chrom, str(each.start), str(each.end)), strict=True))
                if not number:
                    finder.require(set(words), title)
                length = genome.find_length(each.chrom)
                if length is None:
                    findings.quarantine("lies on a sequence that the genome lacks", title, each.line)
                elif each.end > length:
                    findings.quarantine("ends beyond the end of its sequence", title, each.line)
                else:
                    yield _Record(_cut(contract, genome, each, length), words, title, each.line)
            findings.record_source(title, file.sha256)


def _open_bed(request: Request, path: Path, *, quiet: bool = False) -> BedFile:
    def report(reason: str, row: int, column: str) -> None:
        if not quiet:
            request.findings.quarantine(reason, str(path), row, column)

    return BedFile(request.folder / path, report)


def _cut(contract: SequencesContract, genome: Genome, interval: Interval, length: int) -> str:
    """Cut an interval's letters from the genome, or the window round it."""
    turned = contract.minus_strand == "reverse-complement" and interval.strand == "-"
    start, end = interval.start, interval.end
    if contract.flanks == "genome":
        wanted, keep = contract.sequence.length, contract.sequence.keep
        if keep == "middle":
            start -= _halve(wanted - (end - start), turned)
        elif (keep == "end") != turned:
            start = end - wanted
        end = start + wanted
    inside = genome.read(interval.chrom, min(max(start, 0), length), max(min(end, length), 0))
    letters = PAD * max(0, -start) + inside + PAD * max(0, end - length)
    return complement(letters) if turned else letters


def _halve(difference: int, turned: bool) -> int:
    """Return the part of a difference in length that lies before an interval: the smaller half as it is read."""
    half = abs(difference) // 2
    before = abs(difference) - half if turned else half
    return before if difference >= 0 else -before


def _read_sets(request: Request) -> dict[str, IntervalSet]:
    mapping: SequencesMapping = request.mapping
    names = request.contract.overlap.sets
    if set(mapping.peaks) != set(names):
        request.findings.add_mistake(
            f"peaks: expected the BED file of each set of the contract ({', '.join(names)}), got those of "
            f"{', '.join(mapping.peaks) or 'none'}"
        )
        return {}
    sets = dict[str, IntervalSet]()
    for name in names:
        path = mapping.peaks[name]
        file = _open_bed(request, path)
        with collect_mistakes(request.findings):
            sets[name] = IntervalSet(file)
            request.findings.record_source(str(path), file.sha256)
    return sets if len(sets) == len(names) else {}


def _compute_overlap(overlap: Overlap, place: list[str], sets: dict[str, IntervalSet]) -> dict[str, Any]:
    """Compute the target of an interval: whether each set covers enough of it."""
    chrom, start, end = place
    if not (chrom and _WHOLE.fullmatch(start) and _WHOLE.fullmatch(end) and int(start) < int(end)):
        raise UnusableError("has no interval of whole numbers: chrom, start, end")
    least = overlap.share * (int(end) - int(start))
    covered = [
        name in sets and sets[name].count_covered(chrom, int(start), int(end)) >= least for name in overlap.sets
    ]
    return {"label": int(covered[0])} if len(covered) == 1 else {"labels": np.array(covered)}
