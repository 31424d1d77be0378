"""Totals on which it depends whether another round follows: every member opens them before one is asked for.

Only under the terms' ``evaluation.patience``. The rule is ``models/federated/early_stopping.py``; sites compute it
for themselves, and refuse to train once it says stop. Elsewhere totals are learnt with the next round's sealed
updates, in passing.

Rules:

* the totals of a round are opened after the round that carried them and before the next is asked for;
* they count when every member, and at least the terms' minimum, has opened the same ones; from then on they are in
  the history, and are never asked for again;
* members that opened different totals stop the study.
"""

from privacy.protocol.headers import Evaluated
from privacy.protocol.messages import Opened
from server.study.actions import Action, Note
from server.study.events import TotalsOpened
from server.study.sites import SiteStatus, SiteView
from server.study.state import Phase, StudyState
from server.study.transitions import Transitions


class Totals:
    """Has the totals opened that decide whether another round follows."""

    def __init__(self, state: StudyState, transitions: Transitions) -> None:
        self._state = state
        self._transitions = transitions
        self._opened: dict[str, Evaluated] = {}

    def begin(self, now: float) -> list[Action]:
        """Ask every member to open the round that brings them."""
        state, self._opened = self._state, {}
        members = state.list_sites_with(SiteStatus.MEMBER)
        if len(members) < state.least_members:
            return self._transitions.begin_epoch(now)
        state.phase, state.deadline = Phase.OPENING, now + state.timeouts.seal_s
        return [action for site in members for action in self.ask(site, now)]

    def ask(self, site: SiteView, now: float) -> list[Action]:
        """Put the question to a site; one that missed earlier rounds opens those first."""
        state = self._state
        missed = state.list_missed_rounds(site)
        committed = missed[0] if missed else state.unopened
        return [] if committed is None else [state.ask_to_open(site, committed, now)]

    def handle_opened(self, site: SiteView, reply: Opened, now: float) -> list[Action]:
        """A member has opened what was asked."""
        if self._state.list_missed_rounds(site) or reply.evaluated is None:
            return self.ask(site, now)
        self._opened[site.name] = reply.evaluated
        return self._go_on_if_known(now)

    def handle_lost_sites(self, now: float) -> list[Action]:
        """Members are lost: nobody waits for what they opened."""
        return self._go_on_if_known(now) if self._state.phase is Phase.OPENING else []

    def handle_timeout(self, now: float) -> list[Action]:
        """The time to open is over."""
        waiting = [site for site in self._state.list_sites_with(SiteStatus.MEMBER) if site.name not in self._opened]
        return self._state.mark_absent(waiting, "has not opened in time", now) + self.handle_lost_sites(now)

    def _go_on_if_known(self, now: float) -> list[Action]:
        state, committed = self._state, self._state.unopened
        members = [site.name for site in state.list_sites_with(SiteStatus.MEMBER)]
        if len(members) < state.least_members:
            return self._transitions.begin_epoch(now)
        if committed is None or not set(members) <= set(self._opened):
            return []
        first, *others = members
        evaluated = self._opened[first]
        for other in others:
            if self._opened[other] != evaluated:
                return state.stop(
                    f"{first} and {other} have opened different totals of round {evaluated.round}",
                    f"find out which of them is altered; {state.describe_new_launch()}",
                )
        actions = state.record(TotalsOpened(evaluated=evaluated))
        if state.out_of_patience:
            actions.append(
                Note(
                    f"the study ends after round {committed.round}: {state.terms.evaluation.patience} evaluations "
                    "brought no better AUROC"
                )
            )
        state.take_counts(evaluated)
        return [*actions, *self._transitions.next_step(now)]
