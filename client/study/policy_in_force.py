"""Hold a running site's policy as its people last wrote it, and tell its hooks what they asked to be told.

Rules:

* the policy is read anew for every study, since people change it while the site runs. One that cannot be read now
  decides nothing about a new study; for one that was admitted the last one that could be read counts;
* hours and the minutes of a round are looked at before a record is read.
"""

import logging
from datetime import datetime

from client.site.folder import SiteFolder
from client.site.hooks import EventKind, Hooks
from client.site.policy import Policy
from client.study.activity_log import ActivityLog
from client.study.context import StudyContext
from privacy.errors import RefusedError, SiteConfigError, StorageError
from privacy.ledger import Ledger
from privacy.refusal_codes import RefusalCode


class PolicyInForce:
    """The policy of one running site, and its hooks.

    Raises:
        SiteConfigError: the policy cannot be used.
    """

    def __init__(self, home: SiteFolder, ledger: Ledger, hooks: Hooks, activity: ActivityLog) -> None:
        self._home, self._ledger, self._hooks, self._activity = home, ledger, hooks, activity
        self._name = home.config.name
        self._policy = home.policy

    def read(self) -> Policy:
        """Read the policy as ``policy.yaml`` has it now.

        Raises:
            StorageError: it cannot be read now, or ``site.yaml`` names another site. Nothing is decided.
        """
        try:
            config, policy = self._home.config, self._home.policy
        except SiteConfigError as error:
            raise StorageError(str(error)) from None
        if config.name != self._name:
            raise StorageError(f"{self._home.folder}: site.yaml names another site than the one that runs")
        if policy != self._policy:
            self._activity.report("policy.yaml has changed: it is in force from now on")
        self._policy = policy
        return policy

    def read_last(self) -> Policy:
        """Read the policy; while it cannot be read, return the last one that could."""
        try:
            return self.read()
        except StorageError as error:
            self._activity.report(str(error), about="policy", level=logging.WARNING)
            return self._policy

    def require_time(self, context: StudyContext) -> None:
        """Refuse to train outside the policy's hours, and after a round that took longer than it allows.

        Raises:
            RefusedError: ``unavailable``: nothing was done, and the site can be asked again.
        """
        policy = self.read_last()
        if not policy.allows_hour(datetime.now().astimezone().time()):
            raise RefusedError(
                RefusalCode.UNAVAILABLE, f"this site trains at {' and '.join(policy.hours)} only; ask again then"
            )
        took, most = context.state.longest_round_minutes, policy.minutes_per_round
        if most is not None and took > most:
            raise RefusedError(
                RefusalCode.UNAVAILABLE,
                f"a round took longer than the {most:g} minutes that this site allows; its people decide what follows",
            )

    def note_duration(self, context: StudyContext, minutes: float) -> None:
        """Note how long a round took, where the policy bounds it; a round that took too long is an incident."""
        most = self._policy.minutes_per_round
        if most is None or minutes <= context.state.longest_round_minutes:
            return
        context.store.save(longest_round_minutes=minutes)
        if minutes > most:
            sentence = f"a round took longer than the {most:g} minutes that the policy allows"
            self._ledger.record_incident(context.launch.study, "long-round", sentence)

    def keeps_release(self, study: str) -> bool:
        """Return whether the model of ``study`` waits for a person: as asked at its admission, or by the policy now."""
        asked = self._ledger.read_state().decisions.find_required(study)
        return asked is not None and (asked.release or self.read_last().release == "person")

    def tell_of_end(self, context: StudyContext) -> None:
        """Tell the hooks that the study has ended here, and whether its model waits for a person."""
        study = context.launch.study
        if context.state.withheld is not None:
            what = f"'{study}' has ended; its model is not released before somebody agrees"
            self._hooks.tell(EventKind.APPROVAL_WANTED, what, study)
        self._hooks.tell(EventKind.STUDY_FINISHED, f"'{study}' has ended", study)

    def tell_if_low(self, population: str) -> None:
        """Tell the hook if the budget of ``population`` is below the site's mark."""
        left = self._ledger.read_state().find_account(population).budget.epsilon_left
        if left < (mark := self._hooks.config.budget_below):
            what = f"of the budget of '{population}' epsilon {left:.3f} is left, less than the mark {mark:g}"
            self._hooks.tell(EventKind.BUDGET_LOW, what)
