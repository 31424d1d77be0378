"""Decide which sites take part in a key epoch and which one wraps the study key. The coordinator sees no key.

Phases:

* ``joining``: every invited site is asked to admit the study and to offer a session key;
* ``wrapping``: when every expected site has joined, or the time is over and enough have, the lead is asked to wrap
  the keys. The lead is the member that holds the most of the earlier keys that others lack. So a site that missed
  a round can open it. A site that failed as lead is chosen last;
* ``waiting``: too few sites are here because others are away, or people at sites have not decided yet. The study
  continues by itself when they are back, and when all have decided.

Rules:

* an epoch's number is recorded before sites are asked;
* an epoch is never wrapped twice. If its lead fails, a new epoch begins, because that lead still has the key that
  it drew;
* a site whose people have not decided yet is neither lost nor late: before the first keys the study waits for its
  decision, as long as ``approval_s`` allows. It is asked again after a pause that grows with the time that it has
  taken (:func:`compute_decision_pause`). Once a study has keys, it goes on without such a site, which may still join;
* a site that was away is asked to join the next epoch; its offer is kept until the next round begins;
* the study stops after ``wait_s`` of waiting, counted over restarts of the coordinator;
* what a member claims to have opened and to hold affects only that member: no other site fails or waits because of
  it. At most ``MAX_EARLIER`` earlier keys are sent with an epoch: the oldest key that each member lacks, then the
  next oldest, members that lack the fewest first. A member that lacks more gets the rest in a later epoch;
* a site that lacks a key that no site holds any more, or an aggregate that the coordinator has removed
  (``server/study/aggregates.py``), can never catch up, and is out. No other site is out for it.
  If no site could open the last committed round, the study stops;
* a grant that a member cannot open counts against both sites: its lead is chosen last, and a member that refuses
  three grants is out;
* refusals that leave too few sites stop the study only when every site has answered or the time is over. So the
  operator knows all refusals before a new launch.
"""

from itertools import zip_longest
from typing import Final

from privacy.protocol.key_messages import MAX_EARLIER, KeyParcel, Wrap, Wrappings, compute_offers_digest
from privacy.protocol.messages import Join, Joined, Problem, Waiting
from server.study.actions import Action, Note
from server.study.events import EpochAsked, EpochKeyed, SiteDecided, SiteDeciding, SiteProgram, WaitBegan
from server.study.sites import SiteStatus, SiteView
from server.study.state import Phase, StudyState
from server.study.transitions import Transitions

_GATHERING: Final = (Phase.JOINING, Phase.WAITING)

_PAUSE_SHARE: Final = 480
"""A site is asked again after 1/480 of the time that its people have taken: after four hours every 30 s."""
_LONGEST_PAUSE_S: Final = 600.0

MAX_FAILURES_AS_LEAD: Final = 3
"""After so many failures as lead, the earlier keys that a site claims to hold no longer count."""


