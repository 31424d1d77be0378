"""Who is in which population, without a list of names: keyed digests of patient identifiers.

::

    patients/secret                      32 bytes of this site's, its owner's alone
    patients/NAME-COMMITMENT.digests     the population's patients, every one it ever had: sorted digests
    patients/objections.digests          patients who take part in no later study: sorted digests, then a seal on them

Rules:

* a patient's digest is HMAC-SHA256 of the identifier under the site's secret: equal at this site, a guess for nobody
  else; identifiers are compared as they are written, without spaces around them;
* a budget belongs to people, so a file whose patients are in another population is refused with their number;
* a population only grows: who has left its file has still been paid for;
* the book holds a commitment to each population's digests, so that they cannot be lost or cut unnoticed;
* the file of objections is there from the beginning and sealed with the secret: lost or cut, nothing is admitted.
"""

import fcntl
import hashlib
import hmac
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from privacy.durable import replace
from privacy.errors import KeyFileError, RefusedError, SiteConfigError
from privacy.keys import generate_secret, read_secret

_PATIENT: Final = b"consilium patient v1\0"
_COMMITMENT: Final = b"consilium patients v1\0"
_OBJECTIONS: Final = b"consilium objections v1\0"
_BYTES: Final = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Objections:
    """Patients to be left out, recognised by their digest."""

    secret: bytes = field(repr=False)
    digests: frozenset[bytes] = field(repr=False)

    @property
    def texts(self) -> tuple[str, ...]:
        """The digests as sorted hexadecimal."""
        return tuple(sorted(digest.hex() for digest in self.digests))

    def among(self, texts: Iterable[str]) -> "Objections":
        """Those of ``texts``: what a study was admitted with, whoever has objected since."""
        return Objections(self.secret, frozenset(bytes.fromhex(text) for text in texts))

    def hold(self, patient: str) -> bool:
        """Whether ``patient`` objects."""
        return bool(self.digests) and patient_digest(self.secret, patient) in self.digests


def patient_digest(secret: bytes, patient: str) -> bytes:
    """The keyed digest of an identifier, 32 bytes."""
    name = unicodedata.normalize("NFC", patient.strip()).encode("utf-8")
    return hmac.new(secret, _PATIENT + name, hashlib.sha256).digest()


class PatientRegister:
    """The folder ``patients`` of a site."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._secret = read_secret(folder / "secret")
        except KeyFileError as error:
            raise SiteConfigError(
                f"{error}; without it no patient is recognised: restore it from your backup"
            ) from None

    @classmethod
    def create(cls, folder: Path) -> "PatientRegister":
        """Begin an empty register with a fresh secret."""
        folder.mkdir(mode=0o700)
        generate_secret(folder / "secret")
        register = cls(folder)
        register._keep_objections(set())
        return register

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While this lasts no other process changes the register."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def admit(self, population: str, patients: Iterable[str], known: Mapping[str, str]) -> str:
        """Add ``patients`` to ``population``, once they are seen to be in no other. To be done :meth:`alone`.

        Args:
            population: its name.
            patients: identifiers of everybody in the files.
            known: the commitment of every population in the book.

        Returns:
            The population's new commitment, for the book. The digests are on disk when this returns.

        Raises:
            RefusedError: ``same-patients``, with their number.
            SiteConfigError: the register is not the one that the book has committed to.
        """
        new = {patient_digest(self._secret, patient) for patient in patients}
        for name, commitment in known.items():
            both = len(new & self._digests(name, commitment)) if name != population else 0
            if both:
                raise RefusedError(
                    "same-patients",
                    f"{both} of these {len(new)} patients are in the population '{name}': the same patients have one "
                    f"budget; register the files under it (--population {name}), or leave those patients out",
                )
        everybody = new | (self._digests(population, known[population]) if population in known else set())
        data = b"".join(sorted(everybody))
        commitment = self._commitment(population, data)
        replace(self._path(population, commitment), data, SiteConfigError)
        return commitment

    def forget_older(self, population: str, commitment: str) -> None:
        """Remove what was replaced, once the book holds ``commitment``."""
        kept = self._path(population, commitment)
        for path in self._folder.glob(f"{population}-*.digests"):
            if path != kept and path.name[: -len("-0123456789abcdef.digests")] == population:
                path.unlink()

    def count(self, patients: Iterable[str], known: Mapping[str, str]) -> dict[str, int]:
        """How many of ``patients`` each of the ``known`` populations holds, without those that hold none.

        Raises:
            SiteConfigError: the register is not the one that the book has committed to.
        """
        asked = {patient_digest(self._secret, patient) for patient in patients}
        counts = {name: len(asked & self._digests(name, commitment)) for name, commitment in known.items()}
        return {name: count for name, count in counts.items() if count}

    def object(self, patients: Iterable[str]) -> int:
        """Leave ``patients`` out of every later study; how many object now.

        Raises:
            SiteConfigError: the file is damaged, or cannot be written.
        """
        with self.alone():
            objecting = {patient_digest(self._secret, patient) for patient in patients} | self.objections().digests
            self._keep_objections(objecting)
        return len(objecting)

    def objections(self) -> Objections:
        """Who objects, as of now.

        Raises:
            SiteConfigError: the file is damaged or lost.
        """
        path = self._objections_path
        data = path.read_bytes() if path.exists() else b""
        digests, seal = data[:-_BYTES], data[-_BYTES:]
        if not hmac.compare_digest(seal, self._seal(digests)):
            raise SiteConfigError(
                f"{path}: the patients who object are not as this site wrote them down: the file is lost, cut or "
                "altered; restore the folder 'patients' from your backup"
            )
        return Objections(self._secret, frozenset(_split(digests)))

    def _keep_objections(self, objecting: Iterable[bytes]) -> None:
        digests = b"".join(sorted(objecting))
        replace(self._objections_path, digests + self._seal(digests), SiteConfigError)

    def _seal(self, digests: bytes) -> bytes:
        return hmac.new(self._secret, _OBJECTIONS + digests, hashlib.sha256).digest()

    @property
    def _objections_path(self) -> Path:
        return self._folder / "objections.digests"

    def _digests(self, population: str, commitment: str) -> set[bytes]:
        path = self._path(population, commitment)
        if not path.exists() or self._commitment(population, path.read_bytes()) != commitment:
            raise SiteConfigError(
                f"{path}: the digests of the population '{population}' are not those the book has committed to; "
                "restore the folder 'patients' from your backup"
            )
        return set(_split(path.read_bytes()))

    def _commitment(self, population: str, data: bytes) -> str:
        return hmac.new(self._secret, _COMMITMENT + population.encode() + b"\0" + data, hashlib.sha256).hexdigest()

    def _path(self, population: str, commitment: str) -> Path:
        return self._folder / f"{population}-{commitment[:16]}.digests"


def _split(data: bytes) -> list[bytes]:
    return [data[start : start + _BYTES] for start in range(0, len(data), _BYTES)]
