"""A line of the book in words, for a person who reads it from top to bottom.

An amount is Renyi divergence at the order of the grant that pays: amounts of one grant may be added, and what they
mean in epsilon is in ``consilium-site budget``.
"""

from collections.abc import Iterable
from decimal import Decimal

from privacy.accountant import NANO
from privacy.budget import Planned, described
from privacy.keys import PublicKey
from privacy.ledger.entries import (
    Allow,
    Approve,
    Body,
    Checkpoint,
    Entry,
    Evaluate,
    Grant,
    Incident,
    KeyChange,
    ModelRelease,
    Open,
    Population,
    Recover,
    Refuse,
    Reserve,
    Return,
    Settle,
)


def in_words(body: Body) -> str:
    """What an entry says, on one line of printable characters."""
    words = " ".join(_said(body).split())
    return "".join(each if each.isprintable() else "?" for each in words)


def studies_named(entries: Iterable[Entry]) -> dict[str, str]:
    """Every study that the book names, with the digest of its terms where it was admitted (else nothing)."""
    named: dict[str, str] = {}
    for entry in entries:
        study = getattr(entry.body, "study", None)
        if isinstance(entry.body, Allow):
            named[entry.body.study] = entry.body.terms
        elif study is not None:
            named.setdefault(study, "")
    return named


def is_about(body: Body, study: str, terms: str) -> bool:
    """Whether ``body`` is about ``study``, or approves its ``terms``."""
    return getattr(body, "study", None) == study or (isinstance(body, Approve) and body.terms == terms)


def _said(body: Body) -> str:
    match body:
        case Open():
            return f"the book of '{body.site}' begins, signed with the key {PublicKey.from_text(body.key).typed}"
        case Population():
            different = [
                f"; {count} of them are written like patients of '{name}', people say that they are others"
                for name, count in body.said_different.items()
            ]
            return (
                f"registered '{body.population}': about {body.patients} patients, up to {body.records_per_patient} of "
                f"a patient's records in a step, files {body.data[:16]}{''.join(different)}"
            )
        case Grant():
            return (
                f"granted '{body.population}' epsilon {body.epsilon:g} at delta {body.delta:g}, order {body.order}"
            )
        case Approve():
            return f"{body.by} approved the terms {body.terms[:16]}"
        case Allow():
            return _admitted(body)
        case Reserve():
            return f"paid round {body.round} of '{body.study}': {_amount(body.charge)}, {described(body.event)}"
        case Settle():
            return f"trained round {body.round} of '{body.study}'"
        case Evaluate():
            return (
                f"paid the totals of round {body.round} of '{body.study}': {_amount(body.charge)}, "
                f"{described(body.event)}"
            )
        case Return():
            return f"closed '{body.study}': {_amount(body.charge)} not used, left again"
        case ModelRelease():
            return f"released the model {body.model[:16]} of '{body.study}' to {body.to}"
        case Refuse():
            return f"refused '{body.study}' ({body.code}): {body.sentence}"
        case Incident():
            where = f"'{body.study}'" if body.round is None else f"round {body.round} of '{body.study}'"
            return f"incident in {where} ({body.code}): {body.sentence}"
        case Checkpoint():
            seen = body.countersigned.seen.statement
            return f"'{seen.witness}' has seen this book up to entry {seen.number}"
        case KeyChange():
            return f"signed from here on with the key {PublicKey.from_text(body.key).typed}"
        case Recover():
            return body.sentence
    raise AssertionError(f"no words for '{body.kind}'")


def _admitted(body: Allow) -> str:
    paid = (
        "nothing in it has a price"
        if body.grant is None
        else f"grant {body.grant} sets {_amount(body.charge)} aside"
    )
    return f"admitted '{body.study}' to '{body.population}': {_planned(body.plan)}; {paid}"


def _planned(plan: Iterable[Planned]) -> str:
    return ", ".join(f"{each.times} x {each.purpose} ({described(each.event)})" for each in plan)


def _amount(charge: int | None) -> str:
    """A charge to the last digit, so that a reader's sums come out; nothing bounds what has none."""
    return "no bound" if charge is None else f"divergence {Decimal(charge) / NANO:f}"
