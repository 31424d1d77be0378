"""The life of a study at the coordinator: a state machine without I/O.

::

    joining -> wrapping -> sealing -> releasing -> (commit) -> sealing -> ... -> closing -> done
       ^___________________|  a member lost its keys, came back, or too few are left
    joining -> waiting -> wrapping   too few are here, since others are away

Key epochs are told in ``server/study/key_epochs.py``, a round in ``server/study/rounds.py``; where totals decide
whether another round follows, ``opening`` comes after the commit (``server/study/evaluation.py``); the end is told
in ``server/study/closing.py``; here is how they follow each other. Whoever drives the machine delivers events
(:meth:`StudyMachine.handle_answer`, :meth:`~StudyMachine.handle_failure`, :meth:`~StudyMachine.tick`) and carries
out the actions returned, in order; a ``Record`` is durable before the next. After a restart the machine is built
anew from the history and asks the same questions; sites answer them with the same bytes.

A reply counts only if it answers the question that stands: what a site says to an older one has no effect.

What stops a study until its operator resumes it: headers that differ, an aggregate that does not open, a release
that is refused, too few sites that may take part, too long a wait for sites that are away. Every stop names the way
out.
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
)
from privacy.refusal_codes import RefusalCode
from privacy.study.launch import SignedLaunch
from server.study.actions import Action, Ask, Note
from server.study.closing import Closing
from server.study.evaluation import Totals
from server.study.events import Finished, History
from server.study.key_epochs import KeyEpochs
from server.study.rounds import Rounds
from server.study.sites import SiteStatus, SiteView
from server.study.state import Phase, StudyState
from server.study.timeouts import Timeouts
from server.study.transitions import Step, Transitions

MAX_FAILURES: Final = 3
_AT_REST: Final = (Phase.DONE, Phase.STOPPED)


class StudyMachine:
    """One study, driven by events. Build it from the journal's history; call :meth:`start` once."""

    def __init__(self, launch: SignedLaunch, history: History, timeouts: Timeouts) -> None:
        self._state = StudyState(launch, history, timeouts)
        self._transitions = Transitions(self._state)
        self._epochs = KeyEpochs(self._state, self._transitions)
        self._rounds = Rounds(self._state, self._transitions)
        self._totals = Totals(self._state, self._transitions)
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
        """What is known of each invited site."""
        return self._state.sites

    @property
    def history(self) -> History:
        """What the study has been through."""
        return self._state.history

    @property
    def evaluations(self) -> dict[int, tuple[int, ...]]:
        """Totals that sites have opened, by the round whose model was scored."""
        return self._state.evaluations

    def start(self, now: float, waited_s: float = 0.0) -> list[Action]:
        """Begin, or go on from the history: in the same key epoch and attempt where there is one.

        Args:
            now: seconds on the caller's clock.
            waited_s: for how long the study has waited for sites already, before this process.
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
        actions: list[Action] = [Note("going on after a restart")]
        if state.is_complete:
            return actions + self._closing.begin(now)
        return actions + (self._totals.begin(now) if state.unopened else self._rounds.begin_again(now))

    def awaits(self, ask: Ask) -> bool:
        """Whether what comes back to ``ask`` still counts: it is neither answered nor overtaken."""
        question = self._state.sites[ask.site].question
        return question is not None and question.ask is ask

    def wants(self, name: str, reply: Reply) -> bool:
        """Whether ``reply`` is a sealed update still missing from the running sum."""
        return isinstance(reply, Sealed) and self._rounds.wants(name, reply)

    def handle_answer(self, name: str, reply: Reply, now: float) -> list[Action]:
        """A verified reply to a question whose answer the machine :meth:`awaits`.

        For a reply that the machine :meth:`wants` the blob has been added to the running sum.
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
        """Whether ``reply`` is of the kind, and about the round, that was asked."""
        match asked, reply:
            case (Join(), Joined()) | (Wrap(), Wrappings()):
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
        """A site answers nonsense, or fails; the third time since it last sealed, it is out."""
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
        """The network does not reach a site. It is asked again soon; whoever stays offline is lost.

        Not one whose release is awaited: it is waited for until the time to release is over.
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
        """A site's process has just come online: what it was asked before is asked again at once."""
        return [] if self.phase in _AT_REST else self._state.ask_now(self._state.sites[name], now)

    def _handle_lost_site(self, site: SiteView, why: str, now: float) -> list[Action]:
        return (
            self._epochs.handle_lost_sites([site], why, now)
            + self._rounds.handle_lost_sites([site], now)
            + self._totals.handle_lost_sites(now)
        )

    def tick(self, now: float) -> list[Action]:
        """Time has passed: give up on who is late, ask again, look for who may be back."""
        if self.phase in _AT_REST:
            return []
        if self.phase is Phase.GIVING_UP:
            over = now >= self._state.deadline
            return self._finish_if_told(waited=True) if over else self._state.ask_again(now)
        if now >= self._state.deadline and (late := self._handle_timeout(now)):
            return late
        return [*self._state.ask_again(now), *self._epochs.look_for_absent(now)]

    def stop(self, why: str) -> list[Action]:
        """Stand still until the operator resumes the study."""
        return (
            []
            if self.phase in _AT_REST
            else self._state.stop(why, f"go on with: {self._state.format_resume_command()}")
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
        """What the present phase asks of a site whose base has just been learnt."""
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
        """Tell every site whose account is not closed; whoever cannot be reached frees it by the terms' days."""
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

    # Trouble -----------------------------------------------------------------------------------------------

    def _handle_problem(self, site: SiteView, asked: Request, reply: Problem, now: float) -> list[Action]:
        """A site says why a request had no effect; ``docs/wire.md`` has the table of codes."""
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
            case _ if joining:  # whatever else the code is: the site does not admit the study
                return self._epochs.handle_refused(site, reply, now)
            case RefusalCode.KEYS_REFUSED:
                return self._epochs.refuse_grant(site) + self.handle_failure(site.name, reply.sentence, now)
            case RefusalCode.TOO_FEW | RefusalCode.DIFFERENT_MODELS:
                return self._state.exclude(site, reply.sentence) + self._handle_lost_site(site, reply.sentence, now)
            case RefusalCode.EPOCH_LOST:
                actions = self._handle_lost_site(site, reply.sentence, now)
                site.lost_at = -inf  # it is here, and can be asked to join at once
                return actions
            case _ if isinstance(asked, Wrap):
                return self.handle_failure(site.name, f"cannot wrap the study's keys: {reply.sentence}", now)
            case (
                RefusalCode.FAILED | RefusalCode.REFUSED | RefusalCode.ENOUGH | RefusalCode.DATA | RefusalCode.LOST
            ) if not releasing:
                return self.handle_failure(site.name, reply.sentence, now)
        return self._handle_lost_site(site, reply.sentence, now)

    def _handle_unavailable(self, site: SiteView, reply: Problem, now: float) -> list[Action]:
        """A site cannot write now, and has done nothing: a round goes on without it, all else is asked again soon."""
        if self.phase is Phase.SEALING and self._rounds.is_in_cohort(site):
            site.setbacks += 1
            return self._handle_lost_site(site, reply.sentence, now)
        self._state.ask_soon(site)
        return []
