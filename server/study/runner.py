"""Run a study: carry out the machine's actions on disk and network, and pass the sites' replies to the machine.

Rules:

* a reply counts only if its site signed it, it answers the request that was sent, and its blob is the one that its
  header names. Any other reply, and any error in reading it, is a failure of that site, never of the study;
* the terms fix the size of each sealed update; another one is not taken;
* a site whose replies crash this process twice is out, and the study continues without it
  (``server/study/crash_marks.py``);
* a sealed update is added to the running sum when it arrives, and is not kept;
* what it reports to people is typed, and has nothing of a record (``server/study/notes.py``).
"""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from models.tasks.registry import list_figures
from privacy.canonical import compute_sha256
from privacy.errors import CoordinatorError, FederationError, ProtocolError, WireError
from privacy.files import map_file, replace_file
from privacy.keys import PublicKey, SessionKey, SigningKey
from privacy.ledger.signed_head import LedgerHead
from privacy.protocol.envelope import Blob, BlobNote, Envelope, make_envelope, note_blob, open_envelope
from privacy.protocol.headers import MAX_HEAD_BYTES
from privacy.protocol.key_messages import Wrappings
from privacy.protocol.messages import (
    Closed,
    GivenUp,
    Join,
    Joined,
    Problem,
    Release,
    Released,
    Reply,
    Request,
    Sealed,
    Train,
    Waiting,
)
from privacy.secure_aggregation.aggregate import Aggregate
from privacy.secure_aggregation.round_layout import layout_of
from privacy.secure_aggregation.schemes.registry import SCHEMES
from privacy.signed import Signed as SignedStatement
from privacy.step_times import describe_steps, measure_step, take_steps
from privacy.study import COORDINATOR
from server.study.actions import Action, Ask, Commit, Note, Record, Restart
from server.study.aggregates import MOST_BYTES, Aggregates
from server.study.crash_marks import MOST_CRASHES, CrashMarks
from server.study.events import RoundCommitted, RoundVoid, SiteOut, Stopped
from server.study.figures import compute_evaluation_result, find_known_totals, find_told_totals
from server.study.journal import Journal
from server.study.machine import REMOVED, StudyMachine
from server.study.notes import (
    FiguresOpened,
    Remark,
    ReplyReceived,
    RequestSent,
    RoundDone,
    RoundVoided,
    StudyBegan,
    StudyNote,
    StudyStopped,
)
from server.study.sites import SiteStatus
from server.study.state import Phase
from server.study.timeouts import Timeouts
from server.study.witness import Witness

_log = logging.getLogger(__name__)

STOP_FILE: Final = "stop"
HANDLING_FILE: Final = "handling"
_OURS: Final = (CoordinatorError, OSError, sqlite3.Error)
"""Errors that are not the fault of the site whose reply is handled: of the folder, the network, the operator."""


@dataclass(frozen=True)
class Arrival:
    """The result of a message: an envelope, or an error; ``lost`` if the error does not come from the site."""

    message: str
    site: str
    envelope: Envelope | None
    error: str = ""
    lost: bool = False


class Transport(Protocol):
    """The interface through which messages reach sites."""

    def send(self, site: str, envelope: Envelope, reply_bytes: int) -> str:
        """Send without waiting, and return the message's id.

        The reply's blob has exactly ``reply_bytes`` bytes; 0 for none.
        """
        ...

    def receive_arrivals(self, coming: Callable[[str], None]) -> Iterator[Arrival]:
        """Yield the arrivals since the last call; call ``coming`` with the site's name before each is read."""
        ...

    def expect_no_update(self, site: str) -> None:
        """Take no further sealed update of ``site`` until it is asked for one again."""
        ...

    def forget_updates(self) -> None:
        """Remove what has come of sealed updates, and take none before a site is asked for one."""
        ...

    def give_up(self, message: str) -> None:
        """Stop looking for the reply to ``message``."""
        ...

    def find_restarted_sites(self) -> list[str]:
        """Return the sites whose process has come online since the last call."""
        ...

    def find_removed_sites(self) -> list[str]:
        """Return the study's sites that are not enrolled any more under the key that was invited."""
        ...


