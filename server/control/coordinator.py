"""``consilium up``: the coordinator's process. It keeps the SuperLink and every open study running.

* If a Flower run ends before its study, the next run continues the study from the journal.
* If the SuperLink ends, it is started again; processes that a killed coordinator left are stopped first.
* A site that is enrolled meanwhile is registered at once, and the node of a removed one is taken away at once.
* Certificates are renewed before they expire.

What people may ask of it is in ``server/control/study_calls.py`` and ``server/control/membership.py``.
"""

import logging
import threading
import time
from contextlib import AbstractContextManager
from typing import Final

from privacy.errors import FederationError, SuperLinkError, WireError
from privacy.metrics import serve_metrics
from server.control.membership import Membership
from server.control.message_calls import MessageCalls
from server.control.metrics import CoordinatorMetrics
from server.control.runs import Runs
from server.control.server import ControlServer
from server.control.study_calls import StudyCalls
from server.control.transfers import Transfers
from server.federation.folder import Federation
from server.study.aggregates import Aggregates
from server.study.events import StudyStatus
from server.study.journal import Journal
from server.superlink.control_api import RemovedKeyError
from server.superlink.message_marks import MessageMarks
from server.superlink.process import SuperLink
from server.superlink.server_app import FOLDER, STUDY

_log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 1.0
_RENEW_EVERY_S: Final = 24 * 3600.0
_RETRY_S: Final = (1.0, 60.0)  # back-off after a run that ended early: the first wait, doubled up to the second
_WATCH_EVERY_S: Final = 0.2


class Coordinator:
    """The running coordinator of one federation."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        host, port = federation.config.superlink
        self._superlink = SuperLink(federation.folder, federation.tls, port, host)
        self._runs = Runs()
        self._finished: set[str] = set()
        self._registered: dict[str, str] | None = None
        self._activations: dict[str, str] = {}
        self._renewed = time.time()

    def serve(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set.

        Raises:
            SuperLinkError: the SuperLink does not start.
            FederationError: the folder cannot be used.
        """
        with self._superlink:
            self._register_sites()
            self._messages = MessageCalls(MessageMarks(self._federation.message_marks_path))
            self._control = self._open_control()
            try:
                with self._serve_metrics():
                    while not stop.wait(_LOOK_EVERY_S):
                        self._keep_everything_running()
            finally:
                self._messages.close()
                self._control.close()

    def _serve_metrics(self) -> AbstractContextManager[None]:
        metrics = CoordinatorMetrics(self._federation, self._superlink.control.list_nodes)
        port = self._federation.config.metrics_port
        return serve_metrics(port, metrics.collect, _log.warning, metrics.forget_studies)

    def _open_control(self) -> ControlServer:
        membership = Membership(self._federation, self._superlink)
        studies = StudyCalls(self._federation, self._runs)
        transfers = Transfers(self._federation)
        handlers = {**membership.handlers, **studies.handlers, **transfers.handlers}
        streamers = {**membership.streamers, **studies.streamers, **self._messages.streamers, **transfers.streamers}
        port = self._federation.config.control
        return ControlServer(self._federation, handlers, streamers, port, transfers.receivers)

    def _keep_everything_running(self) -> None:
        try:
            self._renew_certificates()
            if self._superlink.process is None:
                _log.warning("the SuperLink ended; starting it again")
                self._superlink.stop()
                self._superlink.start()
            self._register_sites()
            if open_studies := self._list_open_studies():
                self._record_activations()
            for study in open_studies:
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
            self._control.close()
            self._control = self._open_control()

    def _register_sites(self) -> None:
        """Take away the nodes of sites that are not enrolled now, then register those of enrolled ones.

        A site whose key is refused cannot connect; the others can, and what it is about is in the log.
        """
        keys = {name: site.node_key for name, site in self._federation.read_sites().items()}
        if keys == self._registered:
            return
        api, known = self._superlink.control, self._federation.read_nodes()
        self._unregister({node for name, node in known.items() if name not in keys})
        nodes = {}
        for name, key in keys.items():
            try:
                nodes[name] = api.register_node(key)
            except (RemovedKeyError, WireError) as error:
                _log.warning("the site '%s' cannot connect: %s", name, error)
        self._unregister(set(known.values()) - set(nodes.values()))  # of a name that has another key now
        self._federation.write_nodes(nodes)
        self._registered = keys

    def _unregister(self, nodes: set[int]) -> None:
        """Take nodes away; those that are away already are left out, since Flower would refuse them."""
        if nodes:
            for node in nodes & set(self._superlink.control.list_nodes()):
                self._superlink.control.unregister_node(node)

    def _record_activations(self) -> None:
        """Record when agents came online: runs cannot see that, and a restarted site has lost its question."""
        activated, names = self._superlink.control.list_activations(), self._federation.read_nodes()
        seen = {name: activated[node] for name, node in names.items() if node in activated}
        if seen != self._activations:
            self._federation.write_activations(seen)
            self._activations = seen

    def _list_open_studies(self) -> list[str]:
        """List the studies that are open; a finished one is cleaned once, and its journal not read again."""
        found = []
        for study in self._federation.list_studies():
            if study in self._finished:
                continue
            with Journal(self._federation.find_study_folder(study)) as journal:
                status = journal.read_status()
            if status is StudyStatus.OPEN:
                found.append(study)
            elif status is StudyStatus.FINISHED:
                self._finished.add(study)
                try:
                    Aggregates(self._federation.find_study_folder(study)).remove_all()
                except FederationError as error:
                    _log.warning("%s", error)
        return found

    def _continue_study(self, study: str) -> None:
        """Start a run for an open study that has none."""
        config: dict[str, str | int] = {FOLDER: str(self._federation.folder.resolve()), STUDY: study}
        self._runs.keep_running(study, self._superlink.control, config)
