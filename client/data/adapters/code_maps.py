"""Read public tables that lead from the codes of one system to those of another.

Sources: General Equivalence Mappings (CMS, 2018: lines of source, target and five flags: approximate, no map,
combination, scenario, choice list); Clinical Classifications Software, single-level diagnoses (AHRQ, Appendix A: a
line for each group, then its codes on indented lines).

Rules:

* a file that ends with ``.gz`` is unpacked; its digest is that of what is in it;
* nothing is corrected: a line of another form, or with what is no code, makes the file unusable.
"""

import csv
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from privacy.errors import DataError, DataUnavailableError
from privacy.study.data.code_systems import normalise_code

MAX_BYTES: Final = 256 << 20
_NONE: Final = ("NODX", "NOPCS", "NOMAP", "")  # GEM: no target
_GROUP: Final = re.compile(r"([0-9]{1,4})\s+\S.*")
_GEM_FIELDS: Final = 3


def read_code_map(
    path: Path, form: Literal["gem", "gem-csv", "ccs", "pairs"], source: str, target: str, sha256: str
) -> dict[str, tuple[str, ...]]:
    """Read the map in ``path``: to each code of ``source`` those of ``target``, in their order; none has no key.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it is another file, by its digest, or not of this form.
    """
    data = _read_bytes(path)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise DataError(f"{path}: the study asks for the file with the SHA-256 {sha256}, this one has {found}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # names of groups; codes are ASCII
    pairs = {"gem": _list_gem, "gem-csv": _list_csv, "pairs": _list_csv, "ccs": _list_ccs}[form](text)
    codes: dict[str, dict[str, None]] = {}
    for line, first, second in pairs:
        if second.upper() in _NONE:
            continue
        before, after = normalise_code(source, first), normalise_code(target, second)
        if before is None or after is None:
            raise DataError(
                f"{path}: line {line}: expected a code of {source} and one of {target}; is the form '{form}' right?"
            )
        codes.setdefault(before, {})[after] = None
    if not codes:
        raise DataError(f"{path}: has no codes; is the form '{form}' right?")
    return {code: tuple(sorted(targets)) for code, targets in codes.items()}


def _read_bytes(path: Path) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError(f"{path}: is no whole gzip file") from None
    except OSError as cause:
        raise DataUnavailableError(f"{path}: cannot be read: {cause.strerror}") from None
    if len(data) > MAX_BYTES:
        raise DataError(f"{path}: expected at most {MAX_BYTES} bytes")
    return data


def _list_gem(text: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != _GEM_FIELDS:
            raise DataError(
                f"line {number} of a GEM file: expected two codes and the flags, got {len(fields)} fields"
            )
        yield number, fields[0], fields[1]


def _list_csv(text: str) -> Iterator[tuple[int, str, str]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        next(rows, None)  # the header
        for row in rows:
            if len(row) > 1:
                yield rows.line_num, row[0], row[1]
    except csv.Error as cause:
        raise DataError(f"line {rows.line_num} is not CSV: {cause}") from None


def _list_ccs(text: str) -> Iterator[tuple[int, str, str]]:
    group = ""
    for number, line in enumerate(text.splitlines(), start=1):
        head = _GROUP.fullmatch(line.rstrip())
        if head is not None:
            group = head[1]
        elif group and line[:1].isspace():
            yield from ((number, code, group) for code in line.split())
