"""The rules between ledger entries, and the error that names the one that was broken."""

from enum import StrEnum

from privacy.errors import BudgetError, Error, LedgerError, RefusedError
from privacy.ledger.entries import Allow, Body, Evaluate, ModelRelease, Reserve, Return, Settle


class Rule(StrEnum):
    """What must hold of an entry, in the order in which it is checked."""

    FORM = "form"
    """The bytes are one entry of a known kind, in canonical form."""
    CHAIN = "chain"
    """Its number follows, and it names the hash of the entry before it: these are the order. Time runs backwards only
    in an entry in which people say that the clock had been wrong."""
    OPENING = "opening"
    """The first entry, and no other, opens the ledger and names the key."""
    SIGNATURE = "signature"
    """It is signed by the ledger's key; a new key has signed the ledger's head."""
    ONCE = "once"
    """What can be said once (a round is paid, a study admitted) is said once, and after what it rests on."""
    POPULATION = "population"
    """The same data are one population, whatever they are called."""
    PRICE = "price"
    """Every limit, curve and charge is what its event comes to when it is computed again."""
    BUDGET = "budget"
    """The grant has room; the study's plan names the round."""
    APPROVAL = "approval"
    """An approval that a study uses is of its terms, has a run left, and was not revoked."""
    WITNESS = "witness"
    """What a witness has signed is about this ledger, in it and true; what is recovered is not in it."""


class BrokenRuleError(LedgerError):
    """An entry breaks ``rule``."""

    def __init__(self, rule: Rule, sentence: str) -> None:
        super().__init__(sentence)
        self.rule = rule


def require_equal(name: str, written: object, computed: object) -> None:
    """Require that what is written is what is computed."""
    if written != computed:
        raise BrokenRuleError(Rule.PRICE, f"the {name} is written as {written}, its event comes to {computed}")


def find_broken_rule(error: Error) -> Rule:
    """Return the rule that an error over an entry is about."""
    match error:
        case BrokenRuleError():
            return error.rule
        case BudgetError():
            return Rule.BUDGET
        case RefusedError():
            return Rule.POPULATION
        case _:
            return Rule.FORM


def describe_subject(body: Body) -> str:
    """Return what an entry is about, for a sentence."""
    match body:
        case Reserve() | Settle() | Evaluate():
            return f"{body.kind} of round {body.round} of the study '{body.study}'"
        case Allow() | Return() | ModelRelease():
            return f"{body.kind} of the study '{body.study}'"
        case _:
            return f"'{body.kind}'"
