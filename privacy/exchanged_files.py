"""Read files that people exchange, and undo what a mail program or an editor has changed in them.

Rules:

* A document is its value: a byte order mark, other line ends, blank lines and another layout change nothing. Its
  reader computes the canonical bytes again, and checks the signature over those.
* Text whose value may have changed is refused: a key written twice, NaN, text that is no JSON (a line that was
  wrapped). The message says what to do.
* In a file of lines (a ledger's export, a testimony) only the byte order mark and the line ends are undone, because
  each line is signed and has one form.
* Messages between programs are not read here: they are canonical or refused (``privacy/canonical.py``).
"""

import codecs
import json
from pathlib import Path
from typing import Any, Final

from privacy.errors import Error

MOST_BYTES: Final = 10_000_000
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_AGAIN: Final = "ask for the file again, as an attachment that nothing changes on its way"


def read_exchanged_document(path: Path, error: type[Error]) -> Any:
    """Read the value of a JSON document from another party.

    Raises:
        error: the file cannot be read, is no JSON, or its value may have been changed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause.strerror}") from None
    if len(data) > MOST_BYTES:
        raise error(f"{path}: expected a document of at most {MOST_BYTES:,} bytes; is it another file?")
    try:
        text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
        return json.loads(text, object_pairs_hook=_build_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise error(
            f"{path}: expected a JSON document, got something else or one that was changed; {_AGAIN}"
        ) from None


def normalise_line(line: bytes, number: int) -> bytes:
    """Return line ``number``, counted from 1, of a file of lines, as it was written."""
    if number == 1:
        line = line.removeprefix(codecs.BOM_UTF8)
    return line[:-2] + b"\n" if line.endswith(b"\r\n") else line


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is written twice")
    return value


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")