class KeyEpochs:
    """Key epochs of one study."""

    def __init__(self, state: StudyState, transitions: Transitions) -> None:
        self._state = state
        self._transitions = transitions
        self._offers_count = False
        """Whether no site can have been asked to wrap the newest epoch yet; after a restart unknown, so False."""
        self._blamed = 0
        """The newest epoch whose grant a member refused; it counts against the lead only once."""

    def begin(self, now: float) -> list[Action]:
        """Ask sites for session keys of a new epoch; sites that came back have offered theirs already."""
        state = self._state
        if too_few := self._stop_if_too_few(now):
            return too_few
        # A site that still trains cannot answer before it is done.
        in_training = any(site.question for site in state.list_sites_with(SiteStatus.MEMBER))
        state.phase = Phase.JOINING
        state.deadline = now + (state.timeouts.seal_s if in_training else state.timeouts.join_s)
        returned = state.list_returned_sites() if self._offers_count else []
        actions: list[Action] = [] if returned else self._raise_epoch_number()
        for site in state.list_eligible_sites():
            if site.standing is SiteStatus.MEMBER or site in returned:
                site.standing = SiteStatus.EXPECTED
            if site not in returned:
                site.offer, site.has_keys = None, False
                actions.append(self._ask_to_join(site, now))
        return [*actions, *self._wrap_if_joined(now)]

    def handle_joined(self, site: SiteView, reply: Joined, now: float) -> list[Action]:
        """Handle a site's admission of the study and its session key."""
        state, offer = self._state, reply.offer.statement
        if (offer.study, offer.launch, offer.site) != (state.study, state.launch_digest, site.name):
            return self.handle_lost_sites([site], "its key offer is for another study", now)
        if offer.epoch != state.history.epoch_asked:
            return self.handle_lost_sites([site], "its key offer is for another epoch", now)
        if offer.base > state.history.base:
            return self.handle_lost_sites(
                [site], f"it claims round {offer.base}, and none after {state.history.base} is committed", now
            )
        if site.patients not in (0, offer.patients):
            return self.handle_lost_sites(
                [site], "its public patient count is not the one it has given before", now
            )
        if (late := state.describe_too_late(offer.base)) is not None:
            return [*state.exclude(site, late), *self.handle_lost_sites([site], late, now)]
        site.offer, site.base, site.question, site.has_keys = reply.offer, offer.base, None, False
        decided = self._mark_decided(site)
        if state.history.programs.get(site.name) != reply.program:
            decided += state.record(SiteProgram(site=site.name, program=reply.program))
        if site.standing is SiteStatus.DECIDING:  # it gets the keys before the next step, as one that was away
            site.standing, site.why = SiteStatus.ABSENT, ""
        match state.phase:
            case Phase.JOINING | Phase.WAITING:
                site.standing = SiteStatus.EXPECTED
                return [*decided, Note("has joined", site.name), *self._stop_or_wrap(now)]
            case Phase.CLOSING:
                return [*decided, Note("is back", site.name), *self.begin(now)]
            case _:
                return [*decided, Note("is back", site.name)]

    def handle_waiting(self, site: SiteView, reply: Waiting, now: float) -> list[Action]:
        """Handle that a site's people have not decided yet whether they admit the study."""
        state = self._state
        if site.standing is not SiteStatus.DECIDING:
            site.standing, site.deciding_since = SiteStatus.DECIDING, now
        site.question, site.offer, site.has_keys, site.why = None, None, False, reply.sentence
        site.ask_at = now + compute_decision_pause(now - site.deciding_since, state.timeouts.ask_again_s)
        said = SiteDeciding(site=site.name, since=reply.since, contact=reply.contact, sentence=reply.sentence)
        actions: list[Action] = []
        if state.history.deciding.get(site.name) != said:
            call = f"; call {reply.contact}" if reply.contact else ""
            actions = [*state.record(said), Note(f"waits since {reply.since}: {reply.sentence}{call}", site.name)]
        return actions + self._stop_or_wrap(now) if state.phase in _GATHERING else actions

    def _mark_decided(self, site: SiteView) -> list[Action]:
        decided = site.name in self._state.history.deciding
        return self._state.record(SiteDecided(site=site.name)) if decided else []

    def handle_refused(self, site: SiteView, reply: Problem, now: float) -> list[Action]:
        """Handle a site's refusal of the study by its own rules."""
        site.standing, site.why, site.question = SiteStatus.REFUSED, reply.sentence, None
        actions: list[Action] = [*self._mark_decided(site), Note(f"refuses: {reply.sentence}", site.name)]
        if self._state.phase not in _GATHERING:
            return actions
        return actions + self._stop_or_wrap(now)

    def handle_lost_sites(self, sites: list[SiteView], why: str, now: float) -> list[Action]:
        """Handle lost sites: do not wait for their offers; if the lead is lost, begin a new epoch."""
        leads = [site for site in sites if site.is_asked(Wrap)]
        for lead in leads:
            lead.failures_as_lead += 1
        actions = self._state.mark_absent(sites, why, now)
        if leads:
            return actions + self.begin(now)
        if self._state.phase in _GATHERING:
            actions += self._stop_or_wrap(now)
        return actions

    def handle_timeout(self, now: float) -> list[Action]:
        """Handle the timeout of joining, waiting or wrapping."""
        state = self._state
        if state.phase is Phase.JOINING:
            return self._stop_or_wrap(now, waited=True) or self._wait(now)
        if state.phase is Phase.WAITING and (undecided := state.list_undecided_sites()):
            days = state.timeouts.approval_s / 86_400
            names = ", ".join(site.name for site in undecided)
            return state.stop(
                f"after {days:.3g} days of waiting: {self._describe_undecided()}",
                f"to wait on, run: {state.format_resume_command()}; to go on without {names}, give it up with: "
                f"consilium study give-up {state.study}, and launch it over the others",
            )
        if state.phase is Phase.WAITING:
            days = state.timeouts.wait_s / 86_400
            return state.stop(
                f"after {days:.3g} days of waiting: {self._describe_who_is_here()}",
                f"when they are back, run: {state.format_resume_command()}",
            )
        lead = [site for site in state.sites.values() if site.question and site.standing is SiteStatus.EXPECTED]
        return self.handle_lost_sites(lead, "has not wrapped the keys in time", now)

    def _wait(self, now: float) -> list[Action]:
        """Wait for decisions, or for absent sites: too few have joined, and with these there would be enough."""
        state, deciding = self._state, bool(self._state.list_undecided_sites())
        why = self._describe_undecided() if deciding else self._describe_who_is_here()
        if state.waits_for_decisions is not deciding:
            state.waits_for_decisions, state.waiting_since, state.waited_s = deciding, None, 0.0
        if state.waiting_since is None:
            state.waiting_since = now
        most_s = state.timeouts.approval_s if deciding else state.timeouts.wait_s
        state.phase, state.deadline = Phase.WAITING, state.waiting_since + max(0.0, most_s - state.waited_s)
        if state.history.waiting == why:
            return []
        return [*state.record(WaitBegan(why=why, deciding=deciding)), Note(f"waits: {why}")]

    def _describe_undecided(self) -> str:
        said = [self._state.history.deciding[site.name] for site in self._state.list_undecided_sites()]
        names = [
            f"{each.site} (since {each.since}{f', call {each.contact}' if each.contact else ''})" for each in said
        ]
        return f"people have not decided at {', '.join(names)}"

    def _describe_who_is_here(self) -> str:
        state = self._state
        joined = [site.name for site in state.list_eligible_sites() if site.offer is not None]
        away = ", ".join(site.name for site in state.list_eligible_sites() if site.offer is None)
        needed = (
            f"a round needs {state.least_members}"
            if len(joined) < state.least_members
            else "the next round needs the same sites"
        )
        here = "1 site is" if len(joined) == 1 else f"{len(joined)} sites are"
        return f"{here} here, {needed}; away: {away}"

    def handle_wrapped(self, site: SiteView, reply: Wrappings, now: float) -> list[Action]:
        """Check and record the keys that the lead has wrapped for the epoch."""
        state, question = self._state, site.question
        if state.phase is not Phase.WRAPPING or question is None or not isinstance(question.ask.request, Wrap):
            return []
        asked, grant = question.ask.request, reply.grant.statement
        expected = (state.study, state.launch_digest, site.name, asked.epoch, compute_offers_digest(asked.offers))
        if (grant.study, grant.launch, grant.lead, grant.epoch, grant.offers) != expected:
            return self.handle_lost_sites([site], "its key grant does not answer what was asked", now)
        if set(grant.wrapped) != set(asked.offers) - {site.name}:
            return self.handle_lost_sites([site], "its key grant is not for exactly the other members", now)
        site.question, state.waited_s, state.waiting_since = None, 0.0, None
        parcel = KeyParcel(offers=asked.offers, grant=reply.grant)
        recorded = state.record(EpochKeyed(parcel=parcel))
        self.enrol(parcel)
        return [*recorded, *self._transitions.begin_next_step(now)]

    def refuse_grant(self, member: SiteView) -> list[Action]:
        """Count a failure of the epoch's lead, once an epoch: ``member`` cannot open what it wrapped."""
        keys = self._state.history.keys
        if keys is None or self._blamed == keys.grant.statement.epoch:
            return []
        lead = self._state.sites[keys.grant.statement.lead]
        self._blamed = keys.grant.statement.epoch
        lead.failures_as_lead += 1
        return [Note(f"the keys that it wrapped do not open at {member.name}", lead.name)]

    def enrol(self, parcel: KeyParcel) -> None:
        """Make every site whose offer is in the parcel a member."""
        for name, signed in parcel.offers.items():
            site, offer = self._state.sites[name], signed.statement
            if site.standing in (SiteStatus.EXPECTED, SiteStatus.ABSENT):
                site.standing, site.offer, site.has_keys = SiteStatus.MEMBER, None, False
                site.base, site.patients = max(site.base, offer.base), offer.patients

    def look_for_absent(self, now: float) -> list[Action]:
        """Ask absent sites, and those whose people decide, to join the next epoch, each after its pause."""
        state = self._state
        absent = [
            site
            for site in state.list_sites_with(SiteStatus.ABSENT)
            if site.offer is None
            and not site.question
            and now - site.lost_at >= state.timeouts.ask_again_s * 2 ** min(max(site.setbacks - 1, 0), 5)
        ]
        absent += [
            site
            for site in state.list_sites_with(SiteStatus.DECIDING)
            if site.offer is None and not site.question and now >= site.ask_at
        ]
        if not absent or state.phase is Phase.WRAPPING:
            return []
        actions = [] if self._offers_count else self._raise_epoch_number()
        return actions + [self._ask_to_join(site, now) for site in absent]

    def _stop_or_wrap(self, now: float, *, waited: bool = False) -> list[Action]:
        """Stop if no answer is awaited and too few sites can take part; else wrap if enough have joined."""
        awaited = [site for site in self._state.list_sites_with(SiteStatus.EXPECTED) if site.offer is None]
        over = waited or self._state.phase is Phase.WAITING or not awaited
        too_few = self._stop_if_too_few(now) if over else []
        return too_few or self._wrap_if_joined(now, waited=waited)

    def _stop_if_too_few(self, now: float) -> list[Action]:
        """Stop if too few sites can take part; if no round follows and no site is left, end the study."""
        state = self._state
        if state.is_complete:
            return [] if state.list_eligible_sites() else self._transitions.begin_next_step(now)
        return state.stop_if_too_few()

    def _raise_epoch_number(self) -> list[Action]:
        for site in self._state.sites.values():
            site.offer = None
        self._drop_joins()
        self._offers_count = True
        return self._state.record(EpochAsked(epoch=self._state.history.epoch_asked + 1))

    def _drop_joins(self) -> None:
        for site in self._state.sites.values():
            if site.is_asked(Join):
                site.question = None

    def _ask_to_join(self, site: SiteView, now: float) -> Action:
        state = self._state
        return state.ask(site, Join(launch=state.signed_launch, epoch=state.history.epoch_asked), now)

    def _wrap_if_joined(self, now: float, *, waited: bool = False) -> list[Action]:
        state = self._state
        joined = {site.name: site.offer for site in state.list_eligible_sites() if site.offer is not None}
        missing = [site for site in state.list_sites_with(SiteStatus.EXPECTED) if site.offer is None]
        if state.list_undecided_sites():
            return self._wait(now) if waited or not missing else []
        if len(joined) < state.least_members or not state.required_sites <= set(joined):
            return []
        if missing and not waited:
            if state.phase is Phase.WAITING:  # enough are back; the others get the time to join once more
                state.phase, state.deadline = Phase.JOINING, now + state.timeouts.join_s
            return []
        actions = state.mark_absent(missing, "has not joined in time", now)
        members = [state.sites[name] for name in joined]
        lacked = {site.name: self._find_lacked_epochs(site) for site in members}
        given = set().union(
            *(_find_held_epochs(site) for site in members if site.failures_as_lead < MAX_FAILURES_AS_LEAD)
        )
        if hopeless := [site for site in members if not lacked[site.name] <= given]:
            return actions + self._leave_behind(hopeless, members, now)
        self._offers_count = False
        self._drop_joins()  # an answer from now on is too late; the site is asked for the next epoch
        wanted = set().union(*lacked.values())
        lead = min(members, key=lambda site: _rank_as_lead(site, wanted))
        earlier = _choose_earlier_epochs(list(lacked.values()), _find_held_epochs(lead))
        state.phase, state.deadline = Phase.WRAPPING, now + state.timeouts.join_s
        request = Wrap(epoch=state.history.epoch_asked, offers=joined, earlier=tuple(earlier))
        return [*actions, state.ask(lead, request, now)]

    def _find_lacked_epochs(self, site: SiteView) -> set[int]:
        """Find the epochs of committed rounds that a member has not opened and whose keys it does not hold."""
        return {committed.epoch for committed in self._state.list_missed_rounds(site)} - _find_held_epochs(site)

    def _leave_behind(self, hopeless: list[SiteView], members: list[SiteView], now: float) -> list[Action]:
        """Exclude sites that can never open a round they missed; stop if no site can open the last one."""
        state, newest = self._state, max(site.base for site in members)
        if newest < state.history.base and len(hopeless) == len(members) and not state.history.closed:
            return state.stop(
                f"round {newest + 1} was sealed under keys that no site holds any more: every site that had them "
                "was restored or replaced before it could open the round",
                state.describe_new_launch(),
            )
        why = "missed a round whose keys no site holds any more; it cannot catch up"
        left = [action for site in hopeless for action in state.exclude(site, why)]
        return left + self.begin(now)


