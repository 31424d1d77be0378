"""Read expression matrices in text: CSV and TSV, GCT 1.2 and 1.3, PCL, with genes in rows or in columns.

Sources: Broad Institute, the GCT format; Stanford, the PCL format.

Rules:

* every format gives samples one after another, some at a time, with the genes that are wanted. Where genes are in rows,
  the wanted rows are kept in a scratch file first, and read across from there: memory does not grow with the matrix;
* a value is a finite number with the named decimal mark, or one of the named words for a missing one. Anything else is
  *unreadable*, and so is its sample;
* a comma in a value where a point is the decimal mark is a mistake of the whole file, and never a thousands mark.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.delimited import DelimitedRows
from client.data.adapters.lines import LineFile, open_lines
from client.data.adapters.rows import clean_text
from client.data.adapters.scratch_matrix import read_across
from privacy.errors import DataError

UNREADABLE: Final = math.inf
"""Stands for a value that is no number; a missing one is NaN."""

_BLOCK: Final = 1 << 20  # values of a block
_DATE: Final = re.compile(
    r"\d{1,2}-(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
    r"|(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*-\d{1,4}|\d{4}-\d{2}-\d{2}( [\d:]+)?"
    r"|\d{1,2}[./]\d{1,2}[./]\d{2,4}",
    re.IGNORECASE,
)
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MatrixBlock:
    """Some samples.

    Attributes:
        samples: their names.
        places: the line of each, or its number from 1 where samples are columns.
        values: (samples, genes) of the matrix; NaN where missing, :data:`UNREADABLE` where no number.
        words: of other columns and of the samples' descriptions; (samples,) each.
    """

    samples: Sequence[str]
    places: Sequence[int]
    values: Values = field(repr=False)
    words: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)


class Matrix(Protocol):
    """An open matrix. ``read_blocks`` may be called once.

    Attributes:
        genes: of the columns of its blocks.
        samples: how many there are; where they are rows, how many were read.
        sha256: of the file, when all samples were read.
        word_names: the names of the words that it has of each sample.
        dates: how many genes have a name that a spreadsheet makes of MARCH1 or SEPT2.
    """

    genes: list[str]
    samples: int
    sha256: str
    word_names: list[str]
    dates: int

    def read_blocks(self) -> Iterator[MatrixBlock]:
        """Yield the samples."""


@dataclass(frozen=True)
class Layout:
    """How a text file writes a matrix.

    Attributes:
        genes_in: rows or columns.
        delimiter: between fields.
        quote: around fields; None if quotes are ordinary.
        decimal: the decimal mark.
        missing: the words for a missing value.
        names: the column that names the genes, or the samples where they are in rows; None for the first.
        ignored: other columns that are neither.
    """

    genes_in: Literal["rows", "columns"]
    delimiter: str = "\t"
    quote: str | None = '"'
    decimal: Literal[".", ","] = "."
    missing: tuple[str, ...] = ("", "NA", "NaN")
    names: str | None = None
    ignored: tuple[str, ...] = ()


Find = Callable[[str], str | None]
"""Returns the gene that a name of the file stands for, None if it is not wanted."""


class GenesInColumns:
    """A table with a row for each sample."""

    def __init__(self, path: Path, layout: Layout, find: Find, words: Collection[str] | None = None) -> None:
        """Read the header of a file.

        Args:
            path: the file.
            layout: how it is written.
            find: says which columns are wanted genes.
            words: those of its other columns that are given as words; None for all.

        Raises:
            DataUnavailableError: it cannot be read now.
            DataError: it is no such table.
        """
        self._path, self._layout = path, layout
        with open_lines(path) as file:
            header = next(_split(file, layout), (0, []))[1]
            self._header, self._first = _read_header(header, layout)
        found = [find(name) for name in self._header]
        self._places = [place for place, gene in enumerate(found) if gene is not None and place != self._first]
        self.genes = [gene for place in self._places if (gene := found[place]) is not None]
        genes = {*self._places, self._first}
        others = [place for place, name in enumerate(self._header) if name and place not in genes]
        self.word_names = [self._header[place] for place in others]
        self._words = [place for place in others if words is None or self._header[place] in words]
        self.dates = sum(_DATE.fullmatch(name) is not None for name in self._header)
        self.samples, self.sha256 = 0, ""
        self.uneven = 0
        """Rows that do not have the header's number of fields."""

    def read_blocks(self) -> Iterator[MatrixBlock]:
        """Yield the samples, in the order of the rows.

        Raises:
            DataUnavailableError: the file cannot be read now.
            DataError: it is no such table.
        """
        most, reader = max(1, _BLOCK // max(1, len(self._header))), _NumberReader(self._layout)
        with open_lines(self._path) as file:
            rows = _split(file, self._layout)
            next(rows, None)
            lines, taken = list[int](), list[list[str]]()
            for line, row in rows:
                if len(row) != len(self._header):
                    self.uneven += 1
                    continue
                lines.append(line)
                taken.append(row)
                if len(lines) == most:
                    yield self._make_block(lines, taken, reader)
                    lines, taken = [], []
            if lines:
                yield self._make_block(lines, taken, reader)
            self.sha256 = file.sha256
        if self.uneven:
            raise DataError(
                f"{self._path}: {self.uneven} rows do not have the {len(self._header)} fields of the header"
            )
        reader.require_no_commas(self._path)

    def _make_block(self, lines: list[int], rows: list[list[str]], reader: "_NumberReader") -> MatrixBlock:
        self.samples += len(rows)
        values = np.stack([reader.read([row[place] for place in self._places]) for row in rows])
        words = {self._header[place]: [clean_text(row[place]) for row in rows] for place in self._words}
        return MatrixBlock([clean_text(row[self._first]) for row in rows], lines, values, words)


class GenesInRows:
    """A table with a row for each gene: its wanted rows, in a scratch file."""

    def __init__(
        self, path: Path, layout: Layout, find: Find, scratch: Path, kind: Literal["table", "gct", "pcl"] = "table"
    ) -> None:
        """Copy the wanted rows of the file ``path`` to the new file ``scratch``.

        Raises:
            DataUnavailableError: the file cannot be read now.
            DataError: it is no such matrix.
        """
        self.genes, self._descriptions = list[str](), dict[str, Sequence[str]]()
        self._scratch, self.dates = scratch, 0
        reader = _NumberReader(layout)
        with open_lines(path) as file, scratch.open("xb") as out:
            rows = _split(file, layout)
            expected, described, names = _read_gct_head(rows) if kind == "gct" else (None, 0, None)
            header, first = _read_header(names if names is not None else next(rows, (0, []))[1], layout)
            ignored = {first, *(header.index(name) for name in layout.ignored)}
            if kind == "pcl":
                ignored |= {place for place, name in enumerate(header) if name in ("NAME", "GWEIGHT")}
            if expected is not None:  # in a GCT file the first columns describe the gene
                ignored |= set(range(len(header) - expected[1]))
            self._places = [place for place in range(len(header)) if place not in ignored]
            self._samples = [header[place] for place in self._places]
            self._check_samples()
            count, uneven, uneven_line = 0, 0, 0
            for line, row in rows:
                if len(row) != len(header):
                    uneven, uneven_line = uneven + 1, uneven_line or line
                    continue
                values = [row[place] for place in self._places]
                if described:
                    described -= 1
                    self._descriptions[clean_text(row[0])] = [clean_text(each) for each in values]
                    continue
                name = clean_text(row[first])
                if kind == "pcl" and name == "EWEIGHT":
                    continue
                count += 1
                self.dates += _DATE.fullmatch(name) is not None
                if (gene := find(name)) is not None:
                    self.genes.append(gene)
                    out.write(reader.read(values).tobytes())
            self.sha256 = file.sha256
            if uneven:
                hint = "; R writes a header without the first name: save it with col.names=NA" if not count else ""
                raise DataError(
                    f"{uneven} rows do not have the {len(header)} fields of the header, the first in line "
                    f"{uneven_line}{hint}"
                )
            if expected is not None and (count, len(self._samples)) != expected:
                raise DataError(
                    f"expected {expected[0]} genes and {expected[1]} samples, as the second line says, got {count} "
                    f"and {len(self._samples)}; the file is not complete"
                )
        reader.require_no_commas(path)
        self.samples, self.word_names = len(self._samples), list(self._descriptions)

    def read_blocks(self) -> Iterator[MatrixBlock]:
        """Yield the samples, in the order of the columns."""
        begin = 0
        for values in read_across(self._scratch, len(self.genes), len(self._samples)):
            part = slice(begin, begin + len(values))
            yield MatrixBlock(
                self._samples[part],
                range(begin + 1, begin + 1 + len(values)),
                values,
                {name: words[part] for name, words in self._descriptions.items()},
            )
            begin = part.stop

    def _check_samples(self) -> None:
        if not self._samples:
            raise DataError("has no sample: no column beside that of the genes")
        if twice := len(self._samples) - len(set(self._samples)):
            raise DataError(f"{twice} samples have the name of an earlier one; give each its own name")
        if "" in self._samples:
            raise DataError("a column of the header has no name; name its sample, or list the column in 'ignored'")


class _NumberReader:
    """Reads the words of values, and counts commas where the decimal mark is a point."""

    def __init__(self, layout: Layout) -> None:
        self._decimal, self._missing = layout.decimal, frozenset(layout.missing)
        self._commas = 0

    def read(self, words: Sequence[str]) -> Values:
        """Return the numbers of ``words``; (words,)."""
        if self._decimal == ".":
            try:
                values = np.array(words, dtype=np.float64)
            except ValueError:
                values = None
            if values is not None and np.isfinite(values).all() and not any("_" in word for word in words):
                return values
        return np.array([self._read_word(word.strip()) for word in words], dtype=np.float64)

    def require_no_commas(self, path: Path) -> None:
        """Refuse a file whose values have commas.

        Raises:
            DataError: there are some.
        """
        if self._commas:
            raise DataError(
                f"{path}: {self._commas} values have a comma, and the decimal mark is a point; write decimal: ',' in "
                "the mapping if it is the comma"
            )

    def _read_word(self, word: str) -> float:
        if word in self._missing:
            return math.nan
        if self._decimal == ",":
            if "." in word:
                return UNREADABLE
            word = word.replace(",", ".")
        elif "," in word:
            self._commas += 1
            return UNREADABLE
        try:
            value = float(word)
        except ValueError:
            return UNREADABLE
        return value if math.isfinite(value) and "_" not in word else UNREADABLE


def _split(file: LineFile, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    lines = (line + "\n" for _, line in file.read_lines())
    return iter(DelimitedRows(lines, layout.delimiter, layout.quote))


def _read_header(header: list[str], layout: Layout) -> tuple[list[str], int]:
    """Return the names of the columns, and the place of the one that names rows."""
    cleaned = [clean_text(name) for name in header]
    asked = [*layout.ignored, *([] if layout.names is None else [layout.names])]
    if absent := [name for name in asked if cleaned.count(name) != 1]:
        raise DataError(
            f"expected each of these columns once: {', '.join(absent)}; the header has {len(cleaned)} columns. Is "
            "the delimiter right?"
        )
    if len(cleaned) < 2:
        raise DataError("the header has one column; name the delimiter in the mapping: delimiter")
    return cleaned, 0 if layout.names is None else cleaned.index(layout.names)


def _read_gct_head(rows: Iterator[tuple[int, list[str]]]) -> tuple[tuple[int, int], int, list[str]]:
    """Return genes and samples as declared, the number of lines that describe samples, and the header."""
    version = next(rows, (0, [""]))[1][0].strip()
    if version not in ("#1.2", "#1.3"):
        raise DataError("expected a GCT file, whose first line is #1.2 or #1.3")
    sizes = [word.strip() for word in next(rows, (0, []))[1] if word.strip()]
    if len(sizes) != (2 if version == "#1.2" else 4) or not all(
        re.fullmatch(r"[0-9]{1,9}", word) for word in sizes
    ):
        raise DataError("expected whole numbers in line 2: genes and samples, and with #1.3 descriptions of each")
    genes, samples, *described = (int(word) for word in sizes)
    header = next(rows, (0, []))[1]
    of_genes = 1 + described[0] if described else 2
    if len(header) != of_genes + samples:
        raise DataError(f"expected {of_genes + samples} columns, as line 2 says, got {len(header)} in line 3")
    return (genes, samples), described[1] if described else 0, header
