"""Files that people pass by hand: what a mail program or an editor has done to one is undone when it is read.

Rules:

* A document is its value: a byte order mark, other line ends, blank lines and another layout change nothing. Whoever
  reads it makes the canonical bytes anew, and checks the signature on those.
* What may have another value is refused: a key written twice, NaN, text that is no JSON (a line that was wrapped). The
  sentence says what to do.
* In a file of lines (a ledger's export, a testimony) the mark and the line ends are undone, nothing else: each line is
  signed, and has one form.
* Messages between programs do not pass here: they are canonical or refused (``privacy/canonical.py``).
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
    """The value of a JSON document that somebody handed over.

    Raises:
        error: the file cannot be read, or is no JSON whose value is beyond doubt.
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
    """Line ``number``, from 1 on, of a file of lines, as it was written."""
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
