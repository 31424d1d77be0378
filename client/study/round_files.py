"""Keep vectors of a study in files: written whole, checked when read, removed when no round needs them."""

import io
from collections.abc import Collection
from pathlib import Path
from typing import Final, Literal
from zipfile import BadZipFile

import numpy as np

from models.parameters.vector import Vector, compute_vector_digest
from privacy.errors import KeyFileError, SiteConfigError, StorageError
from privacy.files import map_file, replace_file
from privacy.keys import generate_secret, read_secret
from privacy.randomness import KEY_BYTES

CARRIED_NOISE: Final = "noise-*.npz"
"""The files of the noise that a round leaves for a later one to cancel: secrets, of which no backup is made."""


def read_or_make_secret(path: Path) -> bytes:
    """Read the secret of a file, or create it."""
    try:
        key = read_secret(path) if path.exists() else b""
    except KeyFileError as error:
        raise SiteConfigError(str(error)) from None
    if len(key) == KEY_BYTES:
        return key
    try:  # there is none yet, or it was cut short before its first use
        path.unlink(missing_ok=True)
        generate_secret(path)
        return read_secret(path)
    except (OSError, KeyFileError) as error:
        raise StorageError(f"{path}: randomness cannot be stored: {error}") from None


def read_own_vector(path: Path, number: int, what: str) -> Vector:
    """Read a vector that stays at this site; the archive's checksum shows damage."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            values: Vector = file["own_vector"].astype(np.float64)
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        raise make_unreadable_error(path, number, what) from None
    return values


def make_unreadable_error(path: Path, number: int, what: str) -> SiteConfigError:
    """Return the error for a file that cannot be read."""
    return SiteConfigError(f"{path}: the {what} of round {number} cannot be read; restore it from backup")


def keep_own_vector(path: Path, values: Vector, kind: Literal["<f4", "<f8"] = "<f4") -> None:
    """Store a vector, or several, that stay at this site, as numbers of ``kind``; durable when this returns."""
    buffer = io.BytesIO()
    np.savez(buffer, own_vector=values.astype(kind))
    replace_file(path, buffer.getvalue(), StorageError)


def forget_own_vectors(folder: Path, pattern: str, upto: int, but: Collection[int | None]) -> None:
    """Remove vectors that stayed at this site and that no round needs any more."""
    for path in folder.glob(pattern):
        if parse_round_number(path) <= upto and parse_round_number(path) not in but:
            path.unlink(missing_ok=True)


def parse_round_number(path: Path) -> int:
    """Read the round from a file's name."""
    return int(path.stem.partition("-")[2])


def build_model_path(folder: Path, base: int) -> Path:
    """Return the path of the shared model after round ``base``."""
    return folder / f"model-{base:05d}.f64"


def build_best_path(folder: Path, number: int) -> Path:
    """Return the path of the best model, evaluated after round ``number``."""
    return folder / f"best-{number:05d}.f64"


class SharedVectors:
    """Read shared vectors from their files, each verified against its digest whenever its file is another one.

    A vector is the mapped file: it can only be read, and reading it again costs nothing. What this process has just
    written needs no verification.
    """

    def __init__(self) -> None:
        self._known: tuple[tuple[int, int, int, str], Vector] | None = None

    def read(self, path: Path, number: int, sha256: str) -> Vector:
        """Read the vector of round ``number``, whose digest is ``sha256``.

        Raises:
            SiteConfigError: the file cannot be read, or is not the one that was written.
        """
        try:
            mark = _mark(path, sha256)
        except OSError:
            raise _make_gone_error(path, number) from None
        if self._known is not None and self._known[0] == mark:
            return self._known[1]
        vector = _map_vector(path, number)
        if compute_vector_digest(vector) != sha256:
            raise SiteConfigError(f"{path}: the model of round {number} was altered; restore it from backup")
        self._known = mark, vector
        return vector

    def take_written(self, path: Path, number: int, sha256: str) -> None:
        """Take the vector of round ``number``, which was written to ``path`` by this process, as verified.

        Raises:
            SiteConfigError: the file cannot be read.
        """
        vector = _map_vector(path, number)
        self._known = _mark(path, sha256), vector


def _mark(path: Path, sha256: str) -> tuple[int, int, int, str]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size, sha256


def _map_vector(path: Path, number: int) -> Vector:
    try:
        return np.frombuffer(map_file(path), dtype="<f8")
    except (OSError, ValueError):
        raise _make_gone_error(path, number) from None


def _make_gone_error(path: Path, number: int) -> SiteConfigError:
    return SiteConfigError(f"{path}: the model of round {number} cannot be read")
