"""Run one study to its end inside a Flower run; called by ``server/superlink/server_app.py``.

A study may need several Flower runs. Everything it needs is in its journal, so that a new run continues where the
last one ended, however it ended.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from privacy.errors import FederationError, WireError
from privacy.protocol.envelope import Envelope, read_body
from privacy.protocol.messages import Sealed
from privacy.study.launch import Member
from server.federation.folder import Federation
from server.study.journal import Journal
from server.study.runner import Arrival, StudyRunner
from server.study.uploads import Uploads
from server.superlink.grid import SiteMessages
from server.superlink.message_marks import MessageMarks, ReplyMark

_LOOK_EVERY_S: Final = 0.1
_LOOK_AT_MARK_S: Final = 0.01
_ASK_EVERY_S: Final = 1.0
"""How often the SuperLink is asked for replies although no mark says that one has come."""
_LOOK_AT_MEMBERS_S: Final = 1.0
_TTL_S: Final = 24 * 3600.0


class GridTransport:
    """The transport over Flower's grid, with sites by name; see :class:`server.study.runner.Transport`."""

    def __init__(
        self, grid: SiteMessages, federation: Federation, roster: Sequence[Member], uploads: Uploads
    ) -> None:
        self._grid = grid
        self._federation = federation
        self._roster = roster
        self._marks = MessageMarks(federation.message_marks_path)
        self._replies = ReplyMark(federation.folder / "superlink")
        self._asked_at, self._seen = 0.0, 0
        self._removed: list[str] = []
        self._look_at = 0.0
        self._uploads = uploads
        self._activations = federation.read_activations()
        self._nodes = nodes = federation.read_nodes()
        self._names = {node: name for name, node in nodes.items()}

    def send(self, site: str, envelope: Envelope, reply_bytes: int) -> str:
        """Send ``envelope``; return the message's id, empty for a site that was removed and cannot be reached."""
        if site not in self._nodes:
            return ""
        if reply_bytes:
            self._uploads.expect(site, reply_bytes)
        message = self._grid.send(self._nodes[site], envelope, _TTL_S)
        self._marks.mark(site)
        return message

    def receive_arrivals(self, coming: Callable[[str], None]) -> Iterator[Arrival]:
        """Yield the replies that have arrived since the last call."""
        seen, now = self._replies.read(), time.monotonic()
        if seen == self._seen and now < self._asked_at + _ASK_EVERY_S:
            return
        self._seen, self._asked_at = seen, now
        for reply in self._grid.poll(lambda node: coming(self._names[node])):
            arrival = Arrival(reply.message_id, self._names[reply.node_id], reply.envelope, reply.error, reply.lost)
            mask = _find_mask(arrival)
            yield arrival if mask is None else self._attach_update(arrival, mask)
            if mask is not None:  # the caller has added it, or does not want it
                self._uploads.discard(arrival.site, mask)

    def _attach_update(self, arrival: Arrival, mask: str) -> Arrival:
        """Attach the sealed update that a reply names; without it, the reply is lost."""
        assert arrival.envelope is not None
        update = self._uploads.map(arrival.site, mask)
        if update is None:
            return replace(arrival, envelope=None, error="its sealed update has not come", lost=True)
        return replace(arrival, envelope=replace(arrival.envelope, blobs=(update,)))

    def expect_no_update(self, site: str) -> None:
        """Take no further sealed update of ``site`` until it is asked for one again."""
        self._uploads.expect_no_more(site)

    def forget_updates(self) -> None:
        """Remove what has come of sealed updates, and take none before a site is asked for one."""
        self._uploads.clear()

    def give_up(self, message: str) -> None:
        """Stop waiting for the reply to ``message``."""
        self._grid.forget(message)

    def wait_for_replies(self, longest_s: float) -> None:
        """Wait until something has come, ``longest_s`` seconds at most."""
        until = time.monotonic() + longest_s
        while self._replies.read() == self._seen and time.monotonic() < until:
            time.sleep(_LOOK_AT_MARK_S)

    def find_removed_sites(self) -> list[str]:
        """List the study's sites that are not enrolled any more under the key that was invited."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_AT_MEMBERS_S
            sites = self._federation.read_sites()
            self._removed = [
                member.name
                for member in self._roster
                if member.name not in sites or sites[member.name].identity != member.identity
            ]
        return self._removed

    def find_restarted_sites(self) -> list[str]:
        """List the sites whose agent has come online since the last call."""
        before, self._activations = self._activations, self._federation.read_activations()
        return [
            name for name, when in self._activations.items() if name in self._nodes and before.get(name) != when
        ]


def _find_mask(arrival: Arrival) -> str | None:
    """Return the mask of the sealed update that a reply names; None if it names none, or cannot be read."""
    if arrival.envelope is None:
        return None
    try:
        content = read_body(arrival.envelope).content
    except WireError:  # refused, with its reason, by whoever verifies it
        return None
    return content.header.statement.own_mask if isinstance(content, Sealed) else None


def run(folder: Path, study: str, grid: SiteMessages) -> None:
    """Run ``study`` until it is finished or stopped.

    Args:
        folder: the federation's folder.
        study: its identifier.
        grid: the run's sites.

    Raises:
        FederationError: there is no such study, another process runs it, or an invited site has no node.
    """
    federation = Federation(folder)
    nodes = federation.read_nodes()
    with Journal(federation.find_study_folder(study)) as journal:
        journal.lock()
        roster, uploads = journal.read_launch().statement.roster, Uploads.of_study(journal.folder)
        missing = sorted({member.name for member in roster} & set(federation.read_sites()) - set(nodes))
        if missing:
            raise FederationError(f"these sites are not registered with the SuperLink: {', '.join(missing)}")
        transport = GridTransport(grid, federation, roster, uploads)
        conductor = StudyRunner(
            journal,
            federation.load_identity(),
            federation.open_witness(),
            federation.timeouts,
            transport,
            int(federation.config.aggregates_gb * 1e9),
        )
        uploads.clear()
        conductor.begin(time.monotonic())
        while conductor.running:
            if not conductor.step(time.monotonic()):
                transport.wait_for_replies(_LOOK_EVERY_S)
        uploads.clear()
