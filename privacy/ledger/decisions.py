"""Decisions of people about one launch of a study, and what the site's policy asked for.

Rules:

* what the policy asks of a launch is written before anything is asked of people; the newest of these entries holds;
* an operator's order, told by their key and its nonce, is for one launch: a second launch of it is never judged;
* a decision is about exactly one launch, so about these terms, these sites and this order of an operator. It says
  nothing about another launch of the same terms;
* people are told apart by their names, as they wrote them, without letter case, spaces, invisible characters and the
  ways in which Unicode writes one letter (UAX #15, NFKC). The last decision of each person counts;
* one refusal is enough, until the same person takes it back by agreeing;
* an approval of the terms ahead of the launch (``privacy/ledger/approvals.py``), which the admission uses, counts as
  the agreement of the person who gave it;
* a recovery ends all decisions: the launches that they were about may have been admitted in the lost ledger.
"""

import unicodedata
from collections.abc import Iterable

from privacy.errors import RefusedError
from privacy.ledger.entries import About, Allow, Choice, Decide, ModelRelease, Require
from privacy.ledger.rules import BrokenRuleError, Rule
from privacy.refusal_codes import RefusalCode


class Decisions:
    """What was asked of people about every launch, and what they decided."""

    def __init__(self) -> None:
        self._required: dict[str, Require] = {}
        self._decided: dict[str, list[Decide]] = {}
        self._ordered: dict[tuple[str, str], str] = {}
        """By an operator's key and the nonce of their order: the launch that it was for."""

    def require(self, body: Require) -> None:
        """Note what the policy asks of a launch.

        Raises:
            RefusedError: ``order``: its operator's order was for another launch.
        """
        if self._ordered.setdefault((body.operator_key, body.nonce), body.launch) != body.launch:
            raise RefusedError(
                RefusalCode.ORDER,
                f"the order of '{body.operator}' was for another launch, which this site was asked about before: one "
                "order is one launch, so its operator launches the study again with an order of its own",
            )
        self._required[body.study] = body

    def add(self, body: Decide) -> None:
        """Add a decision.

        Raises:
            BrokenRuleError: nothing was asked about this launch, or it is about other terms.
        """
        required = self._required.get(body.study)
        if required is None or (required.launch, required.terms) != (body.launch, body.terms):
            raise BrokenRuleError(
                Rule.APPROVAL, f"the decision about '{body.study}' is about a launch that nobody was asked about"
            )
        self._decided.setdefault(body.study, []).append(body)

    def find_required(self, study: str) -> Require | None:
        """Return what the policy asked of ``study``; None if it asked for nothing."""
        return self._required.get(study)

    def list_required(self) -> list[Require]:
        """List what the policy asked of every study, in the order in which it was first asked."""
        return list(self._required.values())

    def list_decisions(self, study: str, about: About, model: str | None = None) -> list[Decide]:
        """List the last decision of every person about the present launch of ``study``, or about its ``model``."""
        required = self._required.get(study)
        last = {
            normalise_person(each.by): each
            for each in self._decided.get(study, [])
            if required is not None and (each.launch, each.about, each.model) == (required.launch, about, model)
        }
        return list(last.values())

    def require_admitted(self, body: Allow, approver: str | None) -> None:
        """Check that people have agreed to a study as the policy asked.

        Args:
            body: the admission.
            approver: who gave the approval that it uses, if it uses one.

        Raises:
            RefusedError: ``approval``: they have not.
            BrokenRuleError: they were asked about other terms.
        """
        required = self._required.get(body.study)
        if required is None:
            return
        if required.terms != body.terms:
            raise BrokenRuleError(Rule.APPROVAL, f"'{body.study}' was judged with other terms")
        agreed, refused = count_agreed(self.list_decisions(body.study, About.ADMISSION), approver)
        if refused or len(agreed) < required.persons:
            # an error that the site's agent survives: a person may refuse while the study is being admitted
            raise RefusedError(
                RefusalCode.APPROVAL,
                f"'{body.study}' needs the agreement of {required.persons} people: {_describe(agreed, refused)}",
            )

    def require_released(self, body: ModelRelease) -> None:
        """Check that somebody has agreed to a release, where the policy asked for it.

        Raises:
            RefusedError: ``approval``: nobody has.
        """
        required = self._required.get(body.study)
        if required is None or not required.release:
            return
        agreed, refused = count_agreed(self.list_decisions(body.study, About.RELEASE, body.model))
        if refused or not agreed:
            raise RefusedError(
                RefusalCode.APPROVAL, f"the release of '{body.study}' needs a person: {_describe(agreed, refused)}"
            )

    def end_all(self) -> None:
        """Forget all decisions."""
        self._decided.clear()


def count_agreed(decisions: Iterable[Decide], approver: str | None = None) -> tuple[set[str], set[str]]:
    """Return the normalised names of the people who agreed, and of those who refused."""
    said: dict[str, bool] = {} if approver is None else {normalise_person(approver): True}
    said |= {normalise_person(each.by): each.choice is Choice.APPROVE for each in decisions}
    return {name for name, agreed in said.items() if agreed}, {name for name, agreed in said.items() if not agreed}


def normalise_person(name: str) -> str:
    r"""Return the form in which two names of people are compared.

    >>> normalise_person("  Ada  LOVELACE ")
    'ada lovelace'
    >>> normalise_person("Zoe\u0301\u200b") == normalise_person("ZO\u00c9")
    True
    """
    shown = "".join(each for each in unicodedata.normalize("NFKC", name) if unicodedata.category(each) != "Cf")
    folded = unicodedata.normalize("NFKC", shown.casefold())  # case folding may take a letter apart again
    return " ".join(folded.split())


def _describe(agreed: set[str], refused: set[str]) -> str:
    """Describe what was decided, without names: the sentence may leave the site."""
    return f"{len(agreed)} agreed, {len(refused)} refused"
