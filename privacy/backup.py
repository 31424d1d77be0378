"""Write an installation's folder into one archive, and restore it: consistent while the installation runs.

The archive is a plain tar file (POSIX.1-2001 pax): every file, and at the end ``manifest.json`` with their digests.

* It holds keys. It is written readable by its owner only (0600), and is encrypted by whoever moves it elsewhere.
* SQLite files are copied by SQLite's backup API (sqlite.org/backup.html), and checked; other files are replaced whole
  by those who write them, so a file once opened is complete.
* The order makes the copies fit: first SQLite files, whose rows name other files; then these; then the files that
  :class:`BackupRules` calls last, because nothing else may be ahead of them (a site pays before it works).
* An archive without its manifest is cut off. One that was altered is noticed by accident only: whoever can alter it
  has the keys in it, and could write any manifest.
* Restoring fills an empty folder, or leaves it empty.
"""

import fnmatch
import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final, Literal

from pydantic import Field

from privacy.document import Document, parse, read_document
from privacy.errors import Error
from privacy.files import create_folder, replace_file, sync_folder
from privacy.sqlite_file import connect

MANIFEST: Final = "manifest.json"
NOTE: Final = "backup.json"
_MAX_MANIFEST_BYTES: Final = 64 << 20
_PART_BYTES: Final = 1 << 20
_BUSY_S: Final = 30.0
_NEVER: Final = (".*", "*.lock", NOTE, "*.sqlite-wal", "*.sqlite-shm")
"""Unfinished files, locks, the note of the last backup, and what SQLite's own copy already contains."""


@dataclass(frozen=True)
class BackupRules:
    """What an archive of this kind of folder holds.

    Attributes:
        kind: whose folder it is.
        leave_out: patterns of paths within the folder; a pattern of a folder leaves out all that is in it.
        last: SQLite files that are copied after everything else.
    """

    kind: Literal["site", "coordinator"]
    leave_out: tuple[str, ...]
    last: tuple[str, ...]


class FileFacts(Document):
    """A file of an archive."""

    size: int = Field(ge=0)
    sha256: str


class Manifest(Document):
    """What an archive holds, of whom, and when it was written (seconds since 1970, UTC)."""

    version: Literal[1] = 1
    kind: Literal["site", "coordinator"]
    name: str
    program: str
    time: float
    folders: tuple[str, ...]
    files: dict[str, FileFacts]


class LastBackup(Document):
    """``backup.json``: when this folder was last written into an archive, and the archive's SHA-256."""

    time: float
    sha256: str
    size: int


