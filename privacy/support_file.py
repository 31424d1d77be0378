"""Write what helps to support an installation into one file: an allow list, without records and without secrets.

* Nothing goes in because it was found: each part is made from what is known to be public or the machine's own.
* Lines of a log go in only from loggers that may be seen outside (``privacy/logs.py``), and only if ``keep`` knows
  the sentence. What looks like a key, a token or a password in an address is replaced.
* At the end the parts are searched for the installation's own secrets; one that is found ends it, and no file is left.
"""

import io
import json
import os
import re
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from privacy.errors import Error
from privacy.logs import may_be_shown
from privacy.secret_search import require_no_secret

_LINES: Final = 500
_LONGEST: Final = 1000  # characters of a line
_TAIL_BYTES: Final = 1 << 20
_REMOVED: Final = "[removed]"
_SECRET_LIKE: Final = (
    re.compile(r"-----BEGIN [A-Z ]+-----.*?(-----END [A-Z ]+-----|$)", re.DOTALL),
    re.compile(r"(?<=://)[^/@\s]+(?=@)"),
    re.compile(r"[A-Za-z0-9_+=-]{40,}|[A-Za-z0-9+/]{40,}={0,2}"),
)
_PLAIN: Final = re.compile(r"(\S+ \S+) ([A-Z]+) ([\w.]+): (.*)")


def remove_secrets(text: str) -> str:
    """Replace what looks like a key, a token, or a user and password in an address."""
    for pattern in _SECRET_LIKE:
        text = pattern.sub(_REMOVED, text)
    return text


def read_log_lines(path: Path, keep: Callable[[str, str], bool]) -> list[str]:
    """Read the last lines of a log that may be seen by others.

    Args:
        path: the log, plain or as JSON; it need not be there.
        keep: returns by logger and message whether a line is known to be harmless.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    kept = []
    for line in lines:
        parsed = _parse_line(line)
        if parsed is not None and may_be_shown(parsed[2]) and keep(parsed[2], parsed[3]):
            kept.append(remove_secrets(" ".join(parsed))[:_LONGEST])
    left_out = len(lines) - len(kept)
    return [f"({left_out} lines are left out)", *kept[-_LINES:]]


def _parse_line(line: str) -> tuple[str, str, str, str] | None:
    """Return time, level, logger and message of a line; None for anything else, such as a part of a traceback."""
    if line.startswith("{"):
        try:
            fields = json.loads(line)
            return tuple(str(fields[name]) for name in ("time", "level", "logger", "message"))  # type: ignore[return-value]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
    match = _PLAIN.fullmatch(line)
    return None if match is None else (match[1], match[2], match[3], match[4])


def write_support_file(
    file: Path, parts: Mapping[str, str], secrets: Iterable[Path], error: type[Error]
) -> dict[str, int]:
    """Write ``parts``, by name, into the new file ``file``; return how many bytes each has.

    Raises:
        error: a part holds a line of one of the ``secrets``, or the file cannot be written; no file is left.
    """
    require_no_secret(secrets, parts, error)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as cause:
        raise error(f"{file}: cannot be written: {cause.strerror}; name another file") from None
    sizes = {}
    try:
        with os.fdopen(descriptor, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as tar:
            for name, text in parts.items():
                data = text.encode("utf-8")
                info = tarfile.TarInfo(name)
                info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
                tar.addfile(info, io.BytesIO(data))
                sizes[name] = len(data)
    except OSError as cause:
        file.unlink(missing_ok=True)
        raise error(f"{file}: cannot be written: {cause.strerror}") from None
    return sizes
