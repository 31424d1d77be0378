"""Decide what the coordinator does next in a study: a state machine without I/O.

::

    joining -> wrapping -> sealing -> releasing -> (commit) -> sealing -> ... -> closing -> done
       ^___________________|  a member lost its keys or came back, or too few members are left
    joining -> waiting -> wrapping   too few sites are here, because others are away; or people at sites decide

====================================  ===============================================================
part                                  phases
====================================  ===============================================================
``server/study/key_epochs.py``        joining, waiting, wrapping
``server/study/rounds.py``            sealing, releasing
``server/study/evaluation.py``        opening: after a commit, if totals decide on another round
``server/study/closing.py``           closing
this file                             giving up; it passes each event to the part of the present phase
====================================  ===============================================================

Which part follows another is in ``server/study/transitions.py``.

Rules:

* the caller delivers events (:meth:`StudyMachine.handle_answer`, :meth:`~StudyMachine.handle_failure`,
  :meth:`~StudyMachine.tick`) and carries out the returned actions in order; a ``Record`` is durable before the next
  action;
* after a restart the machine is built again from the history and asks the same questions; sites answer them with
  the same bytes;
* a reply counts only if it answers the site's present question; a reply to an older question has no effect;
* these stop a study until its operator resumes it: headers that differ, an aggregate that does not open, a refused
  release, too few sites that may take part, too long a wait for absent sites. Every stop says what the operator can
  do.
"""

from math import inf
from typing import Final

from privacy.protocol.key_messages import Wrap, Wrappings
from privacy.protocol.messages import (
    Close,
    Closed,
    GivenUp,
    GiveUp,
    Join,
    Joined,
    Open,
    Opened,
    Problem,
    Release,
    Released,
    Reply,
    Request,
    Sealed,
    Train,
    Waiting,
)
from privacy.refusal_codes import RefusalCode
from privacy.study.launch import SignedLaunch
from server.study.actions import Action, Ask, Note
from server.study.closing import Closing
from server.study.evaluation import TotalsOpening
from server.study.events import AggregatesRemoved, Finished, History
from server.study.key_epochs import KeyEpochs
from server.study.rounds import Rounds
from server.study.sites import SiteStatus, SiteView
from server.study.state import Phase, StudyState
from server.study.timeouts import Timeouts
from server.study.transitions import Step, Transitions

MAX_FAILURES: Final = 3
REMOVED: Final = "was removed from the federation"
_AT_REST: Final = (Phase.DONE, Phase.STOPPED)


