"""End a study at the coordinator: sites open the last rounds, sign which model they hold, and close.

Rules:

* no site is asked to close before every site has the final model or the time to wait for it is over: a restarted
  site needs the other sites' keys to open it;
* sites compare their models before any of them releases it (``client/study/held_models.py``). The signatures are
  recorded before the first site is asked to close, because a closed site signs nothing any more;
* a site that holds another model than a quorum of the last round's cohort is out;
* without a quorum, the study waits for absent sites. It stops if there are none, or if they stay away;
* no quorum is needed if a void round followed the last committed one: in it the sites have compared their models.
"""

from collections import Counter

from privacy.errors import WireError
from privacy.keys import PublicKey
from privacy.protocol.messages import Close, Closed, HeldModel, Open, Opened
from server.study.actions import Action, Note
from server.study.events import Finished, ModelsHeld, SiteClosed, WaitBegan
from server.study.sites import SiteStatus, SiteView
from server.study.state import Phase, StudyState


class Closing:
    """The closing of one study."""

    def __init__(self, state: StudyState) -> None:
        self._state = state
        self._gave_up = False
        self._waits = False

    def begin(self, now: float) -> list[Action]:
        """Ask every member to open the rounds it missed and to sign the model that it holds."""
        state = self._state
        state.phase, state.deadline, self._gave_up = Phase.CLOSING, now + state.timeouts.join_s, False
        self._waits = False
        lacking = [site for site in state.list_sites_with(SiteStatus.MEMBER) if not self._is_ready(site)]
        return [*(self._ask_to_open(site, now) for site in lacking), *self._close_if_ready(now)]

    def ask_next_question(self, site: SiteView, now: float) -> list[Action]:
        """Ask a site the next question, now that its base is known."""
        return self._close_if_ready(now) if self._is_ready(site) else [self._ask_to_open(site, now)]

    def handle_opened(self, site: SiteView, reply: Opened, now: float) -> list[Action]:
        """Handle an opened round, and the signature on the held model if it was asked for."""
        site.held = reply.held
        return self.ask_next_question(site, now)

    def handle_closed(self, site: SiteView, reply: Closed) -> list[Action]:
        """Record that a site has released the model and closed its account."""
        site.standing, site.question = SiteStatus.CLOSED, None
        actions = self._state.record(SiteClosed(site=site.name, closed=reply))
        return [*actions, Note("has closed the study", site.name), *self._finish_if_closed()]

    def handle_timeout(self, now: float) -> list[Action]:
        """Handle the timeout of opening, closing or waiting."""
        if self._waits:
            return self._close_if_ready(now, over=True)
        if self._gave_up:
            return self._finish_if_closed(waited=True)
        self._gave_up, self._state.deadline = True, now + self._state.timeouts.join_s
        return self._close_if_ready(now)

    def has_signed(self, site: SiteView, asked: Open, reply: Opened) -> bool:
        """Return whether a reply to ``asked`` has the site's signature on its held model, if that was asked for."""
        if asked.sign_held is None:
            return True
        state, held = self._state, reply.held
        keys = {member.name: member.identity for member in state.launch.roster}
        try:
            statement = None if held is None else held.verify(PublicKey.from_text(keys[site.name]))
        except WireError:
            return False
        return statement is not None and (
            statement.study, statement.launch, statement.site, statement.epoch, statement.base
        ) == (state.study, state.launch_digest, site.name, asked.sign_held, reply.base)  # fmt: skip

    def _is_ready(self, site: SiteView) -> bool:
        """Return whether a site has opened all rounds and has signed its model.

        While no round is committed, no signature is needed.
        """
        history = self._state.history
        if self._state.list_missed_rounds(site):
            return False
        return not history.committed or site.name in history.held or self._has_current_word(site)

    def _has_current_word(self, site: SiteView) -> bool:
        history, held = self._state.history, site.held
        return held is not None and (held.statement.epoch, held.statement.base) == (history.epoch, history.base)

    def _ask_to_open(self, site: SiteView, now: float) -> Action:
        history, missed = self._state.history, self._state.list_missed_rounds(site)
        committed = missed[0] if missed else history.committed[history.base].committed
        last = committed.round == history.base
        return self._state.ask_to_open(site, committed, now, sign_held=history.epoch if last else None)

    def _close_if_ready(self, now: float, *, over: bool = False) -> list[Action]:
        state = self._state
        ready = [site for site in state.list_sites_with(SiteStatus.MEMBER) if self._is_ready(site)]
        if len(ready) < len(state.list_eligible_sites()) and not self._gave_up:
            return []
        actions = self._compare_models(ready, now, over=over) if state.history.committed else []
        if state.phase is Phase.STOPPED or self._waits:
            return actions
        close = Close(base=state.history.base, held=state.history.held)
        ready = [site for site in ready if site.standing is SiteStatus.MEMBER and not site.is_asked(Close)]
        return [*actions, *(state.ask(site, close, now) for site in ready), *self._finish_if_closed()]

    def _wait(self, why: str, now: float) -> list[Action]:
        """Wait for absent sites whose signatures are needed for a quorum."""
        state = self._state
        if not self._waits:
            self._waits, state.deadline = True, now + max(0.0, state.timeouts.wait_s - state.waited_s)
        if state.history.waiting == why:
            return []
        return [*state.record(WaitBegan(why=why)), Note(f"waits: {why}")]

    def _compare_models(self, ready: list[SiteView], now: float, *, over: bool) -> list[Action]:
        """Record the signed models and exclude sites that differ from the quorum; without one, wait or stop."""
        state, history = self._state, self._state.history
        words = {site.name: site.held for site in ready if site.held is not None and self._has_current_word(site)}
        held = {**words, **history.held}
        statements = {name: signed.statement for name, signed in held.items()}
        cohort = history.committed[history.base].committed.cohort
        counts = Counter(_read_model_fields(each) for name, each in statements.items() if name in cohort)
        model, count = counts.most_common(1)[0] if counts else (None, 0)
        quorum = state.terms.cohort.compute_quorum(len(cohort))
        # In a later round that became void, the headers matched: its cohort holds the same model.
        compared = history.released is not None and history.released.round > history.base
        if count < quorum and not compared:
            why = (
                f"{count} of the last round's {len(cohort)} sites hold the same model at the end, expected {quorum}"
            )
            away = [
                site.name
                for site in state.list_eligible_sites()
                if site.name in cohort and site.name not in statements
            ]
            if count + len(away) >= quorum and not over:
                return self._wait(f"{why}; away: {', '.join(away)}", now)
            change = "the others are back" if away else "it is clear which of them differ, and those are restored"
            return state.stop(why, f"when {change}, run: {state.format_resume_command()}")
        self._waits = False
        actions = [] if held == history.held else state.record(ModelsHeld(held=held))
        for site in ready:
            if site.name in statements and _read_model_fields(statements[site.name]) != model:
                actions += state.exclude(site, "holds another model than the others at the end")
        return actions

    def _finish_if_closed(self, *, waited: bool = False) -> list[Action]:
        state = self._state
        open_sites = [site.name for site in state.list_eligible_sites()]
        awaited = state.list_sites_with(SiteStatus.MEMBER) if self._gave_up else open_sites
        if awaited and not waited:
            return []
        state.phase = Phase.DONE
        left = f"; not closed at {', '.join(open_sites)}" if open_sites else ""
        return [*state.record(Finished()), Note(f"the study is finished{left}")]


def _read_model_fields(held: HeldModel) -> tuple[int, int, str]:
    """Return the fields of ``held`` that are equal if two sites hold the same model."""
    return held.epoch, held.base, held.model
