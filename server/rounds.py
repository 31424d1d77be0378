"""The life of a study at the coordinator: a state machine without I/O.

::

    joining -> wrapping -> sealing -> releasing -> (commit) -> sealing -> ... -> closing -> done
       ^___________________|  a member lost its keys, came back, or too few are left

Rules (``docs/protocol.md`` says why):

* An epoch or attempt number is recorded before it is asked, and numbers only rise: after a restart the same
  question gets the same bytes, never a second sum.
* One (round, attempt) is one cohort. A site lost before release leaves the cohort: a new attempt, in which the
  survivors seal the same integers again. Never fewer than the terms' minimum; then the study waits.
* A site lost between sealing and release makes the round void: it counts, its budget is spent, the site is out
  until the operator re-admits it. So is a round that a site has released before the coordinator could commit it.
* Headers that differ, an aggregate that does not open, a release that is refused: the study stops and says why.
* A site that comes back joins at the next round's start, in a new key epoch, after opening what it missed.

Whoever drives the machine delivers events (:meth:`StudyMachine.answered`, :meth:`~StudyMachine.lost`,
:meth:`~StudyMachine.tick`) and carries out the actions returned, in order; a ``Record`` is durable before the next.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from privacy.canonical import digest
from privacy.launch import SignedLaunch
from privacy.signed import Signed
from privacy.wire import (
    Close,
    Closed,
    Committed,
    Evaluated,
    Head,
    Header,
    Join,
    Joined,
    KeyParcel,
    Offer,
    Open,
    Opened,
    Problem,
    Release,
    Released,
    Reply,
    Request,
    Sealed,
    Train,
    Wrap,
    Wrappings,
    offers_digest,
)
from server.actions import Action, Ask, Commit, Note, Record, Restart
from server.history import (
    AttemptAsked,
    EpochAsked,
    EpochKeyed,
    Event,
    Finished,
    History,
    RoundCommitted,
    RoundVoid,
    SiteClosed,
    SiteOut,
    Stopped,
)

MAX_FAILURES: Final = 3


class Phase(StrEnum):
    """What the study is waiting for."""

    JOINING = "joining"
    WRAPPING = "wrapping"
    SEALING = "sealing"
    RELEASING = "releasing"
    CLOSING = "closing"
    DONE = "done"
    STOPPED = "stopped"


class Standing(StrEnum):
    """How the study stands with one site."""

    EXPECTED = "expected"
    MEMBER = "member"
    ABSENT = "absent"
    REFUSED = "refused"
    OUT = "out"
    CLOSED = "closed"


@dataclass(frozen=True)
class Patience:
    """Seconds to wait: for sites to join, to train and seal, to release or close; and before asking again."""

    join_s: float = 120.0
    seal_s: float = 3600.0
    release_s: float = 120.0
    ask_again_s: float = 15.0


@dataclass
class _Question:
    ask: Ask
    sent: float
    times: int = 1


@dataclass
class SiteView:
    """What the coordinator knows of one site."""

    name: str
    standing: Standing = Standing.EXPECTED
    base: int = 0
    offer: Signed[Offer] | None = None
    """For the newest epoch asked."""
    has_keys: bool = False
    head: Head | None = None
    patients: int = 0
    epsilon_spent: float | None = None
    failures: int = 0
    """Training failures since the last sealed update."""
    why: str = ""
    question: _Question | None = None


@dataclass
class _Collection:
    """One attempt's replies so far."""

    asked: AttemptAsked
    headers: dict[str, Signed[Header]] = field(default_factory=dict)
    seeds: dict[str, str] = field(default_factory=dict)