class StudyRunner:
    """The run of one study by this process."""

    def __init__(
        self,
        journal: Journal,
        key: SigningKey,
        witness: Witness,
        timeouts: Timeouts,
        transport: Transport,
        aggregate_bytes: int = MOST_BYTES,
    ) -> None:
        signed = journal.read_launch()
        self._journal = journal
        self._key = key
        self._witness = witness
        self._transport = transport
        self._aggregates = Aggregates(journal.folder, aggregate_bytes)
        self._noted: tuple[int, BlobNote] | None = None
        """The round whose aggregate was asked to be opened last, and its digest, computed once for all sites."""
        self._launch = signed.statement
        self._identities = {member.name: PublicKey.from_text(member.identity) for member in self._launch.roster}
        self._handling = CrashMarks(journal.folder / HANDLING_FILE)
        self._exclude_lost_sites()
        self._machine = StudyMachine(signed, journal.read_history(), timeouts)
        self._known = {each.round for each in find_known_totals(self._launch.terms, self._machine.history)[0]}
        """Rounds whose figures are reported already."""
        self._sum: Aggregate | None = None
        self._asked: dict[str, tuple[Ask, str]] = {}

    @property
    def machine(self) -> StudyMachine:
        """The study's state machine."""
        return self._machine

    @property
    def running(self) -> bool:
        """Whether there is anything left to do."""
        return self._machine.phase not in (Phase.DONE, Phase.STOPPED)

    def begin(self, now: float) -> None:
        """Start the study, or continue it."""
        terms = self._launch.terms
        private, sealed = terms.privacy.epsilon is not None, SCHEMES[terms.secure_aggregation.scheme].masked
        figures = list_figures(terms.task, terms.data)
        self._report(StudyBegan(private=private, sealed=sealed, exchanges=terms.last_round, figures=figures))
        self._aggregates.clean_up(self._machine.history.removed)
        self._carry_out(self._machine.start(now, self._journal.compute_waited_s()), now)

    def _exclude_lost_sites(self) -> None:
        """Exclude, before anything is asked, sites that were removed or whose replies crash this process."""
        history = self._journal.read_history()
        if history.finished:
            return
        deadly = f"this process died {MOST_CRASHES} times over a reply of its"
        lost = dict.fromkeys(self._handling.take_crashing_sites(), deadly)
        lost |= dict.fromkeys(self._transport.find_removed_sites(), REMOVED)
        for site, why in lost.items():
            if site in self._identities and site not in {*history.out, *history.closed}:
                self._journal.record(SiteOut(site=site, why=why))
                self._journal.append_note(
                    Remark(site=site, text=f"is out: {why}", standing=SiteStatus.OUT, why=why)
                )

    def step(self, now: float) -> bool:
        """Handle what has arrived and the passing of time, and return whether anything arrived."""
        busy = False
        for site in self._transport.find_removed_sites():
            self._carry_out(self._machine.handle_removal(site, now), now)
        for site in self._transport.find_restarted_sites():
            self._carry_out(self._machine.handle_restart(site, now), now)
        try:
            for arrival in self._transport.receive_arrivals(self._handling.begin):
                busy = True
                self._handling.begin(arrival.site)
                self._carry_out(self._handle_arrival(arrival, now), now)
                self._handling.end()
        except _OURS:
            self._handling.take_back()
            raise
        self._handling.take_back()  # the mark of a reply that has not arrived completely
        for message, (ask, _) in tuple(self._asked.items()):
            if not self._machine.awaits(ask):
                del self._asked[message]
                self._transport.give_up(message)
        stop = self._journal.folder / STOP_FILE
        if stop.exists():
            self._carry_out(self._machine.stop("the operator stopped the study"), now)
            stop.unlink()
        self._carry_out(self._machine.tick(now), now)
        return busy

    # Actions -----------------------------------------------------------------------------------------------

    def _carry_out(self, actions: list[Action], now: float) -> None:
        late = []
        for action in actions:
            match action:
                case Record(event):
                    self._journal.record(event)
                    self._report_event(event)
                case Ask() if self._machine.is_too_late(action):
                    late.append(action.site)
                case Ask():
                    self._ask(action)
                case Restart(number, base):
                    self._transport.forget_updates()  # those of the attempt before are of no use
                    self._sum = Aggregate(layout_of(self._launch, number, base))
                case Commit():
                    self._commit(action)
                case Note(text, site):
                    _log.info("%s%s", f"{site}: " if site else "", text)
                    self._report(self._make_remark(text, site))
        for site in late:
            self._carry_out(self._machine.handle_too_late(site, now), now)

    def _ask(self, ask: Ask) -> None:
        blobs: tuple[Blob, ...] = ()
        notes: tuple[BlobNote, ...] = ()
        if ask.aggregate is not None:
            blobs = (map_file(self._journal.find_aggregate_path(ask.aggregate)),)
            if self._noted is None or self._noted[0] != ask.aggregate:
                self._noted = ask.aggregate, note_blob(blobs[0])
            notes = (self._noted[1],)
        request = ask.request
        if isinstance(request, Join | Train):
            request = request.model_copy(update={"witnessed": self._witness.read_newest_head(ask.site)})
        envelope = make_envelope(
            self._key,
            request,
            study=self._launch.study,
            sender=COORDINATOR,
            receiver=ask.site,
            number=self._journal.take_next_number(),
            blobs=blobs,
            notes=notes,
        )
        message = self._transport.send(ask.site, envelope, self._count_blob_bytes(request))
        self._asked[message] = (ask, compute_sha256(envelope.body))
        if not self._decides(ask.site):  # it is asked for days, and nothing is new
            self._report(_describe_request(ask.site, request, envelope.size))

    def _decides(self, site: str) -> bool:
        return self._machine.sites[site].standing is SiteStatus.DECIDING

    def _count_blob_bytes(self, request: Request) -> int:
        """Return the size in bytes of the blob in a reply to ``request``."""
        if not isinstance(request, Train):
            return 0
        return layout_of(self._launch, request.round, request.base).sealed_bytes

    def _commit(self, commit: Commit) -> None:
        assert self._sum is not None
        committed = commit.committed
        context = committed.view.to_bytes()
        with measure_step("masks off"):
            self._sum.subtract_masks({site: bytes.fromhex(seed) for site, seed in commit.seeds.items()}, context)
        with measure_step("write"):
            replace_file(self._journal.find_aggregate_path(committed.round), self._sum.write(), FederationError)
        self._sum = None
        self._aggregates.add(committed.round)
        if excess := self._aggregates.find_excess():
            # durable before the files are gone: the machine asks nobody to open them
            for action in self._machine.remove_aggregates(excess):
                assert isinstance(action, Record)
                self._journal.record(action.event)
            self._aggregates.remove(excess)
        _log.info("round %d is stored: %s", committed.round, describe_steps(take_steps()))

    # Replies -----------------------------------------------------------------------------------------------

    def _handle_arrival(self, arrival: Arrival, now: float) -> list[Action]:
        ask, asked = self._asked.pop(arrival.message, (None, ""))
        if ask is None or not self._machine.awaits(ask):
            return []
        if arrival.envelope is None:
            if arrival.lost:
                _log.info("%s: %s", arrival.site, arrival.error)
                return self._machine.handle_unreached(arrival.site, now)
            return self._machine.handle_failure(arrival.site, arrival.error, now)
        try:
            with measure_step("verify"):
                reply, blob = self._verify_reply(arrival.site, arrival.envelope, asked)
            if self._machine.wants(arrival.site, reply):
                assert self._sum is not None
                with measure_step("add"):
                    self._sum.add(blob)
                self._transport.expect_no_update(arrival.site)
        except _OURS:
            raise
        except Exception as error:
            why = error if isinstance(error, ProtocolError) else f"it cannot be read ({type(error).__name__})"
            return self._machine.handle_failure(arrival.site, f"its reply is refused: {why}", now)
        if not (isinstance(reply, Waiting) and self._decides(arrival.site)):
            self._report(_describe_reply(arrival.site, reply, arrival.envelope.size))
        return self._machine.handle_answer(arrival.site, reply, now)

    def _verify_reply(self, site: str, envelope: Envelope, asked: str) -> tuple[Reply, Blob]:
        identity = self._identities[site]
        body = open_envelope(envelope, identity)
        if (body.sender, body.receiver, body.study) != (site, COORDINATOR, self._launch.study):
            raise WireError(f"it is from '{body.sender}' to '{body.receiver}' about {body.study}")
        if body.answers != asked:
            raise WireError("it answers another request")
        reply = body.content
        if not isinstance(reply, Reply):
            raise WireError(f"'{reply.kind}' is no reply")
        match reply:
            case Joined():
                # Refuse an invalid key here; later it would make the lead fail.
                SessionKey().agree(reply.offer.verify(identity).session_key, b"")
            case Wrappings():
                reply.grant.verify(identity)
        if isinstance(reply, Joined | Sealed | Closed | GivenUp):
            self._record_ledger_head(site, reply.ledger)
        if not isinstance(reply, Sealed):
            if body.blobs:
                raise WireError(f"its '{reply.kind}' brings a blob that nobody asked for")
            return reply, b""
        header = reply.header.verify(identity)
        if [header.blob] != [note.sha256 for note in body.blobs]:
            raise WireError("its sealed update is not the one its header names")
        if header.totals != (None if reply.evaluated is None else reply.evaluated.digest):
            raise WireError("its totals are not those whose digest its header names")
        return reply, envelope.blobs[0]

    def _record_ledger_head(self, site: str, ledger_state: SignedStatement[LedgerHead]) -> None:
        if ledger_state.verify(self._identities[site]).site != site:
            raise WireError("it shows the head of another site's ledger")
        if (size := len(ledger_state.to_bytes())) > MAX_HEAD_BYTES:
            raise WireError(f"its ledger's head has {size} bytes, expected at most {MAX_HEAD_BYTES}")
        self._witness.countersign(ledger_state)

    # Notes -------------------------------------------------------------------------------------------------

    def _report(self, note: StudyNote) -> None:
        self._journal.append_note(note.model_copy(update={"phase": self._machine.phase}))

    def _make_remark(self, text: str, site: str | None) -> Remark:
        if site is None:
            return Remark(text=text)
        view = self._machine.sites[site]
        return Remark(text=text, site=site, standing=view.standing, why=view.why)

    def _report_event(self, event: object) -> None:
        match event:
            case RoundCommitted(committed=committed):
                self._report(RoundDone(round=committed.round, attempt=committed.attempt, sites=committed.cohort))
            case RoundVoid():
                self._report(RoundVoided(round=event.round, sites=tuple(event.sites)))
            case Stopped():
                self._report(StudyStopped(why=event.why))
        terms, history = self._launch.terms, self._machine.history
        for totals in find_told_totals(terms, history, event):
            if totals.round not in self._known:
                self._known.add(totals.round)
                self._report(FiguresOpened(**dict(compute_evaluation_result(terms, history, totals))))


def _describe_request(site: str, request: Request, size: int) -> RequestSent:
    match request:
        case Train() | Release():
            return RequestSent(
                site=site, what=request.kind, bytes=size, round=request.round, attempt=request.attempt
            )
        case _:
            return RequestSent(site=site, what=request.kind, bytes=size)


def _describe_reply(site: str, reply: Reply, size: int) -> ReplyReceived:
    what = reply.kind
    match reply:
        case Sealed():
            header = reply.header.statement
            return ReplyReceived(
                site=site,
                what=what,
                bytes=size,
                round=header.view.round,
                attempt=header.view.attempt,
                epsilon=header.epsilon_spent,
            )
        case Released():
            return ReplyReceived(site=site, what=what, bytes=size, round=reply.round, attempt=reply.attempt)
        case Closed():
            return ReplyReceived(site=site, what=what, bytes=size, epsilon=reply.epsilon_spent)
        case Problem():
            return ReplyReceived(site=site, what=what, bytes=size, code=reply.code, text=reply.sentence)
        case _:
            return ReplyReceived(site=site, what=what, bytes=size)
