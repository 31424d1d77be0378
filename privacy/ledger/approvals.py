"""Approvals of terms: how many studies, audits or trainings alone people have agreed to, and how many are used.

Rules:

* an approval is for one digest of terms and a number of launches, of audits on the site's own patients, or of
  trainings by this site alone; the oldest one of its kind with a run left is used first. One of an earlier version,
  which does not say what it admits, has admitted a launch or an audit; from now on it is used for a launch only;
* a study of which the policy's question stands in the ledger is a launch, so no other approval admits it;
* a result of an audit needs an account that was opened by an approval of audits, or by one of an earlier version where
  the policy was not asked;
* a study that is closed before it has paid for anything gives its run back;
* to revoke takes back the unused runs of all approvals of the terms. A recovery takes back all unused runs, because
  the lost entries may have used them.
"""

from dataclasses import dataclass
from typing import Final

from privacy.ledger.entries import Admits, Allow, Approve, Revoke
from privacy.ledger.rules import BrokenRuleError, Rule

_WITHOUT_LAUNCH: Final = {Admits.AUDIT: "audits", Admits.ALONE: "trainings alone"}


@dataclass
class _Approval:
    """The approval of entry ``number``."""

    number: int
    terms: str
    runs: int
    by: str
    admits: Admits | None
    used: int = 0
    revoked: bool = False

    @property
    def left(self) -> int:
        """Runs that a study may still use."""
        return 0 if self.revoked else self.runs - self.used

    def is_for(self, terms: str, admits: Admits) -> bool:
        """Return whether it is of these terms and admits this."""
        return self.terms == terms and (self.admits or Admits.LAUNCH) is admits


class Approvals:
    """All approvals of one ledger."""

    def __init__(self) -> None:
        self._approvals: dict[int, _Approval] = {}

    def add(self, number: int, body: Approve) -> None:
        """Add the approval of entry ``number``."""
        self._approvals[number] = _Approval(number, body.terms, body.runs, body.by, body.admits)

    def find(self, terms: str, admits: Admits) -> int | None:
        """Return the entry of the oldest approval of these terms that has a run left for this; None if none has."""
        return next(
            (each.number for each in self._approvals.values() if each.is_for(terms, admits) and each.left), None
        )

    def find_approver(self, number: int | None) -> str | None:
        """Return who gave the approval of entry ``number``; None if that is no approval."""
        found = None if number is None else self._approvals.get(number)
        return None if found is None else found.by

    def find_admitted(self, number: int | None) -> Admits | None:
        """Return what the approval of entry ``number`` says that it admits; None if it says nothing, or is none."""
        found = None if number is None else self._approvals.get(number)
        return None if found is None else found.admits

    def may_audit(self, number: int | None, *, launched: bool) -> bool:
        """Return whether a study that the approval of entry ``number`` admitted may be an audit.

        Args:
            number: of the entry.
            launched: whether the policy was asked about the study, so that it is a launch.
        """
        found = None if number is None else self._approvals.get(number)
        return found is not None and found.admits in (Admits.AUDIT, None) and not launched

    def count_runs(self, terms: str, admits: Admits) -> int:
        """Return how many launches, audits, or trainings alone of these terms may still be admitted."""
        return sum(each.left for each in self._approvals.values() if each.is_for(terms, admits))

    def require(self, body: Allow, *, launched: bool) -> None:
        """Check that the approval that ``body`` names, if it names one, is for its terms and has a run left.

        Args:
            body: the admission.
            launched: whether the policy was asked about the study, so that it is a launch.

        Raises:
            BrokenRuleError: it is not.
        """
        if body.approval is None:
            return
        approval = self._approvals.get(body.approval)
        if approval is None or approval.terms != body.terms or not approval.left:
            raise BrokenRuleError(
                Rule.APPROVAL,
                f"entry {body.approval} does not approve the study '{body.study}': it is no approval of its terms, or "
                "all its runs are used or revoked",
            )
        if launched and approval.admits in _WITHOUT_LAUNCH:
            raise BrokenRuleError(
                Rule.APPROVAL,
                f"entry {body.approval} approves {_WITHOUT_LAUNCH[approval.admits]} of these terms, and '{body.study}' "
                "is a launch: approve the launch",
            )

    def use(self, number: int | None) -> None:
        """Use a run of the approval of entry ``number``."""
        if number is not None:
            self._approvals[number].used += 1

    def restore(self, number: int | None) -> None:
        """Give a run back to the approval of entry ``number``."""
        if number is not None:
            self._approvals[number].used -= 1

    def revoke(self, body: Revoke) -> None:
        """Take back the unused runs of all approvals of the terms.

        Raises:
            BrokenRuleError: no run is left.
        """
        if not any(each.terms == body.terms and each.left for each in self._approvals.values()):
            raise BrokenRuleError(
                Rule.APPROVAL,
                f"nothing is left to revoke: the terms {body.terms[:16]} have no approval that is unused",
            )
        for each in self._approvals.values():
            each.revoked = each.revoked or each.terms == body.terms

    def revoke_all(self) -> None:
        """Take back all unused runs."""
        for each in self._approvals.values():
            each.revoked = True
