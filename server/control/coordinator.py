"""``consilium up``: the coordinator's process. It keeps the SuperLink and every open study running.

* If a Flower run ends before its study, the next run continues the study from the journal.
* If the SuperLink ends, it is started again; processes that a killed coordinator left are stopped first.
* A site that is enrolled meanwhile is registered at once.
* Certificates are renewed before they expire.
"""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

from privacy.errors import FederationError, SuperLinkError
from privacy.study import parse_terms
from server.control.server import ControlServer
from server.federation.folder import Federation
from server.results.read import read_summary
from server.study.events import GaveUp, Resumed, SiteReadmitted, StudyStatus
from server.study.journal import Journal
from server.study.notes import Heartbeat, WatchEnded
from server.study.runner import STOP_FILE
from server.study.state import StudyState
from server.superlink.process import SuperLink
from server.superlink.server_app import FOLDER, STUDY

_log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.5
_RENEW_EVERY_S: Final = 24 * 3600.0
_RETRY_S: Final = (1.0, 60.0)  # back-off after a run that ended early: the first wait, doubled up to the second
_WATCH_EVERY_S: Final = 0.2


class _Run:
    """The Flower run of a study, and the back-off after a run that ended early."""

    def __init__(self) -> None:
        self.id: int | None = None
        self.wait_s = _RETRY_S[0]
        self.not_before = 0.0
        self.why = ""