class StudyMachine:
    """State machine of one study, built from the journal's history. Call :meth:`start` once."""

    def __init__(self, launch: SignedLaunch, history: History, timeouts: Timeouts) -> None:
        self._state = StudyState(launch, history, timeouts)
        self._transitions = Transitions(self._state)
        self._epochs = KeyEpochs(self._state, self._transitions)
        self._rounds = Rounds(self._state, self._transitions)
        self._totals = TotalsOpening(self._state, self._transitions)
        self._closing = Closing(self._state)
        self._transitions.connect(
            {
                Step.KEY_EPOCH: self._epochs.begin,
                Step.ROUND: self._rounds.begin,
                Step.TOTALS: self._totals.begin,
                Step.CLOSING: self._closing.begin,
            }
        )

    @property
    def phase(self) -> Phase:
        """What the study is waiting for."""
        return self._state.phase

    @property
    def sites(self) -> dict[str, SiteView]:
        """The coordinator's knowledge of each invited site."""
        return self._state.sites

    @property
    def history(self) -> History:
        """The state that follows from the study's events so far."""
        return self._state.history

    @property
    def evaluations(self) -> dict[int, tuple[int, ...]]:
        """The totals that sites have opened, by the round whose model was scored."""
        return self._state.evaluations

    def start(self, now: float, waited_s: float = 0.0) -> list[Action]:
        """Begin, or continue from the history in the same key epoch and attempt, if there is one.

        Args:
            now: seconds on the caller's clock.
            waited_s: seconds for which the study has waited for sites before this process.
        """
        state = self._state
        state.waited_s = waited_s
        if state.history.finished or state.history.stopped is not None:
            state.phase = Phase.DONE if state.history.finished else Phase.STOPPED
            return []
        if state.history.given_up:
            return self._give_up(now)
        if state.history.keys is None:
            return self._epochs.begin(now)
        self._epochs.enrol(state.history.keys)
        for site in state.list_sites_with(SiteStatus.EXPECTED):
            site.standing = SiteStatus.ABSENT
        actions: list[Action] = [Note("continuing after a restart")]
        if state.is_complete:
            return actions + self._closing.begin(now)
        return actions + (self._totals.begin(now) if state.unopened else self._rounds.begin_again(now))

    def awaits(self, ask: Ask) -> bool:
        """Return whether a reply to ``ask`` still counts: it is not answered yet, and no newer one replaced it."""
        question = self._state.sites[ask.site].question
        return question is not None and question.ask is ask

    def wants(self, name: str, reply: Reply) -> bool:
        """Return whether ``reply`` is a sealed update that the running sum still lacks."""
        return isinstance(reply, Sealed) and self._rounds.wants(name, reply)

    def handle_answer(self, name: str, reply: Reply, now: float) -> list[Action]:
        """Handle a verified reply to a question whose answer the machine :meth:`awaits`.

        If the machine :meth:`wants` the reply, the caller has added its blob to the running sum before.
        """
        site = self._state.sites[name]
        if self.phase in _AT_REST or site.question is None:
            return []
        asked = site.question.ask.request
        if not isinstance(reply, Problem) and not self._is_answer(site, asked, reply):
            return self.handle_failure(
                name, f"its '{reply.kind}' does not answer the '{asked.kind}' it was asked", now
            )
        match reply:
            case Problem():
                return self._handle_problem(site, asked, reply, now)
            case Joined():
                return self._epochs.handle_joined(site, reply, now)
            case Waiting():
                return self._epochs.handle_waiting(site, reply, now)
            case Wrappings():
                return self._epochs.handle_wrapped(site, reply, now)
            case Sealed():
                return self._rounds.handle_sealed(site, reply, now)
            case Released():
                return self._rounds.handle_released(site, reply, now)
            case Opened():
                return self._handle_opened(site, reply, now)
            case Closed():
                return self._handle_closed(site, reply)
            case GivenUp():
                return self._mark_told(site, "has given the study up")

    def _is_answer(self, site: SiteView, asked: Request, reply: Reply) -> bool:
        """Return whether ``reply`` has the kind and the round that ``asked`` needs."""
        match asked, reply:
            case (Join(), Joined() | Waiting()) | (Wrap(), Wrappings()):
                return True
            case Train(), Sealed():
                return self._rounds.wants(site.name, reply)
            case Release(), Released():
                return self._rounds.is_seed_of(site.name, reply)
            case Open(), Opened():
                brought = self._state.fits_round(reply.evaluated, reply.base) and self._closing.has_signed(
                    site, asked, reply
                )
                return reply.base >= asked.committed.round and brought
            case GiveUp(), GivenUp():
                return True
            case Close(), Closed():
                return reply.base == asked.base and self._state.fits_round(reply.evaluated, reply.base)
        return False

    def handle_failure(self, name: str, why: str, now: float) -> list[Action]:
        """Handle a failure or an invalid answer of a site; with the third one since it last sealed, it is out."""
        if self.phase in _AT_REST:
            return []
        site = self._state.sites[name]
        if self.phase is Phase.GIVING_UP:
            return self._mark_told(site, why)
        site.failures += 1
        actions: list[Action] = []
        if site.is_asked(Release):
            actions = self._state.exclude(site, f"made round {self._state.history.next_round} void: {why}")
        elif site.failures >= MAX_FAILURES:
            actions = self._state.exclude(site, f"failed {MAX_FAILURES} times; the last time: {why}")
        return actions + self._handle_lost_site(site, why, now)

    def handle_unreached(self, name: str, now: float) -> list[Action]:
        """Handle that the network does not reach a site: it is asked again soon, and lost if it stays offline.

        A site whose release is awaited is not lost before the time to release is over.
        """
        site = self._state.sites[name]
        if self.phase in (*_AT_REST, Phase.GIVING_UP) or site.question is None:
            return []
        first = site.question.offline_since is None
        offline_s = self._state.mark_offline(site, now)
        if site.is_asked(Release):
            wait = f"is offline; its release is waited for {self._state.timeouts.release_s:.0f} s"
            return [Note(wait, name)] if first else []
        return [] if offline_s < self._state.timeouts.offline_s else self._handle_lost_site(site, "is offline", now)

    def handle_restart(self, name: str, now: float) -> list[Action]:
        """Repeat a site's present question at once, because its process has just come online."""
        return [] if self.phase in _AT_REST else self._state.ask_now(self._state.sites[name], now)

    def remove_aggregates(self, upto: int) -> list[Action]:
        """Record that the aggregates of the rounds up to ``upto`` are removed; the caller removes them afterwards."""
        return self._state.record(AggregatesRemoved(upto=upto))

    def is_too_late(self, ask: Ask) -> bool:
        """Return whether ``ask`` brings an aggregate that is removed: its site has been behind for too long."""
        return ask.aggregate is not None and ask.aggregate <= self._state.history.removed

    def handle_too_late(self, name: str, now: float) -> list[Action]:
        """Handle that a site cannot catch up any more: it is out, and the study goes on without it."""
        site = self._state.sites[name]
        why = self._state.describe_too_late(site.base)
        return [] if why is None else self._state.exclude(site, why) + self._handle_lost_site(site, why, now)

    def handle_removal(self, name: str, now: float) -> list[Action]:
        """Handle that a site was removed from the federation: it is out, and the study goes on without it."""
        site = self._state.sites[name]
        if self.phase in _AT_REST or site.standing in (SiteStatus.OUT, SiteStatus.CLOSED):
            return []
        if self.phase is Phase.GIVING_UP:
            return self._mark_told(site, REMOVED)
        return self._state.exclude(site, REMOVED) + self._handle_lost_site(site, REMOVED, now)

    def _handle_lost_site(self, site: SiteView, why: str, now: float) -> list[Action]:
        return (
            self._epochs.handle_lost_sites([site], why, now)
            + self._rounds.handle_lost_sites([site], now)
            + self._totals.handle_lost_sites(now)
        )

    def tick(self, now: float) -> list[Action]:
        """Handle the passing of time: handle a timeout, repeat questions, ask absent sites to join."""
        if self.phase in _AT_REST:
            return []
        if self.phase is Phase.GIVING_UP:
            over = now >= self._state.deadline
            return self._finish_if_told(waited=True) if over else self._state.ask_again(now)
        if now >= self._state.deadline and (late := self._handle_timeout(now)):
            return late
        return [*self._state.ask_again(now), *self._epochs.look_for_absent(now)]

    def stop(self, why: str) -> list[Action]:
        """Stop the study until the operator resumes it."""
        return (
            []
            if self.phase in _AT_REST
            else self._state.stop(why, f"continue with: {self._state.format_resume_command()}")
        )

    def _handle_timeout(self, now: float) -> list[Action]:
        match self.phase:
            case Phase.JOINING | Phase.WAITING | Phase.WRAPPING:
                return self._epochs.handle_timeout(now)
            case Phase.SEALING | Phase.RELEASING:
                return self._rounds.handle_timeout(now)
            case Phase.OPENING:
                return self._totals.handle_timeout(now)
            case _:
                return self._closing.handle_timeout(now)

    def _handle_opened(self, site: SiteView, reply: Opened, now: float) -> list[Action]:
        site.base, site.has_keys, site.question = reply.base, True, None
        match self.phase:
            case Phase.OPENING:
                return self._totals.handle_opened(site, reply, now)
            case Phase.CLOSING:
                return self._closing.handle_opened(site, reply, now)
        return self._rounds.ask(site, now)

    def _ask_next_question(self, site: SiteView, now: float) -> list[Action]:
        """Ask a site the present phase's question, now that its base is known."""
        match self.phase:
            case Phase.CLOSING:
                return self._closing.ask_next_question(site, now)
            case Phase.OPENING:
                return self._totals.ask(site, now)
        return self._rounds.ask(site, now)

    def _handle_closed(self, site: SiteView, reply: Closed) -> list[Action]:
        self._state.take_counts(reply.evaluated)
        return self._closing.handle_closed(site, reply)

    def _give_up(self, now: float) -> list[Action]:
        """Ask every site whose account is open to give up.

        A site that is not reached frees its account when the days that the terms name have passed.
        """
        state = self._state
        state.phase, state.deadline = Phase.GIVING_UP, now + state.timeouts.join_s
        left = [site for _, site in sorted(state.sites.items()) if site.standing is not SiteStatus.CLOSED]
        return [
            *(state.ask(site, GiveUp(launch=state.launch_digest), now) for site in left),
            *self._finish_if_told(),
        ]

    def _mark_told(self, site: SiteView, text: str) -> list[Action]:
        site.question = None
        return [Note(text, site.name), *self._finish_if_told()]

    def _finish_if_told(self, *, waited: bool = False) -> list[Action]:
        untold = [name for name, site in sorted(self._state.sites.items()) if site.question is not None]
        if untold and not waited:
            return []
        self._state.phase = Phase.DONE
        left = f"; not reached: {', '.join(untold)}" if untold else ""
        return [*self._state.record(Finished()), Note(f"the study is given up{left}")]

    # Problems ----------------------------------------------------------------------------------------------

    def _handle_problem(self, site: SiteView, asked: Request, reply: Problem, now: float) -> list[Action]:
        """Handle a site's reply that a request had no effect; ``docs/wire.md`` has the table of codes."""
        if self.phase is Phase.GIVING_UP and reply.code is not RefusalCode.UNAVAILABLE:
            return self._mark_told(site, reply.sentence)
        joining, releasing = isinstance(asked, Join), isinstance(asked, Release)
        match reply.code:
            case RefusalCode.STALE:
                return []
            case RefusalCode.BEHIND if reply.base is not None and reply.base < site.base:
                site.base = reply.base
                return self._ask_next_question(site, now)
            case RefusalCode.OPENING_FAILED | RefusalCode.NOISE if not joining:
                return self._state.stop(f"{site.name}: {reply.sentence}", self._state.describe_new_launch())
            case RefusalCode.RELEASE_REFUSED if not joining:
                resume, launch = self._state.format_resume_command(), self._state.describe_new_launch()
                way_out = f"when it is clear why, run: {resume}; else {launch}"
                return self._state.stop(f"{site.name}: {reply.sentence}", way_out)
            case RefusalCode.RELEASED if self.phase is Phase.SEALING and self._state.history.release_asked:
                return self._rounds.mark_round_void([], now)
            case RefusalCode.UNAVAILABLE:
                return self._handle_unavailable(site, reply, now)
            case _ if joining:  # with any other code, the site does not admit the study
                return self._epochs.handle_refused(site, reply, now)
            case RefusalCode.KEYS_REFUSED:
                return self._epochs.refuse_grant(site) + self.handle_failure(site.name, reply.sentence, now)
            case RefusalCode.TOO_FEW | RefusalCode.DIFFERENT_MODELS:
                return self._state.exclude(site, reply.sentence) + self._handle_lost_site(site, reply.sentence, now)
            case RefusalCode.EPOCH_LOST:
                actions = self._handle_lost_site(site, reply.sentence, now)
                site.lost_at = -inf  # it has just answered, so it can be asked to join at once
                return actions
            case _ if isinstance(asked, Wrap):
                return self.handle_failure(site.name, f"cannot wrap the study's keys: {reply.sentence}", now)
            case (
                RefusalCode.FAILED | RefusalCode.REFUSED | RefusalCode.ENOUGH | RefusalCode.DATA | RefusalCode.LOST
            ) if not releasing:
                return self.handle_failure(site.name, reply.sentence, now)
        return self._handle_lost_site(site, reply.sentence, now)

    def _handle_unavailable(self, site: SiteView, reply: Problem, now: float) -> list[Action]:
        """Handle that a site cannot write now and has done nothing.

        A round continues without it; any other question is asked again soon.
        """
        if self.phase is Phase.SEALING and self._rounds.is_in_cohort(site):
            site.setbacks += 1
            return self._handle_lost_site(site, reply.sentence, now)
        self._state.ask_soon(site)
        return []
