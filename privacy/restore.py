"""Restore an installation's folder from an archive that ``privacy/backup.py`` has written.

* An empty folder is filled, or stays empty: an archive that is cut off, damaged, of another kind or of a newer program
  is refused.
* Nothing but files within the folder is written, readable by their owner only.
* Of an encrypted archive every byte is verified before it is used.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final, Literal

from privacy.backup import MANIFEST, FileFacts, Manifest
from privacy.document import parse
from privacy.encrypted_file import DecryptingReader, is_encrypted
from privacy.errors import Error
from privacy.files import create_folder, sync_folder

_MAX_MANIFEST_BYTES: Final = 64 << 20
_PART_BYTES: Final = 1 << 20


def restore_backup(
    archive: Path,
    folder: Path,
    kind: Literal["site", "coordinator"],
    error: type[Error],
    ask: Callable[[], str],
) -> Manifest:
    """Restore an archive into ``folder``, which is new or empty; return what the archive says of itself.

    Args:
        archive: what ``write_backup`` has written.
        folder: to be filled.
        kind: whose folder is wanted.
        error: the type of the errors.
        ask: returns the passphrase; called if the archive is encrypted.

    Raises:
        error: the archive cannot be read, is cut off, damaged, of another kind or of a newer program, the passphrase is
            another one, or the folder is not empty or cannot be written; the folder is as it was.
    """
    try:
        with archive.open("rb") as file, create_folder(folder, error):
            try:
                plain = DecryptingReader(file, ask(), str(archive), error) if is_encrypted(file) else file
                with tarfile.open(fileobj=plain, mode="r|") as tar:
                    manifest = _extract(tar, archive, folder, kind, error)
                if isinstance(plain, DecryptingReader):
                    plain.require_end()
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
