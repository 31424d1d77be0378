"""Describe ledger entries in words, for a person who reads the ledger from top to bottom.

An amount is Rényi divergence at the order of the grant that pays. Amounts of one grant may be added;
``consilium-site budget`` shows what they mean in epsilon.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from privacy.accounting.plan import Planned, describe_event
from privacy.accounting.renyi import NANO
from privacy.keys import PublicKey
from privacy.ledger.entries import (
    About,
    Admits,
    Allow,
    Approve,
    Audit,
    Body,
    Checkpoint,
    Choice,
    Clock,
    Decide,
    Ending,
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
    ReleaseCohort,
    Require,
    Reserve,
    Return,
    Revoke,
    Settle,
)


def describe_entry(body: Body) -> str:
    """Describe an entry on one line of printable characters."""
    words = " ".join(_describe_body(body).split())
    return "".join(each if each.isprintable() else "?" for each in words)


def describe_progress(body: Body) -> str:
    """Describe in a few words how far a study had come with an entry."""
    match body:
        case Reserve():
            return f"round {body.round} paid"
        case Settle():
            return f"round {body.round} trained"
        case Evaluate():
            return f"totals of round {body.round} paid"
    return "admitted"


def list_named_studies(entries: Iterable[Entry]) -> dict[str, str]:
    """List every study that the ledger names, with the digest of its terms where it was admitted (else empty)."""
    named: dict[str, str] = {}
    for entry in entries:
        study = getattr(entry.body, "study", None)
        if isinstance(entry.body, Allow):
            named[entry.body.study] = entry.body.terms
        elif study is not None:
            named.setdefault(study, "")
    return named


def is_about(body: Body, study: str, terms: str) -> bool:
    """Return whether ``body`` is about ``study``, or approves its ``terms``, or takes that back."""
    return getattr(body, "study", None) == study or (isinstance(body, Approve | Revoke) and body.terms == terms)


def _describe_body(body: Body) -> str:
    match body:
        case Open():
            return f"the ledger of '{body.site}' begins, signed with the key {PublicKey.from_text(body.key).typed}"
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
                f"{_describe_author(body.by, body.account)}"
            )
        case Approve():
            author = _describe_author(body.by, body.account)
            return f"approved {_describe_runs(body)} of the terms {body.terms[:16]}{author}"
        case Revoke():
            author = _describe_author(body.by, body.account)
            return f"revoked what is unused of the approvals of the terms {body.terms[:16]}{author}"
        case Require():
            return _describe_requirement(body)
        case Decide():
            return _describe_decision(body)
        case Allow():
            return _describe_admission(body)
        case Reserve():
            amount = _format_amount(body.charge)
            return f"paid round {body.round} of '{body.study}': {amount}, {describe_event(body.event)}"
        case Settle():
            return f"trained round {body.round} of '{body.study}'"
        case Evaluate():
            return (
                f"paid the totals of round {body.round} of '{body.study}': {_format_amount(body.charge)}, "
                f"{describe_event(body.event)}"
            )
        case Return():
            return (
                f"closed '{body.study}' ({_ENDINGS[body.why]}): {_format_amount(body.charge)} not used, left again"
            )
        case ModelRelease():
            return f"released the model {body.model[:16]} of '{body.study}' to {body.to}"
        case ReleaseCohort():
            return f"released its share of the statistics of '{body.study}' over {', '.join(body.cohort)}"
        case Audit():
            bound = max(body.at_least.one_run, body.at_least.trade_off)
            said = f"audited '{body.study}' with {body.canaries} canaries"
            return f"{said}: epsilon at least {bound:g} of {body.epsilon:g}"
        case Refuse():
            return f"refused '{body.study}' ({body.code}): {body.sentence}"
        case Incident():
            where = f"'{body.study}'" if body.round is None else f"round {body.round} of '{body.study}'"
            return f"incident in {where} ({body.code}): {body.sentence}"
        case Checkpoint():
            seen = body.countersigned.seen.statement
            return f"'{seen.witness}' has seen this ledger up to entry {seen.number}"
        case KeyChange():
            return f"signed from here on with the key {PublicKey.from_text(body.key).typed}"
        case Clock():
            author = _describe_author(body.by, body.account)
            return f"the clock had been wrong: this entry is dated before the one before it{author}"
        case Recover():
            return body.sentence
    raise AssertionError(f"no words for '{body.kind}'")


_ENDINGS: Final = {
    Ending.FINISHED: "finished",
    Ending.WITHDRAWN: "this site withdrew",
    Ending.GIVEN_UP: "given up by its coordinator",
    Ending.ABANDONED: "abandoned: nothing came of it for as long as its terms allow",
}


def _describe_author(who: str | None, account: str | None) -> str:
    """Describe who entered it, by the name they gave, and the account that the command ran under."""
    said = "" if who is None else f", by {who}"
    return said if account is None else f"{said} (account {account})"


def _describe_runs(body: Approve) -> str:
    one, several = {
        Admits.LAUNCH: ("launch", "launches"),
        Admits.AUDIT: ("audit", "audits"),
        Admits.ALONE: ("training alone", "trainings alone"),
        None: ("launch or audit", "launches or audits"),  # of an earlier version
    }[body.admits]
    return f"one {one}" if body.runs == 1 else f"{body.runs} {several}"


def _describe_requirement(body: Require) -> str:
    people = "one person" if body.persons == 1 else f"{body.persons} people"
    asked = f"the policy's rule '{body.rule}' admits it" if body.rule else f"{people} must agree"
    release = "; its model waits for a person too" if body.release else ""
    key = PublicKey.from_text(body.operator_key).typed
    return (
        f"judged the launch {body.launch[:16]} of '{body.study}', ordered by '{body.operator}' ({key}): "
        f"{asked}{release}; policy {body.policy[:16]}"
    )


def _describe_decision(body: Decide) -> str:
    choice = "approved" if body.choice is Choice.APPROVE else "refused"
    what = (
        "the launch of"
        if body.about is About.ADMISSION
        else f"the release of the model {(body.model or '')[:16]} of"
    )
    reviewed = "" if body.reviewed is None else f", relying on the review of '{body.reviewed.site}'"
    why = "" if body.why is None else f": {body.why}"
    return f"{choice} {what} '{body.study}'{_describe_author(body.by, body.account)}{reviewed}{why}"


def _describe_admission(body: Allow) -> str:
    paid = (
        "nothing in it has a price"
        if body.grant is None
        else f"grant {body.grant} sets {_format_amount(body.charge)} aside"
    )
    approved = "" if body.approval is None else f", approved in entry {body.approval}"
    return f"admitted '{body.study}' to '{body.population}'{approved}: {_describe_plan(body.plan)}; {paid}"


def _describe_plan(plan: Iterable[Planned]) -> str:
    return ", ".join(f"{each.times} x {each.purpose} ({describe_event(each.event)})" for each in plan)


def _format_amount(charge: int | None) -> str:
    """Format a charge with every digit, so that a reader's sums are exact; None has no bound."""
    return "no bound" if charge is None else f"divergence {Decimal(charge) / NANO:f}"