def compute_decision_pause(elapsed_s: float, ask_again_s: float) -> float:
    """Compute after how many seconds a site is asked again whose people have taken ``elapsed_s`` to decide.

    >>> [compute_decision_pause(hours * 3600, 15) for hours in (0, 2, 4, 24, 240)]
    [15, 15, 30.0, 180.0, 600.0]
    """
    return max(ask_again_s, min(_LONGEST_PAUSE_S, elapsed_s / _PAUSE_SHARE))


def _find_held_epochs(site: SiteView) -> set[int]:
    return set() if site.offer is None else set(site.offer.statement.holds)


def _rank_as_lead(site: SiteView, wanted: set[int]) -> tuple[bool, int, int, str]:
    """Rank a site as lead; the least rank leads: few failures, then most wanted keys, fewest failures, name."""
    failed = site.failures_as_lead
    return failed >= MAX_FAILURES_AS_LEAD, -len(wanted & _find_held_epochs(site)), failed, site.name


def _choose_earlier_epochs(lacked: list[set[int]], held: set[int]) -> list[int]:
    """Choose the earlier epochs whose keys are sent with a new epoch, at most ``MAX_EARLIER``.

    Args:
        lacked: for each member, the epochs whose keys it lacks. Their oldest are taken in turns.
        held: the epochs whose keys the lead holds.
    """
    queues = [sorted(each & held) for each in sorted(lacked, key=len)]
    turns = [epoch for turn in zip_longest(*queues) for epoch in turn if epoch is not None]
    return sorted(list(dict.fromkeys(turns))[:MAX_EARLIER])
