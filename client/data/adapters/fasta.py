"""Read sequences from FASTA files, one after another.

Source: W. R. Pearson's format as the NCBI describes it: a line that begins with ``>`` opens a record, its first word
names it, the lines until the next one are its letters.

Rules:

* gzip, Windows line ends, wrapped and unwrapped lines, blank lines and lines of comment (``;``) are read;
* letters keep their case, since lower case often marks repeats. White space among them is left out;
* a record without letters is given as it is: the caller says what becomes of it;
* memory holds one record.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.lines import LineFile, Piece, open_lines
from privacy.errors import DataError

MAX_LETTERS: Final = 1 << 29  # of a record; the longest chromosome of a mammal has less
_PART: Final = 1 << 20
_WHITE: Final = bytes(code for code in range(256) if chr(code).isspace())


class FastaRecord(NamedTuple):
    """A sequence: the number of its header's line, the header without ``>``, its letters."""

    line: int
    header: str
    letters: str

    @property
    def name(self) -> str:
        """The first word of the header."""
        return self.header.split(maxsplit=1)[0] if self.header.strip() else ""


class FastaFile:
    """A FASTA file; after iteration ``sha256`` is that of its bytes."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is opened by iteration."""
        self._path = path
        self.sha256 = ""

    def __iter__(self) -> Iterator[FastaRecord]:
        """Yield the records.

        Raises:
            DataUnavailableError: the file cannot be read now.
            DataError: it is no FASTA file.
        """
        with open_lines(self._path) as file:
            line, header, letters = 0, "", bytearray()  # not a list of lines: one may hold a single letter
            for piece in _read_pieces(file):
                if _is_header(piece):
                    if line:
                        yield _make_record(line, header, letters)
                    line, header, letters = piece.number, _read_header(piece), bytearray()
                    continue
                letters += piece.text
                if len(letters) > MAX_LETTERS:
                    raise DataError(f"the record of line {line} has more than {MAX_LETTERS} letters")
            yield _make_record(line, header, letters)
            self.sha256 = file.sha256


class Genome:
    """The sequences of a FASTA file that are wanted, in a file that is read by place.

    Letters stand there one after another, a byte each, without line ends, so that any part is read at once.
    """

    def __init__(self, path: Path, wanted: frozenset[str], scratch: Path) -> None:
        """Copy the letters of the sequences ``wanted`` to the new file ``scratch``.

        Raises:
            DataUnavailableError: the file cannot be read now.
            DataError: it is no FASTA file, or has a sequence twice.
        """
        self._spans = dict[str, tuple[int, int]]()
        self.names = set[str]()
        """Those of all its sequences."""
        with open_lines(path) as file, scratch.open("xb") as out:
            name, begin = "", 0
            for piece in _read_pieces(file):
                if _is_header(piece):
                    self._spans[name] = begin, out.tell()
                    words = _read_header(piece).split(maxsplit=1)
                    name, begin = words[0] if words else "", out.tell()
                    if name in self.names:
                        raise DataError(f"line {piece.number}: a sequence of this name is there already")
                    self.names.add(name)
                elif name in wanted:
                    out.write(b"".join(piece.text.split()))
            self._spans[name] = begin, out.tell()
            self.sha256 = file.sha256
        self._spans = {name: self._spans[name] for name in wanted & self.names}
        empty = scratch.stat().st_size == 0
        self._letters: NDArray[np.uint8] = (
            np.empty(0, dtype=np.uint8) if empty else np.memmap(scratch, dtype=np.uint8, mode="r")
        )

    def find_length(self, name: str) -> int | None:
        """Return the number of letters of a sequence, None if the genome lacks it."""
        span = self._spans.get(name)
        return None if span is None else span[1] - span[0]

    def read(self, name: str, start: int, end: int) -> str:
        """Return the letters from ``start`` (from 0) to before ``end``, which lie within the sequence."""
        begin, stop = self._spans[name]
        if not 0 <= start <= end <= stop - begin:
            raise ValueError(f"expected a part of 0 to {stop - begin}, got {start} to {end}")
        return self._letters[begin + start : begin + end].tobytes().decode("latin-1")


def _read_pieces(file: LineFile) -> Iterator[Piece]:
    """Yield headers and letters, without what stands before the first header, which must be nothing."""
    begun, comment, header, last = False, False, False, 0
    for piece in file.read_pieces(_PART):
        last = piece.number
        text = piece.text.removeprefix(b"\xef\xbb\xbf") if piece.number == 1 and piece.begins else piece.text
        comment = text.startswith(b";") if piece.begins else comment
        if comment or not text.strip():
            continue
        if not begun and not text.startswith(b">"):
            fastq = "; it looks like FASTQ: give the sequences as FASTA" if text.startswith(b"@") else ""
            raise DataError(f"line {piece.number}: expected a FASTA header, which begins with '>'{fastq}")
        begun = True
        if header and not piece.begins:
            raise DataError(f"line {piece.number}: the header has more than {_PART} bytes")
        header = text.startswith(b">")
        yield Piece(piece.number, text, piece.begins)
    if not begun:
        raise DataError(f"has {last} lines and no FASTA record")


def _is_header(piece: Piece) -> bool:
    return piece.begins and piece.text.startswith(b">")


def _read_header(piece: Piece) -> str:
    try:
        return piece.text[1:].decode("utf-8").strip()
    except UnicodeDecodeError:
        raise DataError(f"line {piece.number}: the header is no text in UTF-8; save the file as UTF-8") from None


def _make_record(line: int, header: str, letters: bytearray) -> FastaRecord:
    return FastaRecord(line, header, letters.translate(None, _WHITE).decode("latin-1"))
