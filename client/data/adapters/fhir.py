"""Read resources from a file of a FHIR bulk export: newline-delimited JSON, one resource a line, plain or gzip.

Sources: FHIR R4 (4.0.1), https://hl7.org/fhir/R4; Bulk Data Access, https://hl7.org/fhir/uv/bulkdata; ndjson.org.

Rules:

* the file is read line by line; a line that is longer than ``MAX_LINE`` bytes, no JSON, or no resource is reported with
  its number and left out. A blank line is none;
* JSON is read as RFC 8259 says: no NaN; a name twice in an object, or nesting without end, makes the line unusable;
* what is read is not checked against the profile of its type: whoever uses a field checks it.
"""

import gzip
import hashlib
import json
import stat
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from privacy.errors import DataError, DataUnavailableError

MAX_LINE: Final = 16 << 20
MAX_FILE_BYTES: Final = 1 << 40
_PART: Final = 1 << 20

Resource = dict[str, Any]
ReportLine = Callable[[str, int], None]
"""Called for a line that is left out, with the reason and its number from 1."""


class Line(NamedTuple):
    """A resource, and the number of its line."""

    number: int
    resource: Resource


def list_fhir_files(folder: Path) -> list[Path]:
    """List the files of an export, ``.ndjson`` and ``.ndjson.gz``, by name.

    Raises:
        DataUnavailableError: the folder cannot be read now.
        DataError: it has no such file.
    """
    try:
        files = [path for path in folder.iterdir() if path.name.endswith((".ndjson", ".ndjson.gz"))]
    except OSError as cause:
        raise DataUnavailableError(f"{folder}: cannot be read: {cause.strerror}") from None
    if not files:
        raise DataError(f"{folder}: has no file .ndjson or .ndjson.gz, as a FHIR bulk export gives them")
    return sorted(files, key=lambda path: path.name)


def read_resources(path: Path, report: ReportLine) -> Generator[Line, None, str]:
    """Yield the resources of the file ``path``, and return the SHA-256 of its bytes.

    Raises:
        DataUnavailableError: it cannot be read now.
        DataError: it is no regular file, or no whole gzip file.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: cannot be read: expected a file, got a folder, a device or a pipe")
        if status.st_size > MAX_FILE_BYTES:
            raise DataError(f"{path}: expected at most {MAX_FILE_BYTES} bytes, got {status.st_size}")
        with path.open("rb") as raw:
            digest = hashlib.file_digest(raw, "sha256").hexdigest()
            raw.seek(0)
            with gzip.open(raw) if path.suffix == ".gz" else raw as file:
                yield from _read_lines(file, report)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError(f"{path}: is no whole gzip file") from None
    except OSError as cause:
        raise DataUnavailableError(f"{path}: cannot be read: {cause.strerror}") from None
    return digest


def _read_lines(file: IO[bytes] | gzip.GzipFile, report: ReportLine) -> Generator[Line, None, None]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            report(f"is longer than {MAX_LINE} bytes", number)
            while line and not line.endswith(b"\n"):
                line = file.readline(_PART)
            continue
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not text.strip():
            continue
        try:
            resource = json.loads(text.decode("utf-8"), object_pairs_hook=_make_object, parse_constant=_refuse)
        except (ValueError, RecursionError):  # not UTF-8, not JSON, a number of thousands of digits
            report("is no JSON: it was cut, or is not of FHIR", number)
            continue
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            report("is no FHIR resource: it has no resourceType", number)
            continue
        yield Line(number, resource)


def _make_object(pairs: list[tuple[str, Any]]) -> Resource:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def _refuse(_: str) -> None:
    raise ValueError("no number of JSON")
