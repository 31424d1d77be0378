"""Collect a running coordinator's metrics: sites, studies, rounds, phases, bytes, refusals, certificates, disk, backup.

A study's notes are read once: each scrape adds those that are new.
"""

import datetime
import importlib.metadata
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from privacy.backup import read_last_backup
from privacy.client_certificate import read_certificate
from privacy.errors import FederationError, SuperLinkError
from privacy.metrics import Family, make_gauge
from server.federation.folder import Federation
from server.study.events import StudyStatus
from server.study.journal import Journal
from server.study.notes import ReplyReceived, RequestSent, RoundDone, RoundVoided, StudyNote
from server.study.state import Phase

_FINAL: Final = frozenset({StudyStatus.FINISHED, StudyStatus.GIVEN_UP})


@dataclass
class _Study:
    """What the notes of one study add up to, as far as they were read."""

    last: int = 0
    status: StudyStatus = StudyStatus.OPEN
    phase: Phase | None = None
    rounds: set[int] = field(default_factory=set)
    void: set[int] = field(default_factory=set)
    bytes_up: int = 0
    bytes_down: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    def add(self, note: StudyNote) -> None:
        """Add one note."""
        self.last = note.number
        self.phase = note.phase or self.phase
        match note:
            case RequestSent():
                self.bytes_down += note.bytes
            case ReplyReceived():
                self.bytes_up += note.bytes
                if note.code is not None:
                    self.refusals[note.code] += 1
            case RoundDone():
                self.rounds.add(note.round)
            case RoundVoided():
                self.void.add(note.round)


class CoordinatorMetrics:
    """The metrics of one running coordinator; :meth:`collect` is called by one thread.

    Args:
        federation: its folder.
        list_nodes: returns by node whether it is online; raises SuperLinkError while Flower's SuperLink restarts.
    """

    def __init__(self, federation: Federation, list_nodes: Callable[[], dict[int, bool]]) -> None:
        self._federation = federation
        self._list_nodes = list_nodes
        self._studies: dict[str, _Study] = {}

    def collect(self) -> Iterator[Family]:
        """Yield the metrics now.

        Raises:
            FederationError: a file of the federation cannot be read.
        """
        info = Family("consilium_coordinator_info", "gauge", "The federation and its program's version.")
        info.add(1, federation=self._federation.config.federation, version=importlib.metadata.version("consilium"))
        yield info
        yield from self._collect_sites()
        yield from self._collect_studies()
        yield from self._collect_upkeep()

    def forget_studies(self) -> None:
        """Forget what was read of studies."""
        self._studies.clear()

    def _collect_sites(self) -> Iterator[Family]:
        try:
            nodes, answers = self._list_nodes(), True
        except SuperLinkError:
            nodes, answers = {}, False
        yield make_gauge("consilium_coordinator_superlink_up", "Whether Flower's SuperLink answers.", answers)
        online = Family("consilium_coordinator_site_online", "gauge", "Whether an enrolled site is online.")
        known = self._federation.read_nodes()
        for name in sorted(self._federation.read_sites()):
            online.add(nodes.get(known.get(name, -1), False), site=name)
        yield online
        requests = [
            each for each in self._federation.open_invitations().read().values() if each.request is not None
        ]
        waiting = sum(each.admission is None for each in requests)
        yield make_gauge("consilium_coordinator_join_requests", "Join requests that wait for a person.", waiting)

    def _collect_studies(self) -> Iterator[Family]:
        states = Counter(dict.fromkeys(StudyStatus, 0))
        rounds = Family(
            "consilium_coordinator_study_rounds", "gauge", "Exchanges of an open study that are committed."
        )
        void = Family(
            "consilium_coordinator_study_rounds_void", "gauge", "Exchanges of an open study that are void."
        )
        phase = Family("consilium_coordinator_study_phase", "gauge", "1 for the phase that an open study is in.")
        moved = Family(
            "consilium_coordinator_bytes_total", "counter", "Bytes of all studies, as the sites see them."
        )
        refused = Family("consilium_coordinator_refusals_total", "counter", "Refusals by sites, by code.")
        for name in self._federation.list_studies():
            study = self._read_study(name)
            states[study.status] += 1
            if study.status in _FINAL:
                continue
            rounds.add(len(study.rounds), study=name)
            void.add(len(study.void), study=name)
            if study.phase is not None:
                phase.add(1, study=name, phase=study.phase)
        everything = self._studies.values()
        moved.add(sum(each.bytes_up for each in everything), direction="up")
        moved.add(sum(each.bytes_down for each in everything), direction="down")
        codes: Counter[str] = sum((each.refusals for each in everything), Counter())
        for code, number in sorted(codes.items()):
            refused.add(number, code=code)
        studies = Family("consilium_coordinator_studies", "gauge", "Studies, by their status.")
        for status, number in states.items():
            studies.add(number, status=status)
        yield from (studies, rounds, void, phase, moved, refused)

    def _read_study(self, name: str) -> _Study:
        study = self._studies.setdefault(name, _Study())
        if study.status in _FINAL:
            return study
        with Journal(self._federation.find_study_folder(name)) as journal:
            for note in journal.read_notes(study.last):
                study.add(note)
            study.status = journal.read_exact_status()
        return study

    def _collect_upkeep(self) -> Iterator[Family]:
        now = datetime.datetime.now(datetime.UTC)
        left = Family(
            "consilium_coordinator_certificate_remaining_seconds", "gauge", "Seconds until a certificate runs out."
        )
        for which, path in self._list_certificates():
            ends = read_certificate(path.read_text("ascii")).not_valid_after_utc
            left.add((ends - now).total_seconds(), certificate=which)
        yield left
        free = shutil.disk_usage(self._federation.folder).free
        yield make_gauge(
            "consilium_coordinator_disk_free_bytes", "Room on the disk of the federation's folder.", free
        )
        last = read_last_backup(self._federation.folder, FederationError)
        if last is not None:
            yield make_gauge(
                "consilium_coordinator_backup_timestamp_seconds", "When the last backup was made.", last.time
            )

    def _list_certificates(self) -> list[tuple[str, Path]]:
        found = [("authority", self._federation.tls.ca), ("server", self._federation.tls.certificate)]
        if self._federation.config.gateway:
            found.append(("gateway", self._federation.folder / "gateway" / "gateway.crt"))
        return found
