"""The rules between ledger entries, and the error that names the broken one.

:class:`Rule` lists the rules. ``state.py`` and the modules that it calls check them.
"""

from enum import StrEnum
from typing import Final

from privacy.errors import BudgetError, Error, LedgerError, RefusedError
from privacy.ledger.entries import (
    Allow,
    Audit,
    Body,
    Evaluate,
    ModelRelease,
    ReleaseCohort,
    Reserve,
    Return,
    Settle,
)
from privacy.refusal_codes import RefusalCode


class Rule(StrEnum):
    """What must hold of an entry, in the order in which it is checked."""

    FORM = "form"
    """The bytes are one entry of a known kind, in canonical form."""
    CHAIN = "chain"
    """Its number follows, and it names the hash of the entry before it: these define the order. Only an entry in
    which a person says that the clock had been wrong may have an earlier time than the entry before it."""
    OPENING = "opening"
    """The first entry, and no other, opens the ledger and names the key."""
    SIGNATURE = "signature"
    """It is signed by the ledger's key; a new key has signed the ledger's head."""
    ONCE = "once"
    """What may be recorded once (a payment, an admission) is recorded once, and after what it depends on; an order is
    for one launch."""
    POPULATION = "population"
    """The same data are one population, whatever their name."""
    PRICE = "price"
    """Every limit, curve and charge equals the value that is computed again from its event."""
    BUDGET = "budget"
    """The grant has room; the study's plan names the round."""
    APPROVAL = "approval"
    """An approval that a study uses is of its terms, admits what it is (a launch, an audit or a training alone), has a
    run left, and was not revoked; the account of an audit, or of a training alone, has only what such a one has; people
    have agreed to a launch, and to a release, as the policy asked."""
    COHORT = "cohort"
    """A cohort with which statistics are released is that of earlier ones, or differs from each by enough sites."""
    WITNESS = "witness"
    """A head that a witness has signed is of this ledger, in it, and true; a recovered head is not in it."""


class BrokenRuleError(LedgerError):
    """An entry breaks ``rule``."""

    def __init__(self, rule: Rule, sentence: str) -> None:
        super().__init__(sentence)
        self.rule = rule


def require_equal(name: str, written: object, computed: object) -> None:
    """Require that a written value is the computed one.

    Raises:
        BrokenRuleError: it is not (the rule ``price``).
    """
    if written != computed:
        raise BrokenRuleError(Rule.PRICE, f"the {name} is written as {written}, its event comes to {computed}")


_RULES_OF_REFUSALS: Final = {
    RefusalCode.RELEASE_REFUSED: Rule.COHORT,
    RefusalCode.ORDER: Rule.ONCE,
    RefusalCode.APPROVAL: Rule.APPROVAL,
}


def find_broken_rule(error: Error) -> Rule:
    """Return the rule that the error of an entry is about."""
    match error:
        case BrokenRuleError():
            return error.rule
        case BudgetError():
            return Rule.BUDGET
        case RefusedError():
            return _RULES_OF_REFUSALS.get(error.code, Rule.POPULATION)
        case _:
            return Rule.FORM


def describe_subject(body: Body) -> str:
    """Describe the subject of an entry, for a message."""
    match body:
        case Reserve() | Settle() | Evaluate():
            return f"{body.kind} of round {body.round} of the study '{body.study}'"
        case Allow() | Return() | ModelRelease() | ReleaseCohort() | Audit():
            return f"{body.kind} of the study '{body.study}'"
        case _:
            return f"'{body.kind}'"
