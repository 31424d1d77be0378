"""Record which patient is in which population, without a list of names: keyed digests of patient identifiers.

::

    patients/secret                      32 random bytes of this site, readable by their owner only
    patients/NAME-COMMITMENT.digests     the population's patients, every one it ever had: sorted digests
    patients/objections.digests          patients who take part in no later study (``client/data/objections.py``)

Rules:

* a patient's digest is HMAC-SHA256 (RFC 2104) of the identifier's folded form (``client/data/identifiers.py``)
  under the site's secret: equal at this site, others cannot compute or test it, and the same for ``00012``, ``12``
  and ``12.0``;
* a budget belongs to people. So a file is refused if its patients are in another population, or are written like
  patients of it, until people say that those are other patients. The refusal names their number;
* what people say of two populations is in the ledger with the number of patients, and holds for these patients:
  patients who are in the population are not asked about again, new ones are;
* a population only grows: a patient who is no longer in its file has still been paid for;
* the ledger holds a commitment to each population's digests, so that they cannot be lost or cut unnoticed.
"""

import fcntl
import hashlib
import hmac
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from client.data.objections import (
    DIGEST_BYTES,
    Objections,
    compute_patient_digest,
    read_objections,
    write_objections,
)
from privacy import labels
from privacy.errors import KeyFileError, RefusedError, SiteConfigError
from privacy.files import replace_file
from privacy.keys import generate_secret, read_secret
from privacy.refusal_codes import RefusalCode

_COMMITMENT: Final = labels.make_prefix(labels.PATIENTS)


