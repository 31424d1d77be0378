"""Approvals of terms: how many studies people have agreed to, and how many of these runs are used.

Rules:

* an approval is for one digest of terms and a number of studies; the oldest one with a run left is used first;
* a study that is closed before it has paid for anything gives its run back;
* to revoke takes back the unused runs of all approvals of the terms. A recovery takes back all unused runs, because
  the lost entries may have used them.
"""

from dataclasses import dataclass

from privacy.ledger.entries import Allow, Approve, Revoke
from privacy.ledger.rules import BrokenRuleError, Rule


@dataclass
class _Approval:
    """The approval of entry ``number``."""

    number: int
    terms: str
    runs: int
    by: str
    used: int = 0
    revoked: bool = False

    @property
    def left(self) -> int:
        """Runs that a study may still use."""
        return 0 if self.revoked else self.runs - self.used


class Approvals:
    """All approvals of one ledger."""

    def __init__(self) -> None:
        self._approvals: dict[int, _Approval] = {}

    def add(self, number: int, body: Approve) -> None:
        """Add the approval of entry ``number``."""
        self._approvals[number] = _Approval(number, body.terms, body.runs, body.by)

    def find(self, terms: str) -> int | None:
        """Return the entry of the oldest approval of these terms that has a run left; None if none has."""
        return next((each.number for each in self._approvals.values() if each.terms == terms and each.left), None)

    def find_approver(self, number: int | None) -> str | None:
        """Return who gave the approval of entry ``number``; None if that is no approval."""
        found = None if number is None else self._approvals.get(number)
        return None if found is None else found.by

    def count_runs(self, terms: str) -> int:
        """Return how many studies of these terms may still be admitted."""
        return sum(each.left for each in self._approvals.values() if each.terms == terms)

    def require(self, body: Allow) -> None:
        """Check that the approval that ``body`` names, if it names one, is for its terms and has a run left.

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
        if not self.count_runs(body.terms):
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
