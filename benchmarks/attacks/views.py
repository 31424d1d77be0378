"""One round of a study over sites in memory, and what each party sees of one site's update in it.

================  ======================================================================================================
party             what it has
================  ======================================================================================================
``coordinator``   the bytes that the site sends
``site``          the opened sum of all sites, and its own update
``both``          the bytes, the opened sum, and the update of one other site
``reader``        the model before and after the round, which is the opened sum
================  ======================================================================================================
"""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.audit.canaries import SiteRecords, write_records
from client.audit.memory_rounds import MemoryRounds, SeenRound
from client.data.dataset import StudyFiles
from client.training.interface import TrainingInterface
from client.training.session import TrainingSession
from privacy.randomness import KeyStream, from_os
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.quantise import dequantise
from privacy.secure_aggregation.round_layout import make_grid
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.study import SchemeName, Terms, parse_terms
from privacy.study.cost import compute_study_noise

Vector = NDArray[np.float64]
VICTIM: Final = "victim"


class Party(StrEnum):
    """Who attacks."""

    COORDINATOR = "coordinator"
    SITE = "a site"
    BOTH = "both together"
    READER = "reader of the model"


@dataclass(frozen=True)
class Protection:
    """What is switched on."""

    epsilon: float | None = None
    sealing: bool = False

    @property
    def title(self) -> str:
        """The name of a row."""
        privacy = "no privacy" if self.epsilon is None else f"epsilon {self.epsilon:g}"
        return f"{privacy}, {'sealed' if self.sealing else 'not sealed'}"


UNPROTECTED: Final = Protection()
PROTECTIONS: Final = (
    UNPROTECTED,
    Protection(sealing=True),
    Protection(epsilon=8.0),
    Protection(epsilon=8.0, sealing=True),
)


def protect(study: Mapping[str, Any], protection: Protection) -> Terms:
    """Return the terms of ``study``, written without privacy, with the protection switched on."""
    privacy: dict[str, Any] = {"epsilon": "none"}
    if protection.epsilon is not None:
        privacy = {"epsilon": protection.epsilon, "delta": 1e-5, "clipping_norm": 1.0}
    scheme = SchemeName.BFV if protection.sealing else SchemeName.OPEN
    sealing = {**study.get("secure_aggregation", {}), "scheme": scheme.value}
    return parse_terms({**study, "privacy": privacy, "secure_aggregation": sealing})


class ShownRound:
    """A round, and each party's view of the victim's update in it.

    Args:
        terms: the study, of local noise or none.
        sites: the records of each site, at least three, of which the first is the victim.
        public_patients: of each site.
        stream: randomness of the sites; fresh from the operating system unless a test gives one.
    """

    def __init__(
        self,
        terms: Terms,
        sites: Mapping[str, SiteRecords],
        public_patients: int,
        stream: KeyStream | None = None,
    ) -> None:
        self.terms, self._sites, self._patients = terms, tuple(sites), public_patients
        noise = None if terms.privacy.epsilon is None else compute_study_noise(terms)
        with tempfile.TemporaryDirectory(prefix="attack-") as folder:
            sessions: dict[str, TrainingInterface] = {
                name: TrainingSession(
                    terms, write_site(Path(folder) / name, terms, records, public_patients), "cpu"
                )
                for name, records in sites.items()
            }
            rounds = MemoryRounds(
                terms, sessions, dict.fromkeys(sites, public_patients), noise, stream or from_os()
            )
            self.seen: SeenRound = next(iter(rounds.run()))
            self._layout = rounds.layout
        self._grid = make_grid(terms, 0, noise)

    def look(self, party: Party) -> Vector:
        """Return the best guess of the victim's update that ``party`` can make without any attack; (P,)."""
        others = self._sites[1:]
        match party:
            case Party.COORDINATOR:
                return self._dequantise(read_sent(self._layout, self.seen.sealed[VICTIM]), 1)
            case Party.SITE | Party.READER:
                return self._dequantise(self.seen.opened, len(self._sites)) / len(self._sites)
            case Party.BOTH:
                if self.terms.secure_aggregation.scheme is SchemeName.OPEN:
                    return self.look(Party.COORDINATOR)
                own = self.seen.integers[others[0]].astype(np.int64)
                return self._dequantise(self.seen.opened - own, len(others)) / len(others)

    def _dequantise(self, total: NDArray[np.int64], sites: int) -> Vector:
        return dequantise(total, sites, self._grid)


def read_sent(layout: Layout, sent: bytes) -> NDArray[np.int64]:
    """Read what a site sent as if it were not sealed: the coordinator has no key; (P,).

    Of sealed bytes the words of the ciphertext are taken for integers: there is nothing better to take.
    """
    if not layout.cipher.masked:
        size = layout.cipher.sealed_bytes
        parts = [sent[start : start + size] for start in range(0, len(sent), size)]
        nobody = StudyKey.generate()
        slots = np.concatenate([layout.cipher.decrypt(nobody, part, 1) for part in parts])
        return layout.unpack(slots, 1, range(layout.parts)).values.astype(np.int64)
    words = np.frombuffer(sent[: len(sent) // 4 * 4], dtype="<u4")[: layout.parameters]
    return (words & ((1 << layout.bits) - 1)).astype(np.int64)


def write_site(folder: Path, terms: Terms, records: SiteRecords, patients: int) -> StudyFiles:
    """Write a site's records to ``folder``, as a site registers them with a public count of ``patients``."""
    folder.mkdir()
    first = np.arange(len(records.owners)) == 0
    train = write_records(folder / "train.npz", terms, {"p": records})
    test = write_records(folder / "test.npz", terms, {"t": records.select(first)})
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (train, test)]
    return StudyFiles(terms.data, train, test, digests[0], digests[1], patients)
