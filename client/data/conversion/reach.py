"""Find what a mapping makes a conversion reach: files and folders, passwords of the environment, a database server.

A conversion runs in a process that has nothing else (``client/training/confined_conversion.py``). Every path of a
mapping has the type ``Path``, every database the key ``url``, and a pattern of paths one of ``_PATTERNS``, so that a
new kind of source is found without a word here.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from client.data.conversion.mapping import DataMapping
from privacy.document import Document

_BESIDE_SQLITE: Final = ("-wal", "-shm", "-journal")  # https://www.sqlite.org/tempfiles.html
_PATTERNS: Final = ("pattern", "images", "file")  # client/data/conversion/images/mapping.py
_FILES_OF_LIBPQ: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir")


@dataclass(frozen=True)
class Reach:
    """What a conversion reads.

    Attributes:
        paths: files and folders, the mapping's own among them; some may not exist.
        passwords: environment variables.
        has_server: whether a database is reached over a socket.
    """

    paths: tuple[Path, ...]
    passwords: tuple[str, ...]
    has_server: bool


def find_reach(mapping: DataMapping, mapping_path: Path) -> Reach:
    """Find what a conversion by ``mapping``, of the file ``mapping_path``, reads."""
    folder, paths, passwords, has_server = mapping_path.parent, [mapping_path], list[str](), False
    for name, value in _list_values(mapping, ""):
        if isinstance(value, Path):
            paths.append(folder / value)
        elif name in _PATTERNS and isinstance(value, str):
            paths.append(folder / find_fixed_part(value))
        elif name == "password_env" and isinstance(value, str):
            passwords.append(value)
        elif name == "url" and isinstance(value, str):
            found = _list_files_of_database(value)
            has_server = has_server or found is None
            paths += [folder / each for each in (found if found is not None else _list_server_files(value))]
    return Reach(tuple(dict.fromkeys(paths)), tuple(dict.fromkeys(passwords)), has_server)


def find_fixed_part(pattern: str) -> Path:
    """Return the part of a pattern of paths that is the same for all of them.

    >>> str(find_fixed_part("archive/2026/{patient}_*.png")), str(find_fixed_part("{patient}.png"))
    ('archive/2026', '.')
    """
    return Path(*itertools.takewhile(lambda part: not set(part) & set("{*"), Path(pattern).parts))


def _list_values(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield every plain value of a document with the key that it has, or the list of it."""
    if isinstance(value, Document):
        for field in type(value).model_fields:
            yield from _list_values(getattr(value, field), field)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _list_values(each, name)
    elif isinstance(value, list | tuple | frozenset):
        for each in value:
            yield from _list_values(each, name)
    else:
        yield name, value


def _list_files_of_database(url: str) -> list[str] | None:
    """List the files of a SQLite database; None for a server's."""
    from sqlalchemy.engine import make_url

    found = make_url(url)
    if found.drivername != "sqlite":
        return None
    return [f"{found.database}{end}" for end in ("", *_BESIDE_SQLITE)]


def _list_server_files(url: str) -> list[str]:
    """List the files that a server's URL names: folders of its socket, certificates."""
    from sqlalchemy.engine import make_url

    named = list[str]()
    for key, value in make_url(url).query.items():
        values = [value] if isinstance(value, str) else list(value)
        if key == "host":
            named += [each for each in values if each.startswith("/")]
        elif key in _FILES_OF_LIBPQ:
            named += values
    return named
