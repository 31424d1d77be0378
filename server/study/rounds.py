"""Run a round at the coordinator: ``sealing`` -> ``releasing`` -> commit, or void.

Rules:

* an attempt's number and cohort are recorded before sites are asked; one (round, attempt) has one cohort;
* a site that is lost before release leaves the cohort. A new attempt begins, in which the remaining sites seal the
  same integers again. If fewer than the terms' minimum remain, the study waits for sites to join again;
* if sites add noise over patients, a round's sum has room for the patients of all invited sites, as far as their
  counts are known. The room is the same in all attempts of a round, because sealed values are rounded to its range.
  A site that comes back during the round and has too many patients for the room makes the round void;
* headers that differ stop the study, and no site is asked to release;
* after a void round whose sum had no noise (no privacy, or exact totals), the next round has the same cohort.
  Otherwise the difference of the two sums could be the update of one site;
* once the whole cohort has sealed, the coordinator waits for an offline site until the time to release is over,
  because a restarted site can still release;
* a site that has not released by then makes the round void: the round counts, and its budget is spent. This is
  allowed ``forgiven_voids`` times for each site; with the next one the site is out until the operator re-admits it;
* a site that releases a wrong seed is out at once;
* a round is also void if a site has released and the coordinator has not committed the round.
"""

from dataclasses import dataclass, field

from privacy.canonical import compute_digest
from privacy.protocol.headers import Committed, Evaluated, Header
from privacy.protocol.messages import Open, Release, Released, Sealed, Train
from privacy.secure_aggregation.masks import commit_to_seed
from privacy.signed import Signed
from server.study.actions import Action, Ask, Commit, Note, Restart
from server.study.events import AttemptAsked, ReleaseAsked, RoundCommitted, RoundVoid, TotalsOpened
from server.study.sites import SiteStatus, SiteView
from server.study.state import Phase, StudyState
from server.study.transitions import Transitions


@dataclass
class _Collection:
    """The replies of one attempt so far."""

    asked: AttemptAsked
    headers: dict[str, Signed[Header]] = field(default_factory=dict)
    evaluated: Evaluated | None = None
    """The totals of the newest sealed update; when all headers agree, the totals of the whole cohort."""
    seeds: dict[str, str] = field(default_factory=dict)