class Admitted(NamedTuple):
    """A population's patients, as the ledger records them.

    ``commitment`` is to their digests. ``said_different`` counts, by the name of another population, the patients
    who are written like patients of it and are other people, as this site's people have said.
    """

    commitment: str
    said_different: dict[str, int]


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
        """Create an empty register with a fresh secret."""
        folder.mkdir(mode=0o700)
        generate_secret(folder / "secret")
        register = cls(folder)
        write_objections(register._objections_path, register._secret, {})
        return register

    @contextmanager
    def hold_lock(self) -> Iterator[None]:
        """Keep other processes from changing the register while the block runs."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def admit(
        self,
        population: str,
        patients: Iterable[str],
        known: Mapping[str, str],
        different_from: Collection[str] = (),
    ) -> Admitted:
        """Add ``patients`` to ``population``, after checking that they are in no other one.

        The caller holds :meth:`hold_lock`.

        Args:
            population: its name.
            patients: identifiers of all patients in the files.
            known: the commitment of every population in the ledger.
            different_from: populations that people have said to be of other patients, whatever the identifiers are.

        Returns:
            What the ledger is to record. The digests are on disk when this returns.

        Raises:
            RefusedError: ``same-patients``, with their number.
            SiteConfigError: the register is not the one that the ledger has committed to.
        """
        everybody = self.compare(population, patients, known, different_from)
        data = b"".join(sorted(everybody))
        commitment = self._compute_commitment(population, data)
        replace_file(self._build_path(population, commitment), data, SiteConfigError)
        different = {
            name: len(everybody & digests) for name, digests in self._read_other_digests(population, known).items()
        }
        return Admitted(commitment, {name: count for name, count in different.items() if count})

    def compare(
        self,
        population: str,
        patients: Iterable[str],
        known: Mapping[str, str],
        different_from: Collection[str] = (),
    ) -> frozenset[bytes]:
        """Compare ``patients`` with the populations that are not theirs; change nothing.

        Arguments as :meth:`admit`.

        Returns:
            The digests of all patients who would be in ``population``.

        Raises:
            RefusedError: ``same-patients``, with their number.
            SiteConfigError: the register is not the one that the ledger has committed to.
        """
        own = self._read_digests(population, known[population]) if population in known else set()
        named = {compute_patient_digest(self._secret, patient) for patient in patients}
        for name, digests in self._read_other_digests(population, known).items():
            shared = len((named - own) & digests)
            if shared and name not in different_from:
                raise RefusedError(RefusalCode.SAME_PATIENTS, _describe_shared_patients(shared, len(named), name))
        return frozenset(own | named)

    def forget_older(self, population: str, commitment: str) -> None:
        """Remove the files that ``commitment`` replaced, once the ledger holds it."""
        kept = self._build_path(population, commitment)
        for path in self._folder.glob(f"{population}-*.digests"):
            # a population's name may have hyphens: only the end of fixed length is cut off
            if path != kept and path.name[: -len("-0123456789abcdef.digests")] == population:
                path.unlink()

    def count_patients(self, patients: Iterable[str], known: Mapping[str, str]) -> dict[str, int]:
        """Count the ``patients`` that each of the ``known`` populations holds, without populations that hold none.

        Raises:
            SiteConfigError: the register is not the one that the ledger has committed to.
        """
        asked = {compute_patient_digest(self._secret, patient) for patient in patients}
        counts = {name: len(asked & self._read_digests(name, commitment)) for name, commitment in known.items()}
        return {name: count for name, count in counts.items() if count}

    def find_unknown(self, patients: Iterable[str], known: Mapping[str, str]) -> list[str]:
        """Return those of ``patients`` who are in none of the ``known`` populations.

        Raises:
            SiteConfigError: the register is not the one that the ledger has committed to.
        """
        everybody = set[bytes]().union(
            *(self._read_digests(name, commitment) for name, commitment in known.items())
        )
        return [patient for patient in patients if compute_patient_digest(self._secret, patient) not in everybody]

    def count_objecting(self, known: Mapping[str, str]) -> dict[str, int]:
        """Count the patients who object in each of the ``known`` populations.

        Raises:
            SiteConfigError: the register is damaged, or not the one that the ledger has committed to.
        """
        objecting = set(self.load_objections().since)
        return {name: len(objecting & self._read_digests(name, commitment)) for name, commitment in known.items()}

    def add_objections(self, patients: Iterable[str], date: str) -> int:
        """Leave ``patients`` out of every later study; return how many object now.

        Args:
            patients: their identifiers.
            date: today, as ``2026-03-31``; patients who object already keep their day.

        Raises:
            SiteConfigError: the file is damaged, or cannot be written.
        """
        with self.hold_lock():
            named = {compute_patient_digest(self._secret, patient): date for patient in patients}
            since = {**named, **self.load_objections().since}
            write_objections(self._objections_path, self._secret, since)
        return len(since)

    def take_back_objections(self, patients: Iterable[str]) -> int:
        """Let ``patients`` take part in later studies again; return how many object now.

        Raises:
            SiteConfigError: the file is damaged, or cannot be written.
        """
        with self.hold_lock():
            named = {compute_patient_digest(self._secret, patient) for patient in patients}
            since = {digest: date for digest, date in self.load_objections().since.items() if digest not in named}
            write_objections(self._objections_path, self._secret, since)
        return len(since)

    def load_objections(self) -> Objections:
        """Read which patients object now.

        Raises:
            SiteConfigError: the file is damaged or lost.
        """
        return read_objections(self._objections_path, self._secret)

    @property
    def _objections_path(self) -> Path:
        return self._folder / "objections.digests"

    def _read_other_digests(self, population: str, known: Mapping[str, str]) -> dict[str, set[bytes]]:
        return {
            name: self._read_digests(name, commitment) for name, commitment in known.items() if name != population
        }

    def _read_digests(self, population: str, commitment: str) -> set[bytes]:
        path = self._build_path(population, commitment)
        if not path.exists() or self._compute_commitment(population, path.read_bytes()) != commitment:
            raise SiteConfigError(
                f"{path}: the digests of the population '{population}' are not those the ledger has committed to; "
                "restore the folder 'patients' from your backup"
            )
        data = path.read_bytes()
        return {data[start : start + DIGEST_BYTES] for start in range(0, len(data), DIGEST_BYTES)}

    def _compute_commitment(self, population: str, data: bytes) -> str:
        return hmac.new(self._secret, _COMMITMENT + population.encode() + b"\0" + data, hashlib.sha256).hexdigest()

    def _build_path(self, population: str, commitment: str) -> Path:
        return self._folder / f"{population}-{commitment[:16]}.digests"


def _describe_shared_patients(shared: int, patients: int, population: str) -> str:
    """Describe which patients are in another population too, and what people can do."""
    return (
        f"{shared} of these {patients} patients are in the population '{population}', or are written like patients of "
        "it (00012, 12 and 12.0 are alike): the same patients have one budget; register the files under it "
        f"(--population {population}), or leave those patients out, or, if they are other people who have the same "
        f"numbers, say so, for the ledger (--different-from {population})"
    )
