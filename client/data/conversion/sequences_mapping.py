r"""Define the mapping of a contract of kind ``sequences``: from FASTA, BED and a genome, or a table of sequences.

::

    mapping: 1
    contract: open-chromatin
    source:
      kind: fasta
      files: [{path: windows.fa.gz}]
      header: '(?P<chrom>[^:]+):(?P<start>\d+)-(?P<end>\d+)'
    columns: {patient: name}
    tables:
      - source: {kind: bed, path: windows.bed.gz}
        match: {chrom: chrom, start: start, end: end}
        columns: {open: name}

A record has these words: of FASTA ``name`` (the first word of the header), ``file`` and what the pattern ``header``
names; of an interval ``chrom``, ``start``, ``end``, ``name``, ``score``, ``strand``, ``column7`` and so on, and
``file``; of a table its columns. ``words`` of a file are constants, for example the class of a file that holds one
class.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from client.data.conversion.record_words import RecordMapping, list_files
from client.data.conversion.sources import RowSource
from privacy.document import Document
from privacy.fields import Column, Name

LettersOf = Literal["plus", "strand"]
"""Which strand's letters a source has: always the plus strand's, or those of the strand that it names."""


class SequenceFile(Document):
    """A file of sequences or intervals, and words that all its records have."""

    path: Path
    words: dict[Column, str] = Field(default={})


class FastaSource(Document):
    """FASTA files.

    Attributes:
        header: a regular expression that matches the whole header; its named groups are words. Named groups chrom,
            start, end and strand are the interval of the sequence.
        letters_of: needed if the contract reads the minus strand as its reverse complement.
    """

    kind: Literal["fasta"]
    files: tuple[SequenceFile, ...] = Field(min_length=1)
    header: str | None = None
    letters_of: LettersOf | None = None

    @field_validator("header")
    @classmethod
    def _usable_pattern(cls, header: str | None) -> str | None:
        try:
            re.compile(header or "")
        except re.error as cause:
            raise ValueError(f"is no regular expression: {cause}") from None
        return header


class IntervalSource(Document):
    """BED files of intervals, whose letters are in the FASTA file ``genome``."""

    kind: Literal["intervals"]
    files: tuple[SequenceFile, ...] = Field(min_length=1)
    genome: Path


class SequenceTable(Document):
    """A table with a column of sequences."""

    kind: Literal["table"]
    source: RowSource
    sequence: Column
    letters_of: LettersOf | None = None


class SequencesMapping(RecordMapping):
    """Where sequences come from.

    Attributes:
        peaks: for a contract with ``overlap``, the BED file of each of its sets.
    """

    source: Annotated[FastaSource | IntervalSource | SequenceTable, Field(discriminator="kind")]
    peaks: dict[Name, Path] = Field(default={})


def list_sequence_files(mapping: SequencesMapping) -> dict[str, Path] | None:
    """List the files that a conversion reads; None if one of its sources is a database."""
    tables = [each.source for each in mapping.tables]
    if isinstance(mapping.source, SequenceTable):
        tables.append(mapping.source.source)
    files = list_files(*tables)
    if files is None:
        return None
    paths = [*mapping.peaks.values()]
    if not isinstance(mapping.source, SequenceTable):
        paths += [each.path for each in mapping.source.files]
    if isinstance(mapping.source, IntervalSource):
        paths.append(mapping.source.genome)
    return files | {str(path): path for path in paths}
