"""Collect a running site's metrics: connection, studies, bytes, refusals, budget left, certificates, disk, backup.

All of it is public or the site's own; epsilon is computed from public numbers by the ledger, never from records.
"""

import datetime
import importlib.metadata
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from client.connection.link import AgentEvent, Kind
from client.connection.tls_trust import read_authority_end
from client.site.folder import SiteFolder
from client.study.activity_log import ActivityLog
from client.study.context import StudyContext
from client.study.store import StudyStore
from client.study.waiting_studies import WaitingStudies
from privacy.accounting.figures import Budget
from privacy.backup import read_last_backup
from privacy.errors import Error, SiteConfigError
from privacy.ledger import Ledger
from privacy.metrics import Family, make_gauge
from privacy.protocol.messages import Reply, Request


class CountingActivity(ActivityLog):
    """An activity log that counts answers by what was asked, and refusals by their code."""

    def __init__(self, show: Callable[[str], None] = lambda line: None) -> None:
        super().__init__(show)
        self.answers: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()

    def report_answer(self, context: StudyContext, request: Request | Reply, reply: Reply) -> None:
        """Count and report an answer."""
        self.answers[request.kind] += 1
        super().report_answer(context, request, reply)

    def report_refusal(self, study: str, kind: str, code: str, sentence: str) -> None:
        """Count and report a refusal."""
        self.refusals[code] += 1
        super().report_refusal(study, kind, code, sentence)


class SiteMetrics:
    """The metrics of one running site.

    :meth:`count` is called by the agent, :meth:`collect` and :meth:`close` by one other thread.
    """

    def __init__(self, home: SiteFolder, activity: CountingActivity) -> None:
        self._home = home
        self._activity = activity
        self._connected = False
        self._bytes = {"in": 0, "out": 0}
        self._dropped = 0
        self._ledger: Ledger | None = None
        self._budgets: tuple[int, list[Budget]] = (-1, [])
        self._studies: dict[Path, tuple[int, StudyStore]] = {}

    def count(self, event: AgentEvent) -> None:
        """Count an event of the connection."""
        match event.kind:
            case Kind.ONLINE:
                self._connected = True
            case Kind.WAITING:
                self._connected = False
            case Kind.ASKED:
                self._bytes["in"] += event.size
            case Kind.ANSWERED:
                self._bytes["out"] += event.size
            case Kind.DROPPED:
                self._dropped += 1

    def collect(self) -> Iterator[Family]:
        """Yield the metrics now.

        Raises:
            Error: a file of the site cannot be read.
        """
        info = Family("consilium_site_info", "gauge", "The site and its program's version.")
        info.add(1, site=self._home.config.name, version=importlib.metadata.version("consilium"))
        yield info
        yield make_gauge("consilium_site_connected", "Whether the coordinator is reached.", self._connected)
        moved = Family("consilium_site_bytes_total", "counter", "Bytes of messages since the start, by direction.")
        for direction, number in self._bytes.items():
            moved.add(number, direction=direction)
        yield moved
        yield Family("consilium_site_messages_dropped_total", "counter", "Messages dropped.", [({}, self._dropped)])
        yield self._count(
            "consilium_site_answers_total", "Requests answered, by kind.", "kind", self._activity.answers
        )
        yield self._count("consilium_site_refusals_total", "Refusals, by code.", "code", self._activity.refusals)
        yield from self._collect_studies()
        yield from self._collect_ledger()
        yield from self._collect_upkeep()

    def close(self) -> None:
        """Close the ledger. Run by the thread that collects."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    @staticmethod
    def _count(name: str, help: str, label: str, counts: Counter[str]) -> Family:
        family = Family(name, "counter", help)
        for value, number in sorted(counts.copy().items()):
            family.add(number, **{label: value})
        return family

    def _collect_studies(self) -> Iterator[Family]:
        done = Family(
            "consilium_site_study_rounds", "gauge", "Rounds of an unfinished study that are applied here."
        )
        planned = Family("consilium_site_study_rounds_planned", "gauge", "Rounds of an unfinished study in all.")
        finished = 0
        for path in sorted((self._home.folder / "studies").glob("*/state.json")):
            store = self._read_study(path)
            if store.state.closed:
                finished += 1
                continue
            done.add(store.state.base, study=store.launch.study)
            planned.add(store.launch.terms.training.rounds, study=store.launch.study)
        yield done
        yield planned
        yield make_gauge("consilium_site_studies_finished", "Studies that ended with a model here.", finished)
        waiting = len(WaitingStudies(self._home).list_all())
        yield make_gauge("consilium_site_studies_waiting", "Studies that wait for a person here.", waiting)

    def _read_study(self, path: Path) -> StudyStore:
        changed = path.stat().st_mtime_ns
        known = self._studies.get(path)
        if known is None or known[0] != changed:
            known = self._studies[path] = (changed, StudyStore(path.parent))
        return known[1]

    def _collect_ledger(self) -> Iterator[Family]:
        try:
            if self._ledger is None:
                self._ledger = self._home.open_ledger()
            state = self._ledger.read_state()
        except Error:
            self.close()
            raise
        if self._budgets[0] != state.head.number:
            self._budgets = (state.head.number, state.list_budgets())
        yield make_gauge("consilium_site_ledger_entries", "Entries of the ledger.", state.head.number)
        granted = Family("consilium_site_epsilon_granted", "gauge", "Epsilon granted to a population, in all.")
        left = Family("consilium_site_epsilon_left", "gauge", "Epsilon left of what a population was granted.")
        for budget in self._budgets[1]:
            granted.add(budget.epsilon_granted or 0.0, population=budget.population)
            left.add(budget.epsilon_left, population=budget.population)
        yield granted
        yield left

    def _collect_upkeep(self) -> Iterator[Family]:
        now = datetime.datetime.now(datetime.UTC)
        left = Family(
            "consilium_site_certificate_remaining_seconds", "gauge", "Seconds until a certificate runs out."
        )
        left.add((self._home.credentials.load().ends - now).total_seconds(), certificate="own")
        left.add(read_authority_end(self._home.ca_path) - now.timestamp(), certificate="authority")
        yield left
        free = shutil.disk_usage(self._home.folder).free
        yield make_gauge("consilium_site_disk_free_bytes", "Room on the disk of the site's folder.", free)
        last = read_last_backup(self._home.folder, SiteConfigError)
        if last is not None:
            yield make_gauge("consilium_site_backup_timestamp_seconds", "When the last backup was made.", last.time)