def write_backup(
    folder: Path, archive: Path, rules: BackupRules, name: str, program: str, error: type[Error]
) -> LastBackup:
    """Write ``folder`` into the new file ``archive``, and note in the folder that this was done.

    Args:
        folder: an installation's, which may be in use.
        archive: the file to write; outside the folder.
        rules: what it holds.
        name: the site or the federation.
        program: the version of this program.
        error: the type of the errors.

    Raises:
        error: the archive is there already or cannot be written, or a file cannot be copied; no archive is left.
    """
    if archive.resolve().is_relative_to(folder.resolve()):
        raise error(f"{archive}: a backup is kept outside the folder that it is of; name another place")
    began = time.time()
    try:
        descriptor = os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise error(f"{archive}: there is a file already; name another one, nothing was changed") from None
    except OSError as cause:
        raise error(f"{archive}: cannot be written: {cause.strerror}; name another file") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                facts, folders = _add_everything(tar, folder, rules)
                manifest = Manifest(
                    kind=rules.kind, name=name, program=program, time=began, folders=folders, files=facts
                )
                data = manifest.to_bytes()
                _add(tar, MANIFEST, io.BytesIO(data), len(data))
            file.flush()
            os.fsync(file.fileno())
        sync_folder(archive.absolute().parent)
        with archive.open("rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
    except BaseException as cause:
        archive.unlink(missing_ok=True)  # an archive is whole or absent
        if isinstance(cause, sqlite3.Error):
            raise error(f"a database could not be copied: {cause}; no backup was written") from None
        if isinstance(cause, OSError):
            where = cause.filename or archive
            raise error(f"{where}: cannot be copied: {cause.strerror}; no backup was written") from None
        if isinstance(cause, _UnfitError):
            raise error(f"{cause}; no backup was written") from None
        raise
    last = LastBackup(time=began, sha256=digest, size=archive.stat().st_size)
    replace_file(folder / NOTE, last.to_bytes(), error)
    return last


def read_last_backup(folder: Path, error: type[Error]) -> LastBackup | None:
    """Read when ``folder`` was last backed up; None if never.

    Raises:
        error: the note cannot be read.
    """
    path = folder / NOTE
    return read_document(path, LastBackup, error, "write a new backup") if path.exists() else None


class _UnfitError(Exception):
    """A file of the folder cannot go into an archive."""


def _add_everything(
    tar: tarfile.TarFile, folder: Path, rules: BackupRules
) -> tuple[dict[str, FileFacts], tuple[str, ...]]:
    files, folders = _list_contents(folder, rules)
    databases = [name for name in files if name.endswith(".sqlite") and name not in rules.last]
    facts = {name: _add_database(tar, folder, name) for name in databases}
    # listed again: what a row of a database names is there by now
    files, folders = _list_contents(folder, rules)
    for name in files:
        if not name.endswith(".sqlite"):
            try:
                with (folder / name).open("rb") as file:
                    facts[name] = _add(tar, name, file, os.fstat(file.fileno()).st_size)
            except FileNotFoundError:
                continue  # removed meanwhile, as what a study needs no more is
    facts |= {name: _add_database(tar, folder, name) for name in rules.last if name in files}
    return facts, tuple(folders)


def _list_contents(folder: Path, rules: BackupRules) -> tuple[list[str], list[str]]:
    """List the files and the folders that an archive holds, as paths within the folder."""
    files: list[str] = []
    folders: list[str] = []
    for at, inside, names in os.walk(folder):
        here = Path(at).relative_to(folder)
        kept = []
        for name in sorted(inside):
            path = here / name
            if _matches(path, (".*",)):
                continue
            if (folder / path).is_symlink():
                raise _UnfitError(f"{folder / path} is a link to another folder, which a backup does not follow")
            folders.append(path.as_posix())
            if not _matches(path, rules.leave_out):
                kept.append(name)
        inside[:] = kept
        for name in sorted(names):
            path = here / name
            if not _matches(path, (*_NEVER, *rules.leave_out)) and (folder / path).is_file():
                files.append(path.as_posix())
    return files, folders


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    """Return whether a pattern fits the path, or its last part alone."""
    return any(
        fnmatch.fnmatchcase(path.as_posix(), each) or fnmatch.fnmatchcase(path.name, each) for each in patterns
    )


def _add_database(tar: tarfile.TarFile, folder: Path, name: str) -> FileFacts:
    """Add a consistent copy of a SQLite file, which may be in use."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".backup.") as scratch:  # beside it: as private, same disk
        copy = Path(scratch) / "copy.sqlite"
        with (
            closing(connect(folder / name, "mode=rw", _BUSY_S)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
            damage = target.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise _UnfitError(f"{folder / name} is damaged; restore it from an earlier backup")
        with copy.open("rb") as file:
            return _add(tar, name, file, copy.stat().st_size)


def _add(tar: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> FileFacts:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(time.time())
    reader = _Digesting(file)
    try:
        tar.addfile(info, reader)
    except OSError as cause:
        if cause.errno is not None:
            raise
        raise _UnfitError(f"{name} became shorter while it was copied; try again") from None
    return FileFacts(size=size, sha256=reader.sha256.hexdigest())


class _Digesting:
    """Reads a file and computes its SHA-256 meanwhile."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data


def restore_backup(
    archive: Path, folder: Path, kind: Literal["site", "coordinator"], error: type[Error]
) -> Manifest:
    """Restore an archive into ``folder``, which is new or empty; return what the archive says of itself.

    Raises:
        error: the archive cannot be read, is cut off, damaged, of another kind or of a newer program, or the folder is
            not empty or cannot be written; the folder is as it was.
    """
    try:
        with archive.open("rb") as file, create_folder(folder, error):
            try:
                with tarfile.open(fileobj=file, mode="r:") as tar:
                    manifest = _extract(tar, archive, folder, kind, error)
            except (tarfile.TarError, EOFError, UnicodeDecodeError):
                raise error(f"{archive}: not a whole backup: it is damaged or cut off; use another one") from None
            for each in manifest.folders:
                _require_inside(each, archive, error)
                (folder / each).mkdir(mode=0o700, parents=True, exist_ok=True)
            for at, _, _ in os.walk(folder):
                sync_folder(Path(at))
            return manifest
    except OSError as cause:
        raise error(f"{archive}: cannot be read: {cause.strerror}") from None


def _extract(
    tar: tarfile.TarFile, archive: Path, folder: Path, kind: Literal["site", "coordinator"], error: type[Error]
) -> Manifest:
    found: dict[str, FileFacts] = {}
    for member in tar:
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None:
            raise error(f"{archive}: not a backup: it holds something else than files")
        source = tar.extractfile(member)
        assert source is not None  # it is a regular file
        if member.name == MANIFEST:
            manifest = _read_manifest(source, member.size, archive, kind, error)
            _require_same(manifest.files, found, archive, error)
            return manifest
        _require_inside(member.name, archive, error)
        if member.name in found:
            raise error(f"{archive}: damaged: it holds {member.name} twice; use another backup")
        found[member.name] = _write(source, folder / member.name)
    raise error(f"{archive}: not a whole backup: it ends before its manifest; use another one")


def _require_inside(name: str, archive: Path, error: type[Error]) -> None:
    """Refuse a name that leads out of the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in name or str(path) != name:
        raise error(f"{archive}: not a backup: it names a file outside its folder")


def _write(source: IO[bytes], path: Path) -> FileFacts:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    sha256, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for part in _read_parts(source):
            file.write(part)
            sha256.update(part)
            size += len(part)
        file.flush()
        os.fsync(file.fileno())
    return FileFacts(size=size, sha256=sha256.hexdigest())


def _read_parts(source: IO[bytes]) -> Iterator[bytes]:
    while part := source.read(_PART_BYTES):
        yield part


def _read_manifest(
    source: IO[bytes], size: int, archive: Path, kind: Literal["site", "coordinator"], error: type[Error]
) -> Manifest:
    if size > _MAX_MANIFEST_BYTES:
        raise error(f"{archive}: its manifest has {size} bytes, expected at most {_MAX_MANIFEST_BYTES}")
    try:
        value = json.loads(source.read())
    except (ValueError, RecursionError):
        raise error(f"{archive}: damaged: its manifest is not JSON; use another backup") from None
    version = value.get("version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > 1:
        raise error(
            f"{archive}: a backup of version {version}, this program knows version 1: restore it with the program that "
            f"wrote it ({value.get('program')}) or a newer one"
        )
    manifest = parse(value, Manifest, error, f"{archive}: its manifest")
    if manifest.kind != kind:
        command = "consilium-site restore" if manifest.kind == "site" else "consilium restore"
        raise error(f"{archive}: the backup of a {manifest.kind}, '{manifest.name}'; restore it with: {command}")
    return manifest


def _require_same(
    listed: dict[str, FileFacts], found: dict[str, FileFacts], archive: Path, error: type[Error]
) -> None:
    if missing := sorted(set(listed) - set(found)):
        raise error(f"{archive}: damaged: {missing[0]} is missing; use another backup")
    if strange := sorted(set(found) - set(listed)):
        raise error(f"{archive}: altered: {strange[0]} is not in its manifest; use another backup")
    if other := sorted(name for name in listed if listed[name] != found[name]):
        raise error(f"{archive}: damaged: {other[0]} is not as its manifest says; use another backup")
