"""Keep which patients take part in no later study: keyed digests of patients, with the day of each objection.

::

    patients/objections.digests     for each patient 32 bytes of digest and a date (2026-03-31); sorted, then a seal

Rules:

* the seal is HMAC-SHA256 (RFC 2104) under the site's secret. The file exists from the beginning: if it is lost or
  cut, nothing is admitted;
* it holds no identifier, so it gives no list of names: people name a patient, and learn whether they object;
* an objection is of every patient written alike (``client/data/identifiers.py``): that of ``00012`` leaves out
  ``12`` as well;
* an objection that is taken back counts for studies admitted from then on, like the objection itself.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from client.data.identifiers import fold, normalise
from privacy import labels
from privacy.errors import SiteConfigError
from privacy.files import replace_file

_PATIENT: Final = labels.make_prefix(labels.PATIENT)
_OBJECTIONS: Final = labels.make_prefix(labels.OBJECTIONS)
DIGEST_BYTES: Final = hashlib.sha256().digest_size
_DATE_BYTES: Final = len("2026-03-31")
_RECORD_BYTES: Final = DIGEST_BYTES + _DATE_BYTES


@dataclass(frozen=True)
class Objections:
    """The patients to be left out, recognised by their digest.

    Attributes:
        secret: the site's.
        since: the day of each patient's objection, by their digest.
    """

    secret: bytes = field(repr=False)
    since: Mapping[bytes, str] = field(repr=False)

    @property
    def texts(self) -> tuple[str, ...]:
        """The digests as sorted hexadecimal."""
        return tuple(sorted(digest.hex() for digest in self.since))

    def select(self, texts: Iterable[str]) -> "Objections":
        """Return the objections of ``texts`` alone: those that a study was admitted with.

        Patients who have objected since, or no longer object, change nothing for that study.
        """
        digests = [bytes.fromhex(text) for text in texts]
        return Objections(self.secret, {digest: self.since.get(digest, "") for digest in digests})

    def includes(self, patient: str) -> bool:
        """Return whether ``patient`` objects."""
        return self.find_date(patient) is not None

    def find_date(self, patient: str) -> str | None:
        """Return the day on which ``patient`` objected; None if they do not object."""
        return self.since.get(compute_patient_digest(self.secret, patient)) if self.since else None


def compute_patient_digest(secret: bytes, patient: str) -> bytes:
    """Compute the keyed digest of an identifier in its folded form, 32 bytes."""
    return hmac.new(secret, _PATIENT + fold(normalise(patient)).encode("utf-8"), hashlib.sha256).digest()


def read_objections(path: Path, secret: bytes) -> Objections:
    """Read which patients object now.

    Raises:
        SiteConfigError: the file is damaged or lost.
    """
    data = path.read_bytes() if path.exists() else b""
    records, seal = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if not hmac.compare_digest(seal, _compute_seal(secret, records)):
        raise SiteConfigError(
            f"{path}: the patients who object are not as this site wrote them down: the file is lost, cut or "
            "altered; restore the folder 'patients' from your backup"
        )
    parts = [records[start : start + _RECORD_BYTES] for start in range(0, len(records), _RECORD_BYTES)]
    return Objections(secret, {each[:DIGEST_BYTES]: each[DIGEST_BYTES:].decode("ascii") for each in parts})


def write_objections(path: Path, secret: bytes, since: Mapping[bytes, str]) -> None:
    """Replace the file by ``since``, with its seal.

    Raises:
        SiteConfigError: it cannot be written.
    """
    records = b"".join(digest + since[digest].encode("ascii") for digest in sorted(since))
    replace_file(path, records + _compute_seal(secret, records), SiteConfigError)


def _compute_seal(secret: bytes, records: bytes) -> bytes:
    return hmac.new(secret, _OBJECTIONS + records, hashlib.sha256).digest()