class Rounds:
    """Rounds of one study, each run until it is committed or void."""

    def __init__(self, state: StudyState, transitions: Transitions) -> None:
        self._state = state
        self._transitions = transitions
        self._collection: _Collection | None = None

    def begin(self, now: float) -> list[Action]:
        """Ask every member to train and seal, in a new attempt of the next round."""
        state = self._state
        members = {site.name for site in state.list_sites_with(SiteStatus.MEMBER)}
        if len(members) < state.least_members or not state.required_sites <= members:
            self._collection = None
            return [
                Note(f"{len(members)} sites left: too few, or not those needed"),
                *self._transitions.begin_epoch(now),
            ]
        cohort = tuple(sorted(state.required_sites or members))
        last, number = state.history.attempt, state.history.next_round
        again = last is not None and last.round == number
        room = last.room if last is not None and again else state.compute_room()
        # The round's integers are rounded to this room's range already, so the room cannot grow within a round.
        if room < state.compute_room_for(cohort):
            return self.mark_round_void([], now)
        asked = AttemptAsked(
            round=number,
            attempt=last.attempt + 1 if last is not None and again else 1,
            epoch=state.history.epoch,
            cohort=cohort,
            reference=max(state.sites[name].patients for name in cohort) if last is None else last.reference,
            room=room,
        )
        return [*state.record(asked), *self._collect(asked, now)]

    def begin_again(self, now: float) -> list[Action]:
        """Continue after a restart: repeat the attempt if its whole cohort are members, else begin a new one."""
        state, asked = self._state, self._state.history.attempt
        repeatable = (
            asked is not None
            and (asked.round, asked.epoch) == (state.history.next_round, state.history.epoch)
            and all(state.sites[name].standing is SiteStatus.MEMBER for name in asked.cohort)
        )
        return self._collect(asked, now) if asked is not None and repeatable else self.begin(now)

    def _collect(self, asked: AttemptAsked, now: float) -> list[Action]:
        self._state.phase, self._state.deadline = Phase.SEALING, now + self._state.timeouts.seal_s
        self._collection = _Collection(asked)
        questions = [self._ask_to_train(self._state.sites[name], asked, now) for name in asked.cohort]
        return [Restart(asked.round, self._state.history.base), *questions]

    def ask(self, site: SiteView, now: float) -> list[Action]:
        """Ask a site the round's question again, now that its base is known."""
        if self._state.phase is not Phase.SEALING or self._collection is None or not self.is_in_cohort(site):
            return []
        return [self._ask_to_train(site, self._collection.asked, now)]

    def _ask_to_train(self, site: SiteView, asked: AttemptAsked, now: float) -> Ask:
        """Ask a site to train; if it missed more than one round, ask it to open the oldest one first."""
        state, missed = self._state, self._state.list_missed_rounds(site)
        keys = None if site.has_keys else state.history.keys
        if len(missed) > 1:
            return state.ask(site, Open(keys=keys, committed=missed[0]), now, missed[0].round)
        request = Train(
            round=asked.round,
            attempt=asked.attempt,
            epoch=asked.epoch,
            base=state.history.base,
            cohort=asked.cohort,
            reference=asked.reference,
            room=asked.room,
            keys=keys,
            committed=missed[0] if missed else None,
        )
        return state.ask(site, request, now, missed[0].round if missed else None)

    def is_in_cohort(self, site: SiteView) -> bool:
        """Return whether ``site`` is in the present attempt's cohort."""
        return self._collection is not None and site.name in self._collection.asked.cohort

    def wants(self, name: str, reply: Sealed) -> bool:
        """Return whether ``reply`` is a sealed update that the running sum still lacks."""
        if self._state.phase is not Phase.SEALING or self._collection is None:
            return False
        asked, header = self._collection.asked, reply.header.statement
        view = header.view
        return (
            name in asked.cohort
            and name not in self._collection.headers
            and (header.site, view.study, view.launch) == (name, self._state.study, self._state.launch_digest)
            and header.patients == self._state.sites[name].patients
            and (view.epoch, view.round, view.attempt) == (asked.epoch, asked.round, asked.attempt)
            and view.cohort == compute_digest(asked.cohort)
            and self._state.fits_round(reply.evaluated, view.base)
        )

    def handle_sealed(self, site: SiteView, reply: Sealed, now: float) -> list[Action]:
        """Handle a sealed update that the round :meth:`wants`; the caller has added it to the running sum."""
        collection = self._collection
        if collection is None:
            return []
        collection.headers[site.name], collection.evaluated = reply.header, reply.evaluated
        self._state.take_header(reply.header.statement)
        site.question, site.has_keys, site.failures, site.setbacks = None, True, 0, 0
        actions: list[Action] = [Note("has sealed", site.name)]
        if len(collection.headers) < len(collection.asked.cohort):
            return actions
        difference = describe_first_difference([signed.statement for signed in collection.headers.values()])
        if difference is not None:
            return actions + self._state.stop(
                difference,
                f"once the site that differs is restored or restarted, run: {self._state.format_resume_command()}; "
                f"else {self._state.describe_new_launch()}",
            )
        return actions + self._note_totals(collection.evaluated) + self._ask_to_release(collection, now)

    def _note_totals(self, evaluated: Evaluated | None) -> list[Action]:
        """Record totals that the whole cohort has opened alike, unless they are known."""
        if evaluated is None or evaluated.opened_in in self._state.history.totals:
            return []
        self._state.take_counts(evaluated)
        return self._state.record(TotalsOpened(evaluated=evaluated))

    def _ask_to_release(self, collection: _Collection, now: float) -> list[Action]:
        state, asked = self._state, collection.asked
        state.phase, state.deadline = Phase.RELEASING, now + state.timeouts.release_s
        request = Release(round=asked.round, attempt=asked.attempt, headers=collection.headers)
        questions = [state.ask(state.sites[name], request, now) for name in asked.cohort]
        # Durable before the first question: after a crash, the history shows that a site may have released.
        return [*state.record(ReleaseAsked(round=asked.round, attempt=asked.attempt)), *questions]

    def is_seed_of(self, name: str, reply: Released) -> bool:
        """Return whether ``reply`` has the seed to which the site committed when it sealed the present attempt."""
        collection = self._collection
        if collection is None or name not in collection.headers:
            return False
        asked, header = collection.asked, collection.headers[name].statement
        return (reply.round, reply.attempt) == (asked.round, asked.attempt) and header.own_mask == commit_to_seed(
            bytes.fromhex(reply.seed)
        )

    def handle_released(self, site: SiteView, reply: Released, now: float) -> list[Action]:
        """Handle a released mask; with the last one, commit the round."""
        collection = self._collection
        if collection is None:
            return []
        asked = collection.asked
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
        self._collection = None
        # The aggregate is stored before the event is recorded: a committed round always has its aggregate.
        actions: list[Action] = [Commit(committed, collection.seeds)]
        actions += self._state.record(RoundCommitted(committed=committed))
        return [*actions, Note(f"round {asked.round} is committed"), *self._transitions.begin_next_step(now)]

    def handle_lost_sites(self, sites: list[SiteView], now: float) -> list[Action]:
        """Handle lost sites of the cohort: before release begin a new attempt, after it mark the round void."""
        mine = [site for site in sites if self.is_in_cohort(site)]
        if mine and self._state.phase is Phase.RELEASING:
            return self.mark_round_void(mine, now)
        if mine and self._state.phase is Phase.SEALING:
            return self.begin(now)
        return []

    def handle_timeout(self, now: float) -> list[Action]:
        """Handle the timeout of sealing or releasing: sites that have not answered are absent."""
        waiting = [
            site
            for site in self._state.list_sites_with(SiteStatus.MEMBER)
            if site.question and self.is_in_cohort(site)
        ]
        task = "sealed" if self._state.phase is Phase.SEALING else "released"
        return self._state.mark_absent(waiting, f"has not {task} in time", now) + self.handle_lost_sites(
            waiting, now
        )

    def mark_round_void(self, sites: list[SiteView], now: float) -> list[Action]:
        """Record that the round counts and does not change the model.

        Args:
            sites: the sites that made it void; they are absent or out already.
            now: seconds on the caller's clock.
        """
        state, number = self._state, self._state.history.next_round
        actions = state.record(RoundVoid(round=number, sites=tuple(site.name for site in sites)))
        for site in sites:
            made, forgiven = state.history.voids_by[site.name], state.timeouts.forgiven_voids
            if made > forgiven:
                why = f"vanished between sealing and release of round {number}"
                again = f", as in {made - 1} rounds before" if made > 1 else ""
                actions += state.exclude(site, why + again)
            elif site.standing is not SiteStatus.OUT:
                actions.append(
                    Note(f"was away too long: void round {made} of {forgiven} that are forgiven", site.name)
                )
        for name in self._collection.asked.cohort if self._collection else ():
            state.sites[name].question = None
        self._collection = None
        return [*actions, Note(f"round {number} is void"), *self._transitions.begin_next_step(now)]


def describe_first_difference(headers: list[Header]) -> str | None:
    """Describe how the first two sites differ whose headers must be equal; None if no headers differ."""
    first = headers[0]
    for header in headers[1:]:
        differing = [name for name, value in first.view if getattr(header.view, name) != value]
        if first.totals != header.totals:
            differing.append("evaluation totals")
        if differing:
            what = ", ".join(differing)
            return f"{first.site} and {header.site} hold different views ({what}); nothing was released"
    return None
