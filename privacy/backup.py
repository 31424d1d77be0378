"""Write an installation's folder into one archive: consistent while the installation runs.

The archive is a tar file (POSIX.1-2001 pax): every file, and at the end ``manifest.json`` with their digests.
``privacy/restore.py`` reads it.

* It holds keys. It is written readable by its owner only (0600), and encrypted under a passphrase if one is given
  (``privacy/encrypted_file.py``). Without one it is encrypted by whoever moves it elsewhere.
* SQLite files are copied by SQLite's backup API (sqlite.org/backup.html), and checked; other files are replaced whole
  by those who write them, so a file once opened is complete; lines are added to those that end in ``.jsonl``, so one
  that is copied later holds all that an earlier copy of another file names.
* The order makes the copies fit: first SQLite files, whose rows name other files; then these, those to which lines are
  added behind the others; then the files that
  :class:`BackupRules` calls last, because nothing else may be ahead of them (a site pays before it works).
* An archive without its manifest is cut off. One that was altered is noticed for certain if it is encrypted, else by
  accident only: whoever can alter it has the keys in it, and could write any manifest.
"""

import fnmatch
import hashlib
import io
import os
import sqlite3
import tarfile
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import IO, Final, Literal

from pydantic import Field

from privacy.backup_rules import BackupRules
from privacy.document import Document, read_document
from privacy.encrypted_file import EncryptingWriter
from privacy.errors import Error
from privacy.files import replace_file, sync_folder
from privacy.sqlite_file import connect

MANIFEST: Final = "manifest.json"
NOTE: Final = "backup.json"
_BUSY_S: Final = 30.0
_ADDED_TO: Final = ".jsonl"
_NEVER: Final = (".*", "*.lock", NOTE, "*.sqlite-wal", "*.sqlite-shm")
"""Unfinished files, locks, the note of the last backup, and what SQLite's own copy already contains."""


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
    folder: Path,
    archive: Path,
    rules: BackupRules,
    name: str,
    program: str,
    error: type[Error],
    passphrase: str | None = None,
) -> LastBackup:
    """Write ``folder`` into the new file ``archive``, and note in the folder that this was done.

    Args:
        folder: an installation's, which may be in use.
        archive: the file to write; outside the folder.
        rules: what it holds.
        name: the site or the federation.
        program: the version of this program.
        error: the type of the errors.
        passphrase: under which the archive is encrypted; None for a plain one.

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
            out = file if passphrase is None else EncryptingWriter(file, passphrase)
            with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                facts, folders = _add_everything(tar, folder, rules)
                manifest = Manifest(
                    kind=rules.kind, name=name, program=program, time=began, folders=folders, files=facts
                )
                data = manifest.to_bytes()
                _add(tar, MANIFEST, io.BytesIO(data), len(data))
            if isinstance(out, EncryptingWriter):
                out.finish()
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
    for name in sorted(files, key=lambda name: name.endswith(_ADDED_TO)):
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