class StudyMachine:
    """One study, driven by events. Build it from the journal's history; call :meth:`start` once."""

    def __init__(self, launch: SignedLaunch, history: History, patience: Patience) -> None:
        self._signed = launch
        self._launch = launch.statement
        self._launch_digest = self._launch.digest
        self._history = history
        self._patience = patience
        self._collection: _Collection | None = None
        self._deadline = 0.0
        self.terms = self._launch.terms
        self.study = self._launch.study
        self.phase = Phase.JOINING
        self.evaluations: dict[int, tuple[int, ...]] = {}
        self.sites = {name: SiteView(name) for name in self._launch.names}
        for event in history.committed.values():
            for header in event.committed.headers.values():
                self._learn(header.statement)
        for name, closed in history.closed.items():
            self.sites[name].standing = Standing.CLOSED
            self._remember(closed.evaluated)
        for name, why in history.out.items():
            self.sites[name].standing, self.sites[name].why = Standing.OUT, why

    # What happens ------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Action]:
        """Begin, or go on from the history: in the same key epoch and attempt where there is one."""
        if self._history.finished:
            self.phase = Phase.DONE
            return []
        if self._history.stopped is not None:
            self.phase = Phase.STOPPED
            return []
        if self._history.keys is None:
            return self._join(now)
        self._enrol(self._history.keys)
        for site in self._invited():
            if site.standing is Standing.EXPECTED:
                site.standing = Standing.ABSENT
        return [Note("going on after a restart"), *self._next_step(now, same_attempt=True)]

    def wants(self, name: str, reply: Reply) -> bool:
        """Whether ``reply`` is a sealed update still missing from the running sum."""
        return (
            isinstance(reply, Sealed)
            and self.phase is Phase.SEALING
            and self._collection is not None
            and name not in self._collection.headers
            and self._belongs(name, reply.header.statement)
        )

    def answered(self, name: str, reply: Reply, now: float) -> list[Action]:
        """A verified reply of a site; one that answers no present question has no effect.

        For a reply that the machine :meth:`wants` the blob has been added to the running sum.
        """
        if self.phase in (Phase.DONE, Phase.STOPPED):
            return []
        site = self.sites[name]
        match reply:
            case Problem():
                return self._on_problem(site, reply, now)
            case Joined():
                return self._on_joined(site, reply, now)
            case Wrappings():
                return self._on_wrapped(site, reply, now)
            case Sealed():
                return self._on_sealed(site, reply, now)
            case Released():
                return self._on_released(site, reply, now)
            case Opened():
                return self._on_opened(site, reply, now)
            case Closed():
                return self._on_closed(site, reply, now)

    def lost(self, names: Iterable[str], why: str, now: float) -> list[Action]:
        """Sites that do not answer in time, answer nonsense, or report that they cannot go on."""
        gone = [self.sites[name] for name in names]
        actions: list[Action] = []
        for site in gone:
            site.why, site.question, site.offer, site.has_keys = why, None, None, False
            if site.standing in (Standing.MEMBER, Standing.EXPECTED):
                site.standing = Standing.ABSENT
                actions.append(Note(f"absent: {why}", site.name))
        cohort = () if self._collection is None else self._collection.asked.cohort
        if self.phase is Phase.RELEASING and any(site.name in cohort for site in gone):
            return actions + self._void([site.name for site in gone if site.name in cohort], now)
        if self.phase is Phase.SEALING and any(site.name in cohort for site in gone):
            return actions + self._new_attempt(now)
        if self.phase is Phase.WRAPPING:
            return actions + self._join(now)
        return actions

    def tick(self, now: float) -> list[Action]:
        """Time has passed: give up on who is late, ask again, look for who may be back."""
        if self.phase in (Phase.DONE, Phase.STOPPED):
            return []
        if now >= self._deadline:
            late = self._on_deadline(now)
            if late:
                return late
        return [*self._ask_again(now), *self._look_for_absent(now)]

    def stop(self, why: str) -> list[Action]:
        """Stand still until the operator resumes the study."""
        return [] if self.phase in (Phase.DONE, Phase.STOPPED) else self._stop(why)

    # Joining and keys --------------------------------------------------------------------------------------

    def _join(self, now: float) -> list[Action]:
        """Begin a key epoch: every site that may take part is asked for a fresh session key."""
        possible = [site for site in self.sites.values() if site.standing not in (Standing.REFUSED, Standing.OUT)]
        if len(possible) < self.terms.cohort.minimum:
            return self._stop(self._too_few(len(possible)))
        self.phase = Phase.JOINING
        self._collection = None
        self._deadline = now + self._patience.join_s
        returned = any(site.standing is Standing.ABSENT and site.offer is not None for site in self.sites.values())
        actions: list[Action] = [] if returned else self._raise_epoch()
        for site in self._invited():
            if site.standing is Standing.MEMBER:
                site.standing = Standing.EXPECTED
            if returned and site.offer is not None:
                site.standing = Standing.EXPECTED
                continue
            site.offer, site.has_keys = None, False
            actions.append(self._ask(site, Join(launch=self._signed, epoch=self._history.epoch_asked), now))
        return [*actions, *self._wrap_if_joined(now)]

    def _on_joined(self, site: SiteView, reply: Joined, now: float) -> list[Action]:
        offer = reply.offer.statement
        if (offer.study, offer.launch, offer.site) != (self.study, self._launch_digest, site.name):
            return self.lost([site.name], "its key offer is for another study", now)
        if offer.epoch != self._history.epoch_asked or site.standing in (Standing.OUT, Standing.CLOSED):
            return []
        site.offer, site.base, site.question, site.has_keys = reply.offer, offer.base, None, False
        if self.phase is not Phase.JOINING:
            return self._join(now) if self.phase is Phase.CLOSING else [Note("is back", site.name)]
        site.standing = Standing.EXPECTED
        return [Note("has joined", site.name), *self._wrap_if_joined(now)]

    def _wrap_if_joined(self, now: float, *, waited: bool = False) -> list[Action]:
        """Ask the lead to wrap, once everybody expected has joined, or enough have and the time is over."""
        joined = [site for site in self._invited() if site.offer is not None]
        missing = [site for site in self._invited() if site.standing is Standing.EXPECTED and site.offer is None]
        needed = self.terms.cohort.minimum if self._history.next_round <= self.terms.last_round else 1
        if len(joined) < needed or (missing and not waited):
            return []
        for site in missing:
            site.standing, site.why = Standing.ABSENT, "has not joined in time"
        earlier = self._epochs_lacked_by(joined)
        lead = next((site for site in joined if earlier <= self._holdings(site)), None)
        if lead is None:
            return self._leave_behind(joined, now)
        self.phase = Phase.WRAPPING
        self._deadline = now + self._patience.release_s
        offers = {site.name: site.offer for site in joined if site.offer is not None}
        request = Wrap(epoch=self._history.epoch_asked, offers=offers, earlier=tuple(sorted(earlier)))
        return [self._ask(lead, request, now)]

    def _epochs_lacked_by(self, joined: list[SiteView]) -> set[int]:
        """Epochs of committed rounds that some member has still to open, without having their keys."""
        return {
            event.committed.epoch
            for number, event in self._history.committed.items()
            for site in joined
            if number > site.base and event.committed.epoch not in self._holdings(site)
        }

    def _holdings(self, site: SiteView) -> set[int]:
        return set() if site.offer is None else set(site.offer.statement.holds)

    def _leave_behind(self, joined: list[SiteView], now: float) -> list[Action]:
        """No member can wrap the keys that others lack: those who lag can never catch up."""
        newest = max(site.base for site in joined)
        behind = [site for site in joined if site.base < newest]
        if not behind or newest < self._history.base:
            return self._stop(
                f"round {newest + 1} was sealed under keys that no site holds any more: every site that had them "
                "was restarted before it could open the round; launch the study again"
            )
        why = "missed a round whose keys no site holds any more; it cannot catch up"
        return [action for site in behind for action in self._put_out(site, why)] + self._join(now)

    def _on_wrapped(self, site: SiteView, reply: Wrappings, now: float) -> list[Action]:
        question = site.question
        if self.phase is not Phase.WRAPPING or question is None or not isinstance(question.ask.request, Wrap):
            return []
        asked, grant = question.ask.request, reply.grant.statement
        expected = (self.study, self._launch_digest, site.name, asked.epoch, offers_digest(asked.offers))
        if (grant.study, grant.launch, grant.lead, grant.epoch, grant.offers) != expected:
            return self.lost([site.name], "its key grant does not answer what was asked", now)
        site.question = None
        parcel = KeyParcel(offers=asked.offers, grant=reply.grant)
        recorded = self._record(EpochKeyed(parcel=parcel))
        self._enrol(parcel)
        return [*recorded, *self._next_step(now)]

    def _enrol(self, parcel: KeyParcel) -> None:
        for name, offer in parcel.offers.items():
            site = self.sites[name]
            if site.standing in (Standing.EXPECTED, Standing.ABSENT):
                site.standing = Standing.MEMBER
                site.base = max(site.base, offer.statement.base)
                site.patients = offer.statement.patients
                site.offer = None
                site.has_keys = False

    # A round -----------------------------------------------------------------------------------------------

    def _next_step(self, now: float, *, same_attempt: bool = False) -> list[Action]:
        """Begin the next round, or close; first a new key epoch if somebody is back."""
        self._collection = None
        if any(site.standing is Standing.ABSENT and site.offer is not None for site in self.sites.values()):
            return self._join(now)
        if self._history.next_round > self.terms.last_round:
            return self._close(now)
        if same_attempt and self._can_repeat():
            return self._seal(self._history.attempt, now)  # type: ignore[arg-type]
        return self._new_attempt(now)

    def _can_repeat(self) -> bool:
        asked = self._history.attempt
        return (
            asked is not None
            and (asked.round, asked.epoch) == (self._history.next_round, self._history.epoch)
            and all(self.sites[name].standing is Standing.MEMBER for name in asked.cohort)
        )

    def _new_attempt(self, now: float) -> list[Action]:
        cohort = tuple(site.name for site in self._invited() if site.standing is Standing.MEMBER)
        if len(cohort) < self.terms.cohort.minimum:
            return [Note(f"{len(cohort)} sites left, {self.terms.cohort.minimum} needed"), *self._join(now)]
        last, number = self._history.attempt, self._history.next_round
        asked = AttemptAsked(
            round=number,
            attempt=last.attempt + 1 if last is not None and last.round == number else 1,
            epoch=self._history.epoch,
            cohort=cohort,
            reference=self._reference(last),
        )
        return [*self._record(asked), *self._seal(asked, now)]

    def _reference(self, last: AttemptAsked | None) -> int:
        """The patient count that weighs 1: the largest among the first members, for good."""
        if last is not None:
            return last.reference
        return max(site.patients for site in self._invited())

    def _seal(self, asked: AttemptAsked, now: float) -> list[Action]:
        self.phase = Phase.SEALING
        self._collection = _Collection(asked)
        self._deadline = now + self._patience.seal_s
        actions: list[Action] = [Restart(asked.round, self._history.base)]
        for name in asked.cohort:
            actions.append(self._ask_to_train(self.sites[name], now))
        return actions

    def _ask_to_train(self, site: SiteView, now: float) -> Action:
        """Ask for the present attempt; a site that missed more than one round opens the older ones first."""
        assert self._collection is not None
        missed = self._missed(site)
        keys = None if site.has_keys else self._history.keys
        if len(missed) > 1:
            return self._ask(site, Open(keys=keys, committed=missed[0]), now, missed[0].round)
        asked = self._collection.asked
        request = Train(
            round=asked.round,
            attempt=asked.attempt,
            epoch=asked.epoch,
            base=self._history.base,
            cohort=asked.cohort,
            reference=asked.reference,
            keys=keys,
            committed=missed[0] if missed else None,
            witnessed=site.head,
        )
        return self._ask(site, request, now, missed[0].round if missed else None)

    def _missed(self, site: SiteView) -> list[Committed]:
        return [event.committed for number, event in sorted(self._history.committed.items()) if number > site.base]

    def _belongs(self, name: str, header: Header) -> bool:
        assert self._collection is not None
        asked, view = self._collection.asked, header.view
        return (header.site, view.study, view.launch) == (name, self.study, self._launch_digest) and (
            view.epoch,
            view.round,
            view.attempt,
            view.cohort,
        ) == (asked.epoch, asked.round, asked.attempt, digest(asked.cohort))

    def _on_sealed(self, site: SiteView, reply: Sealed, now: float) -> list[Action]:
        if not self.wants(site.name, reply):
            return []
        assert self._collection is not None
        header = reply.header.statement
        self._collection.headers[site.name] = reply.header
        self._learn(header)
        site.question, site.has_keys, site.failures = None, True, 0
        actions: list[Action] = [Note("has sealed", site.name)]
        if len(self._collection.headers) < len(self._collection.asked.cohort):
            return actions
        difference = first_difference([signed.statement for signed in self._collection.headers.values()])
        if difference is not None:
            return [*actions, *self._stop(difference)]
        return [*actions, *self._release(now)]

    def _release(self, now: float) -> list[Action]:
        assert self._collection is not None
        self.phase = Phase.RELEASING
        self._deadline = now + self._patience.release_s
        asked = self._collection.asked
        request = Release(round=asked.round, attempt=asked.attempt, headers=self._collection.headers)
        return [self._ask(self.sites[name], request, now) for name in asked.cohort]

    def _on_released(self, site: SiteView, reply: Released, now: float) -> list[Action]:
        collection = self._collection
        if self.phase is not Phase.RELEASING or collection is None or site.name not in collection.asked.cohort:
            return []
        asked = collection.asked
        if (reply.round, reply.attempt) != (asked.round, asked.attempt):
            return []
        site.question = None
        collection.seeds[site.name] = reply.seed
        if len(collection.seeds) < len(asked.cohort):
            return []
        committed = Committed(
            round=asked.round,
            attempt=asked.attempt,
            epoch=asked.epoch,
            cohort=asked.cohort,
            headers=collection.headers,
        )
        actions: list[Action] = [Commit(committed, collection.seeds)]
        actions += self._record(RoundCommitted(committed=committed))
        return [*actions, Note(f"round {asked.round} is committed"), *self._next_step(now)]

    def _void(self, names: list[str], now: float) -> list[Action]:
        number = self._history.next_round
        actions = self._record(RoundVoid(round=number, sites=tuple(names)))
        for name in names:
            actions += self._put_out(self.sites[name], f"vanished between sealing and release of round {number}")
        return [*actions, Note(f"round {number} is void"), *self._next_step(now)]

    # The end -----------------------------------------------------------------------------------------------

    def _close(self, now: float) -> list[Action]:
        self.phase = Phase.CLOSING
        self._deadline = now + self._patience.join_s
        members = [site for site in self._invited() if site.standing is Standing.MEMBER]
        return [self._ask_to_close(site, now) for site in members] + self._finish_if_closed()

    def _ask_to_close(self, site: SiteView, now: float) -> Action:
        missed = self._missed(site)
        if missed:
            keys = None if site.has_keys else self._history.keys
            return self._ask(site, Open(keys=keys, committed=missed[0]), now, missed[0].round)
        return self._ask(site, Close(base=self._history.base), now)

    def _on_opened(self, site: SiteView, reply: Opened, now: float) -> list[Action]:
        if site.standing is not Standing.MEMBER or reply.base <= site.base:
            return []
        site.base, site.has_keys, site.question = reply.base, True, None
        self._remember(reply.evaluated)
        if self.phase is Phase.CLOSING:
            return [self._ask_to_close(site, now)]
        if self.phase is Phase.SEALING and self._collection and site.name in self._collection.asked.cohort:
            return [self._ask_to_train(site, now)]
        return []

    def _on_closed(self, site: SiteView, reply: Closed, now: float) -> list[Action]:
        if self.phase is not Phase.CLOSING or reply.base != self._history.base:
            return []
        self._remember(reply.evaluated)
        site.standing, site.question, site.head = Standing.CLOSED, None, reply.ledger
        site.epsilon_spent = reply.epsilon_spent
        actions = self._record(SiteClosed(site=site.name, closed=reply))
        return [*actions, Note("has closed the study", site.name), *self._finish_if_closed()]

    def _finish_if_closed(self, *, waited: bool = False) -> list[Action]:
        open_sites = [site.name for site in self._invited()]
        if open_sites and not waited:
            return []
        self.phase = Phase.DONE
        left = f"; not closed at {', '.join(open_sites)}" if open_sites else ""
        return [*self._record(Finished()), Note(f"the study is finished{left}")]

    def _stop(self, why: str) -> list[Action]:
        self.phase = Phase.STOPPED
        return [*self._record(Stopped(why=why)), Note(f"stopped: {why}")]

    # Trouble -----------------------------------------------------------------------------------------------

    def _on_problem(self, site: SiteView, reply: Problem, now: float) -> list[Action]:
        asked = site.question.ask.request if site.question is not None else None
        if asked is None:
            return []
        match reply.code:
            case "stale":
                return []
            case "behind" if reply.base is not None and isinstance(asked, Train | Open | Close):
                site.base = reply.base
                return [
                    self._ask_to_close(site, now) if isinstance(asked, Close) else self._ask_to_train(site, now)
                ]
            case "opening-failed" | "release-refused":
                return self._stop(f"{site.name}: {reply.sentence}")
            case "released" if self.phase is Phase.SEALING:
                return self._void([], now)
        if isinstance(asked, Join):
            return self._on_refusal(site, reply, now)
        if isinstance(asked, Wrap):
            return self._stop(f"{site.name} cannot wrap the study's keys: {reply.sentence}")
        if reply.code in ("failed", "refused"):
            site.failures += 1
            if site.failures >= MAX_FAILURES and self.phase is Phase.SEALING:
                left_out = self._put_out(site, f"failed {MAX_FAILURES} times; the last time: {reply.sentence}")
                return left_out + self._new_attempt(now)
        return self.lost([site.name], reply.sentence, now)

    def _on_refusal(self, site: SiteView, reply: Problem, now: float) -> list[Action]:
        site.standing, site.why, site.question = Standing.REFUSED, reply.sentence, None
        actions: list[Action] = [Note(f"refuses: {reply.sentence}", site.name)]
        if self.phase is not Phase.JOINING:
            return actions
        possible = [view for view in self.sites.values() if view.standing not in (Standing.REFUSED, Standing.OUT)]
        if len(possible) < self.terms.cohort.minimum:
            return actions + self._stop(self._too_few(len(possible)))
        return actions + self._wrap_if_joined(now)

    def _too_few(self, possible: int) -> str:
        shut = "; ".join(
            f"{site.name}: {site.why}"
            for site in self.sites.values()
            if site.standing in (Standing.REFUSED, Standing.OUT)
        )
        return f"{possible} sites can take part, the terms need {self.terms.cohort.minimum} ({shut})"

    def _on_deadline(self, now: float) -> list[Action]:
        waiting = [site.name for site in self.sites.values() if site.question and site.standing is Standing.MEMBER]
        match self.phase:
            case Phase.JOINING:
                self._deadline = now + self._patience.join_s
                return self._wrap_if_joined(now, waited=True)
            case Phase.WRAPPING:
                lead = [site.name for site in self.sites.values() if site.question]
                return self.lost(lead, "has not wrapped the keys in time", now)
            case Phase.SEALING:
                return self.lost(waiting, "has not sealed in time", now)
            case Phase.RELEASING:
                return self.lost(waiting, "has not released in time", now)
            case Phase.CLOSING:
                return self._finish_if_closed(waited=True)
        return []

    def _ask_again(self, now: float) -> list[Action]:
        """A message is delivered once: if its receiver died with it, only asking again helps. Ever more rarely."""
        actions: list[Action] = []
        for site in self.sites.values():
            question = site.question
            if question and now - question.sent >= self._patience.ask_again_s * 2 ** min(question.times - 1, 6):
                question.sent, question.times = now, question.times + 1
                actions.append(question.ask)
        return actions

    def _look_for_absent(self, now: float) -> list[Action]:
        """Ask absent sites to join a next epoch; whoever answers is back."""
        absent = [
            s for s in self._invited() if s.standing is Standing.ABSENT and s.offer is None and not s.question
        ]
        if not absent or self.phase in (Phase.JOINING, Phase.WRAPPING):
            return []
        actions = self._raise_epoch() if self._history.epoch_asked == self._history.epoch else []
        request = Join(launch=self._signed, epoch=self._history.epoch_asked)
        return actions + [self._ask(site, request, now) for site in absent]

    # Bookkeeping -------------------------------------------------------------------------------------------

    def _invited(self) -> list[SiteView]:
        """Sites that may take part, in rising order of their names."""
        shut = (Standing.REFUSED, Standing.OUT, Standing.CLOSED)
        return [site for _, site in sorted(self.sites.items()) if site.standing not in shut]

    def _ask(self, site: SiteView, request: Request, now: float, aggregate: int | None = None) -> Ask:
        ask = Ask(site.name, request, aggregate)
        site.question = _Question(ask, now)
        return ask

    def _record(self, event: Event) -> list[Action]:
        self._history.apply(event)
        return [Record(event)]

    def _raise_epoch(self) -> list[Action]:
        return self._record(EpochAsked(epoch=self._history.epoch_asked + 1))

    def _put_out(self, site: SiteView, why: str) -> list[Action]:
        site.standing, site.why, site.question, site.offer = Standing.OUT, why, None, None
        return [*self._record(SiteOut(site=site.name, why=why)), Note(f"is out: {why}", site.name)]

    def _learn(self, header: Header) -> None:
        site = self.sites[header.site]
        site.base = max(site.base, header.view.base)
        site.head, site.patients, site.epsilon_spent = header.ledger, header.patients, header.epsilon_spent
        self._remember(header.evaluated)

    def _remember(self, evaluated: Evaluated | None) -> None:
        if evaluated is not None:
            self.evaluations[evaluated.round] = evaluated.counts


def first_difference(headers: list[Header]) -> str | None:
    """A sentence naming the first two sites whose headers disagree on what must be equal; nothing if none do."""
    first = headers[0]
    for header in headers[1:]:
        differing = [name for name, value in first.view if getattr(header.view, name) != value]
        if first.evaluated != header.evaluated:
            differing.append("evaluation totals")
        if differing:
            what = ", ".join(differing)
            return f"{first.site} and {header.site} hold different views ({what}); nothing was released"
    return None
