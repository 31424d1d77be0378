"""Have every member open a round's totals, if early stopping decides by them whether another round follows.

This phase exists only if the terms set ``evaluation.patience``. The rule of early stopping is in
``models/federated/early_stopping.py``. Each site applies the same rule and refuses to train once it says stop.
Without ``evaluation.patience``, the coordinator gets totals with the next round's sealed updates.

Rules:

* totals are opened after the round that carried them, and before the next round begins;
* totals count when every member, and at least the terms' minimum of members, has opened the same ones. From then on
  they are in the history, and no site is asked for them again;
* members that opened different totals stop the study.
"""

from models.tasks.registry import list_figures
from privacy.protocol.headers import Evaluated
from privacy.protocol.messages import Opened
from server.study.actions import Action, Note
from server.study.events import TotalsOpened
from server.study.sites import SiteStatus, SiteView
from server.study.state import Phase, StudyState
from server.study.transitions import Transitions


class TotalsOpening:
    """The opening of totals that decide whether another round follows."""

    def __init__(self, state: StudyState, transitions: Transitions) -> None:
        self._state = state
        self._transitions = transitions
        self._opened: dict[str, Evaluated] = {}

    def begin(self, now: float) -> list[Action]:
        """Ask every member to open the round that carries the totals."""
        state, self._opened = self._state, {}
        members = state.list_sites_with(SiteStatus.MEMBER)
        if len(members) < state.least_members:
            return self._transitions.begin_epoch(now)
        state.phase, state.deadline = Phase.OPENING, now + state.timeouts.seal_s
        return [action for site in members for action in self.ask(site, now)]

    def ask(self, site: SiteView, now: float) -> list[Action]:
        """Ask a site to open the totals; if it missed earlier rounds, ask it to open the oldest one first."""
        state = self._state
        missed = state.list_missed_rounds(site)
        committed = missed[0] if missed else state.unopened
        return [] if committed is None else [state.ask_to_open(site, committed, now)]

    def handle_opened(self, site: SiteView, reply: Opened, now: float) -> list[Action]:
        """Handle an opened round: keep its totals, or ask for the next round that the member missed."""
        if self._state.list_missed_rounds(site) or reply.evaluated is None:
            return self.ask(site, now)
        self._opened[site.name] = reply.evaluated
        return self._go_on_if_known(now)

    def handle_lost_sites(self, now: float) -> list[Action]:
        """Handle lost members: continue without what they opened."""
        return self._go_on_if_known(now) if self._state.phase is Phase.OPENING else []

    def handle_timeout(self, now: float) -> list[Action]:
        """Handle the timeout of opening: members that have not opened are absent."""
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
            chosen_by = list_figures(state.terms.task, state.terms.data)[0]
            actions.append(
                Note(
                    f"the study ends after round {committed.round}: {state.terms.evaluation.patience} evaluations "
                    f"brought no better {chosen_by.title}"
                )
            )
        state.take_counts(evaluated)
        return [*actions, *self._transitions.begin_next_step(now)]
