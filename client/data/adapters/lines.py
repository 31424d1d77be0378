"""Read a text file line by line, in parts of bounded size, whether it is compressed by gzip or not.

Line ends are those of Unix or of Windows. Files of the formats that use this (FASTA, BED, GCT, PCL) are text in UTF-8,
or ASCII. What looks like another format is named.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from client.data.adapters.hashed_file import HashedFile, require_regular_file
from privacy.errors import DataError, DataUnavailableError

MAX_LINE: Final = 64 << 20  # bytes: a matrix of a million samples has such lines
_BUFFER: Final = 1 << 18
_OTHER_FORMATS: Final = {
    b"PK\x03\x04": "an Excel workbook or a ZIP archive",
    b"\x89HDF": "an HDF5 file (h5ad, GCTX, 10x)",
    b"PAR1": "a Parquet file",
    b"\x43\x27\x41\x1a": "a 2bit genome; convert it with twoBitToFa",
    b"\x1a\x41\x27\x43": "a 2bit genome; convert it with twoBitToFa",
    b"BAM\x01": "a BAM file",
    b"\xff\xfe": "text in UTF-16; save it as UTF-8",
    b"\xfe\xff": "text in UTF-16; save it as UTF-8",
}
_GZIP: Final = b"\x1f\x8b"


class Piece(NamedTuple):
    """A line, or a part of a long one: its number from 1, its bytes without the line end, whether the line begins."""

    number: int
    text: bytes
    begins: bool


class LineFile:
    """An open text file. When all pieces were read, ``sha256`` is that of the file's bytes."""

    def __init__(self, opened: BinaryIO, hashed: HashedFile) -> None:
        """Take an ``opened`` file, whose bytes ``hashed`` hashes."""
        self._opened = opened
        self._hashed = hashed

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file, when it has been read to its end."""
        while self._hashed.read(_BUFFER):  # what follows the end of a compressed file
            pass
        return self._hashed.sha256

    def read_pieces(self, most_bytes: int) -> Iterator[Piece]:
        """Yield the lines; one of more than ``most_bytes`` comes in several pieces."""
        number, begins = 1, True
        while block := self._opened.readline(most_bytes):
            ends = block.endswith(b"\n")
            text = block[:-1] if ends else block
            text = text[:-1] if text.endswith(b"\r") else text
            if b"\r" in text:
                raise DataError(f"line {number} has a carriage return inside: save the file with Unix line ends")
            if b"\x00" in text:
                raise DataError(f"line {number} is no text: it has a byte of zero")
            yield Piece(number, text, begins)
            number, begins = number + ends, ends

    def read_lines(self) -> Iterator[tuple[int, str]]:
        """Yield number and text of each line.

        Raises:
            DataError: a line is too long, or no UTF-8.
        """
        for number, text, begins in self.read_pieces(MAX_LINE):
            if not begins:
                raise DataError(f"line {number - 1} has more than {MAX_LINE} bytes")
            try:
                line = text.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise DataError(f"line {number} is no text in UTF-8; save the file as UTF-8") from None
            yield number, line


@contextmanager
def open_lines(path: Path) -> Iterator[LineFile]:
    """Open the text file ``path``; errors of what is done with it name the file.

    Raises:
        DataUnavailableError: it cannot be read now.
        DataError: it is no file, is empty, damaged, or of another format.
    """
    try:
        require_regular_file(path)
        with path.open("rb", buffering=0) as raw:
            hashed = HashedFile(raw)
            source = io.BufferedReader(hashed, _BUFFER)
            packed = source.peek(2).startswith(_GZIP)
            opened = io.BufferedReader(gzip.GzipFile(fileobj=source), _BUFFER) if packed else source
            for magic, words in _OTHER_FORMATS.items():
                if opened.peek(4).startswith(magic):
                    raise DataError(f"expected a text file; it looks like {words}")
            yield LineFile(opened, hashed)
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise DataError(f"{path}: is no complete gzip file; copy it again") from None
    except DataError as error:
        raise error if isinstance(error, DataUnavailableError) else DataError(f"{path}: {error}") from None
    except OSError as cause:
        raise DataUnavailableError(f"{path}: cannot be read: {cause.strerror or cause}") from None