class Coordinator:
    """The running coordinator of one federation."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._superlink = SuperLink(
            federation.folder, federation.tls, federation.config.port, federation.config.listens_at
        )
        self._runs: dict[str, _Run] = {}
        self._activations: dict[str, str] = {}
        self._lock = threading.Lock()
        self._renewed = time.time()

    def serve(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set.

        Raises:
            SuperLinkError: the SuperLink does not start.
            FederationError: the folder cannot be used.
        """
        with self._superlink:
            self._register_sites()
            control = ControlServer(
                self._federation.folder,
                {
                    "sites": self._list_sites,
                    "launch": self._launch,
                    "studies": self._list_studies,
                    "stop": self._stop,
                    "resume": self._resume,
                    "give-up": self._give_up,
                },
                {"watch": self._watch},
            )
            try:
                while not stop.wait(_LOOK_EVERY_S):
                    self._keep_everything_running()
            finally:
                control.close()

    def _keep_everything_running(self) -> None:
        try:
            self._renew_certificates()
            if self._superlink.process is None:
                _log.warning("the SuperLink ended; starting it again")
                self._superlink.stop()
                self._superlink.start()
            self._register_sites()
            self._record_activations()
            for study in self._federation.list_studies():
                self._continue_study(study)
        except SuperLinkError as error:
            _log.warning("%s", error)

    def _renew_certificates(self) -> None:
        """Renew certificates once a day; the SuperLink then restarts with the new one, and studies continue."""
        if abs(time.time() - self._renewed) < _RENEW_EVERY_S:
            return
        self._renewed = time.time()
        if sentences := self._federation.renew_certificates():
            for sentence in sentences:
                _log.warning("%s", sentence)
            self._superlink.stop()

    def _register_sites(self) -> None:
        known, sites = self._federation.read_nodes(), self._federation.read_sites()
        if set(known) != set(sites):
            nodes = {name: self._superlink.control.register_node(site.node_key) for name, site in sites.items()}
            self._federation.write_nodes(nodes)

    def _record_activations(self) -> None:
        """Record when agents came online: runs cannot see that, and a restarted site has lost its question."""
        activated, names = self._superlink.control.list_activations(), self._federation.read_nodes()
        seen = {name: activated[node] for name, node in names.items() if node in activated}
        if seen != self._activations:
            self._federation.write_activations(seen)
            self._activations = seen

    def _continue_study(self, study: str) -> None:
        """Start a run for an open study that has none."""
        with Journal(self._federation.find_study_folder(study)) as journal:
            if journal.read_status() is not StudyStatus.OPEN:
                return
        with self._lock:
            run = self._runs.setdefault(study, _Run())
            now = time.monotonic()
            if run.id is not None:
                status = self._superlink.control.read_run_status(run.id)
                if not status.state.finished:
                    return
                run.id, run.not_before, run.why = None, now + run.wait_s, status.reason
                run.wait_s = min(2 * run.wait_s, _RETRY_S[1])
                _log.warning("%s: its run ended early: %s", study, status.reason or status.state)
            if now >= run.not_before:
                run.id = self._superlink.control.start_run(
                    {FOLDER: str(self._federation.folder.resolve()), STUDY: study}
                )
                _log.info("%s: run %d", study, run.id)

    # What the operator may ask -----------------------------------------------------------------------------

    def _list_sites(self, _: dict[str, Any]) -> dict[str, Any]:
        nodes = self._federation.read_nodes()
        try:
            online = self._superlink.control.list_nodes()
        except SuperLinkError:  # it is restarting
            online = {}
        return {
            "sites": [
                {"name": name, "online": online.get(nodes.get(name, -1), False)}
                for name, site in sorted(self._federation.read_sites().items())
            ]
        }

    def _launch(self, arguments: dict[str, Any]) -> dict[str, Any]:
        terms = parse_terms(arguments["terms"])
        return {"study": self._federation.launch(terms, arguments["parameters"], arguments["sites"])}

    def _list_studies(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"studies": [self._summarise_study(study) for study in self._federation.list_studies()]}

    def _summarise_study(self, study: str) -> dict[str, Any]:
        summary, run = read_summary(self._federation.find_study_folder(study)), self._runs.get(study)
        if run is not None and not summary.why:
            summary = summary.model_copy(update={"why": run.why})
        return summary.model_dump(mode="json")

    def _stop(self, arguments: dict[str, Any]) -> dict[str, Any]:
        with Journal(self._federation.require_study_folder(arguments["study"])) as journal:
            standing = journal.read_status()
            if standing is StudyStatus.OPEN:
                (journal.folder / STOP_FILE).touch()
        return {"standing": standing}

    def _resume(self, arguments: dict[str, Any]) -> dict[str, Any]:
        with Journal(self._federation.require_study_folder(arguments["study"])) as journal:
            history = journal.read_history()
            if journal.read_status() is StudyStatus.FINISHED:
                raise FederationError(f"the study '{arguments['study']}' is finished; launch a new one")
            for site in arguments["readmit"]:
                if site not in history.out:
                    out = ", ".join(sorted(history.out)) or "none"
                    raise FederationError(f"'{site}' is not out of this study; sites that are out: {out}")
            if history.stopped is None:
                raise FederationError(
                    "the study runs; before sites are re-admitted, stop it: "
                    f"consilium study stop {arguments['study']}"
                )
            readmitted = [SiteReadmitted(site=site) for site in arguments["readmit"]]
            self._require_enough(journal, readmitted)
            for event in readmitted:
                journal.record(event)
            # Before Resumed: a run that finds the stop file stops the study again.
            (journal.folder / STOP_FILE).unlink(missing_ok=True)
            journal.record(Resumed())
        with self._lock:
            self._runs.pop(arguments["study"], None)
        return {}

    def _require_enough(self, journal: Journal, readmitted: list[SiteReadmitted]) -> None:
        """Refuse to resume a study that would stop again at once because too few sites may take part."""
        history = journal.read_history()
        for event in readmitted:
            history.apply(event)
        lack = StudyState(journal.read_launch(), history, self._federation.timeouts).describe_lack()
        if lack is not None:
            raise FederationError("; ".join(lack))

    def _give_up(self, arguments: dict[str, Any]) -> dict[str, Any]:
        with Journal(self._federation.require_study_folder(arguments["study"])) as journal:
            if journal.read_status() is StudyStatus.FINISHED:
                raise FederationError(f"the study '{arguments['study']}' is finished; there is nothing to give up")
            if journal.read_status() is not StudyStatus.STOPPED:
                raise FederationError(f"the study runs; stop it first: consilium study stop {arguments['study']}")
            (journal.folder / STOP_FILE).unlink(missing_ok=True)
            journal.record(GaveUp())
            journal.record(Resumed())  # so that a run starts, which informs every site
        with self._lock:
            self._runs.pop(arguments["study"], None)
        return {}

    def _watch(self, arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield a study's notes after a number, oldest first, until the study is finished or stopped."""
        with Journal(self._federation.require_study_folder(arguments["study"])) as journal:
            last = arguments["after"]
            while True:
                # The status is read before the notes, so that the last notes are not missed.
                standing = journal.read_status()
                for note in journal.read_notes(after=last):
                    last = note.number
                    yield note.model_dump(mode="json")
                now = time.time()
                if standing is not StudyStatus.OPEN:
                    ended = WatchEnded(time=now, standing=standing, why=journal.read_history().stopped or "")
                    yield ended.model_dump(mode="json")
                    return
                yield Heartbeat(time=now).model_dump(mode="json")
                time.sleep(_WATCH_EVERY_S)
