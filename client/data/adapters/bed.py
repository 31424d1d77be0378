"""Read intervals of a genome from BED files: BED3 to BED12, narrowPeak, broadPeak, bedGraph.

Source: UCSC, the BED format; GA4GH, BED specification 1.0. ``start`` counts from 0 and ``end`` is not part of it.

Rules:

* gzip, comments (``#``), ``track`` and ``browser`` lines, blank lines and a line of column names are skipped;
* fields are separated by tabs; in a line without a tab, by spaces;
* a row whose start and end are no whole numbers from 0, or which has no letter, is reported and left out;
* fields beyond the third are words: ``name``, ``score``, ``strand``, then ``column7``, ``column8`` and so on.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from client.data.adapters.lines import open_lines
from client.data.adapters.rows import ReportRow, clean_text
from privacy.errors import DataError

_SKIPPED: Final = re.compile(r"\s*(#|track(\s|$)|browser(\s|$)|$)")
_COLUMN_NAMES: Final = ("chrom", "chr", "chromosome", "seqname")
_OPTIONAL: Final = ("name", "score", "strand")
_WHOLE: Final = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class Interval:
    """An interval.

    Attributes:
        line: the number of its line.
        chrom: the sequence that it lies on.
        start: its first letter, from 0.
        end: the letter after its last one.
        strand: ``+``, ``-``, or ``.`` for none.
        words: of the fields beyond the third, by name.
    """

    line: int
    chrom: str
    start: int
    end: int
    strand: str = "."
    words: dict[str, str] = field(default_factory=dict, repr=False)


class BedFile:
    """A BED file; after iteration ``sha256`` is that of its bytes."""

    def __init__(self, path: Path, report: ReportRow) -> None:
        """Name the file, which is opened by iteration; ``report`` is told of every row that is left out."""
        self._path = path
        self._report = report
        self.sha256 = ""

    def __iter__(self) -> Iterator[Interval]:
        """Yield the intervals.

        Raises:
            DataUnavailableError: the file cannot be read now.
            DataError: it is no text file, or has no row with three fields.
        """
        with open_lines(self._path) as file:
            width, any_rows = 0, False
            for number, line in file.read_lines():
                if _SKIPPED.match(line):
                    continue
                fields = [clean_text(each) for each in (line.split("\t") if "\t" in line else line.split())]
                if not any_rows and not width and fields[0].casefold() in _COLUMN_NAMES:
                    width = len(fields)
                    continue
                any_rows = True
                interval = self._read_row(number, fields)
                if interval is not None:
                    yield interval
            if not any_rows:
                raise DataError("has no interval: expected rows of chrom, start, end")
            self.sha256 = file.sha256

    def _read_row(self, number: int, fields: list[str]) -> Interval | None:
        if len(fields) < 3:
            self._report("has fewer than the three fields chrom, start, end", number, "")
            return None
        chrom, start, end = fields[:3]
        if not chrom or not _WHOLE.fullmatch(start) or not _WHOLE.fullmatch(end):
            self._report("has no whole numbers from 0 as start and end", number, "")
            return None
        if int(start) >= int(end):
            self._report("has no letter: start is not below end", number, "")
            return None
        words = dict(zip(_OPTIONAL, fields[3:6], strict=False))
        words |= {f"column{place}": word for place, word in enumerate(fields[6:], 7)}
        strand = words.get("strand", ".") or "."
        if strand not in ("+", "-", "."):
            self._report("has a strand that is none of + - .", number, "strand")
            return None
        return Interval(number, chrom, int(start), int(end), strand, words)
