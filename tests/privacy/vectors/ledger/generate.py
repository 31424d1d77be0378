"""Write golden ledgers: one that holds, with an entry of every kind, and those that break each rule.

From ``docs/ledger.md`` alone: nothing of ours is imported, charges come from ``mechanisms.py`` beside this file. Keys
are fixed and everything else is invented. Run ``python -m tests.privacy.vectors.ledger.generate``; it leaves the
files as they are.

* ``accepted.jsonl``: an export that verifies; ``expected.json`` says to which figures;
* ``earlier.jsonl``: an export of an earlier version, which verifies too;
* ``refused/RULE-NAME.jsonl``: exports that do not; ``expected.json`` says at which entry.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.privacy.vectors.ledger.mechanisms import ORDERS, charge, curve, limit

Value = dict[str, Any]
Written = tuple[str, int, Value]  # kind, minute of the day, body

SITE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NEW = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
WITNESS = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))

STEP = {"kind": "sampled-gaussian", "noise_multiplier": 2, "sampling_rate": 0.05, "steps": 10}
TOTALS = {"kind": "gaussian", "noise_multiplier": 20, "count": 1}
RECORDS = {
    "kind": "bounded-contribution",
    "noise_multiplier": 8,
    "sampling_rate": 0.05,
    "records_per_patient": 3,
    "steps": 10,
}
COUNTS = {"kind": "laplace", "scale": 40, "count": 2}
FILTERED = {"kind": "individual-gaussian", "noise_multiplier": 40, "paid_steps": 8, "steps": 20}
POPULATION = "breast-2026"
LIMIT, LIMIT_32 = limit(3, 1e-3, 8), limit(1, 1e-4, 32)


def canonical(value: Any) -> bytes:
    """RFC 8785, for keys in ASCII and short numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def public(key: Ed25519PrivateKey) -> str:
    return base64url(key.public_key().public_bytes_raw())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def signature(key: Ed25519PrivateKey, label: str, data: bytes) -> str:
    return base64url(key.sign(label.encode() + b"\0" + data))


class Ledger:
    """Entries, chained and signed as they come."""

    def __init__(self, *entries: Written) -> None:
        self.lines: list[bytes] = []
        self.head = "0" * 64
        self.time = ""
        self.key = SITE
        for kind, minute, body in entries:
            self.add(kind, minute, body)

    def add(self, kind: str, minute: int, body: Value, **fields: Any) -> None:
        self.time = f"2026-03-02T08:{minute:02}:00Z"
        entry = {"version": 1, "number": len(self.lines) + 1, "kind": kind, "time": self.time}
        self.write({**entry, "previous": self.head, "body": body, **fields})

    def write(self, entry: Value, key: Ed25519PrivateKey | None = None) -> None:
        data = canonical(entry)
        signed = signature(key or self.key, "consilium ledger entry v1", data)
        self.lines.append(canonical({"entry": entry, "signature": signed}))
        self.head = sha256(data)

    def change_key(self, minute: int, key: Ed25519PrivateKey) -> None:
        proof = signature(key, "consilium ledger key v1", self.head.encode())
        self.add("key", minute, {"key": public(key), "proof": proof})
        self.key = key

    def standing(self, grants: list[Value], recovered: str | None = None, **fields: Any) -> Value:
        """The head as others are shown it."""
        account = {"population": POPULATION, "protected": True, "held_out_protected": True, "grants": grants}
        head = {"site": "north", "number": len(self.lines), "hash": self.head, "time": self.time}
        return {**head, "recovered": recovered, "accounts": [account], **fields}

    def export(self) -> bytes:
        trailer = {"version": 1, "count": len(self.lines), "head": self.head}
        signed = signature(self.key, "consilium ledger trailer v1", canonical(trailer))
        lines = [*self.lines, canonical({"trailer": trailer, "signature": signed})]
        return b"".join(line + b"\n" for line in lines)


def countersigned(head: Value, key: Ed25519PrivateKey = SITE, witness: Ed25519PrivateKey = WITNESS) -> Value:
    """The head with both signatures, as a body of ``checkpoint``."""
    seen = {"witness": "coordinator", "site": head["site"], "number": head["number"], "hash": head["hash"]}
    seen["head"] = sha256(canonical(head))
    both = {
        "head": {"statement": head, "signature": signature(key, "consilium ledger head v1", canonical(head))},
        "seen": {
            "statement": seen,
            "signature": signature(witness, "consilium countersignature v1", canonical(seen)),
        },
    }
    return {"witness": public(WITNESS), "countersigned": both}


def grant(spent: int, set_aside: int, epsilon: float = 3, delta: float = 1e-3, order: int = 8) -> Value:
    return {"epsilon": epsilon, "delta": delta, "order": order, "spent": spent, "set_aside": set_aside}


def paid(study: str, event: Value, order: int = 8) -> Value:
    return {"study": study, "round": 1, "event": event, "curve": curve(event), "charge": charge(event, order)}


def allowed(study: str, events: list[tuple[str, Value, int]], order: int = 8, **fields: Any) -> Value:
    plan = [{"purpose": purpose, "event": event, "times": times} for purpose, event, times in events]
    curves = [curve(event, times) or [] for _, event, times in events]
    body = {"study": study, "population": POPULATION, "terms": "3" * 64, "plan": plan, "grant": 1, "approval": None}
    together = [sum(charges) for charges in zip(*curves, strict=True)]
    return {**body, "curve": together, "charge": together[ORDERS.index(order)], **fields}


OPEN: Written = ("open", 0, {"site": "north", "key": public(SITE)})
REGISTERED: Written = (
    "population",
    1,
    {
        "population": POPULATION,
        "contract": "c" * 64,
        "patient_column": "id",
        "data": "1" * 64,
        "patients": 160,
        "records_per_patient": 1,
        "patients_commitment": "5" * 64,
        "said_different": {},
        "unit": "patient",
        "neighbouring": "add-or-remove-one",
    },
)
GRANTED: Written = (
    "grant",
    2,
    {
        "population": POPULATION,
        "epsilon": 3,
        "delta": 0.001,
        "order": 8,
        "limit": LIMIT,
        "by": "Ada",
        "account": "ada",
    },
)
APPROVED: Written = ("approve", 3, {"terms": "3" * 64, "runs": 1, "by": "data protection", "account": None})
LAUNCHES: Written = (*APPROVED[:2], {**APPROVED[2], "admits": "launch"})
AUDITS: Written = (*APPROVED[:2], {**APPROVED[2], "admits": "audit"})
REVOKED: Written = ("revoke", 5, {"terms": "3" * 64, "by": "data protection", "account": None})
ALONE: Written = (*APPROVED[:2], {**APPROVED[2], "admits": "alone"})
AUDITED: Value = {
    "study": "audited",
    "canaries": 400,
    "epsilon": 3,
    "delta": 0.001,
    "gaussian_is_claimed": False,
    "at_least": {"one_run": 0, "trade_off": 0.25, "gaussian": 0.5, "independent": None},
}
REQUIRED: Written = (
    "require",
    3,
    {
        "study": "first",
        "launch": "7" * 64,
        "terms": "3" * 64,
        "persons": 1,
        "rule": None,
        "release": False,
        "operator": "grace",
        "operator_key": public(NEW),
        "nonce": "6" * 32,
        "epsilon": 3,
        "policy": "8" * 64,
    },
)
DECIDED: Written = (
    "decide",
    3,
    {
        "study": "first",
        "launch": "7" * 64,
        "terms": "3" * 64,
        "about": "admission",
        "choice": "approve",
        "model": None,
        "reviewed": {"site": "south", "terms": "3" * 64},
        "why": None,
        "by": "Ada",
        "account": None,
    },
)
ALLOWED: Written = ("allow", 4, allowed("first", [("train", STEP, 5), ("evaluate", TOTALS, 2)]))
AGREED: Written = ("allow", 4, {**ALLOWED[2], "approval": 4})
FURTHER: Value = {
    **GRANTED[2],
    "epsilon": 1,
    "delta": 0.0001,
    "order": 32,
    "limit": LIMIT_32,
    "by": None,
    "account": None,
}
RESERVED: Written = ("reserve", 5, paid("first", STEP))
SETTLED: Written = ("settle", 6, {"study": "first", "round": 1})
EVALUATED: Written = ("evaluate", 7, paid("first", TOTALS))

PRICE: int = ALLOWED[2]["charge"]
PAID: int = RESERVED[2]["charge"] + EVALUATED[2]["charge"]
BEGUN = (OPEN, REGISTERED, GRANTED)
UNDER_WAY = (*BEGUN, ALLOWED, RESERVED)
AUDITING = (*BEGUN, AUDITS, AGREED, RESERVED)


def accepted() -> Ledger:
    """A study; its site's disk is lost after entry 10 and restored up to entry 9; a second study; a new key.

    The clock was wrong at the end, by two minutes.
    """
    state = Ledger(*BEGUN, LAUNCHES, AGREED, RESERVED, SETTLED, EVALUATED)
    state.add("checkpoint", 8, countersigned(state.standing([grant(PAID, PRICE - PAID)])))
    lost = Ledger(*BEGUN, LAUNCHES, AGREED, RESERVED, SETTLED, EVALUATED)
    lost.add("checkpoint", 8, countersigned(lost.standing([grant(PAID, PRICE - PAID)])))
    lost.add("reserve", 9, {**RESERVED[2], "round": 2})
    spent = PAID + RESERVED[2]["charge"]
    sentence = (
        "restored: entries after 9 are lost; a witness has seen entry 10, whose totals are taken over, with "
        "everything open counted as spent"
    )
    state.add("recover", 10, {**countersigned(lost.standing([grant(spent, PRICE - spent)])), "sentence": sentence})
    rollback = "the newest entry that the coordinator has seen was not in the ledger"
    state.add("incident", 11, {"study": "first", "round": None, "code": "rollback", "sentence": rollback})
    state.add("release", 12, {"study": "first", "model": "4" * 64, "to": "sites"})
    policy = "the study asks for epsilon 9, this site's policy allows 3"
    state.add("refuse", 13, {"study": "second", "code": "policy-epsilon", "sentence": policy})
    grown = {
        "data": "2" * 64,
        "patients": 170,
        "records_per_patient": 3,
        "patients_commitment": "6" * 64,
        "said_different": {"lung-2026": 12},
    }
    state.add("population", 14, {**REGISTERED[2], **grown})
    state.add("grant", 15, FURTHER)
    state.add("approve", 16, {**LAUNCHES[2], "runs": 3})
    state.add("revoke", 17, REVOKED[2])
    third = allowed("third", [("train", RECORDS, 2), ("evaluate", COUNTS, 2)])
    state.add("require", 18, {**REQUIRED[2], "study": "third"})
    state.add("decide", 19, {**DECIDED[2], "study": "third"})
    state.add("allow", 20, third)
    state.add("reserve", 21, paid("third", RECORDS))
    state.add("evaluate", 22, paid("third", COUNTS))
    unused = third["charge"] // 2
    state.add("cohort", 23, {"study": "third", "cohort": ["east", "north", "south"], "minimum": 3})
    state.add("return", 24, {"study": "third", "charge": unused, "why": "given-up"})
    state.add("approve", 25, AUDITS[2])
    state.add("allow", 26, {**allowed("audited", [("train", STEP, 1)]), "approval": len(state.lines)})
    state.add("reserve", 27, paid("audited", STEP))
    state.add("settle", 28, {"study": "audited", "round": 1})
    state.add("audit", 29, AUDITED)
    state.add("return", 30, {"study": "audited", "charge": 0, "why": "finished"})
    state.add("approve", 31, ALONE[2])
    state.add("allow", 32, {**allowed("alone", [("train", FILTERED, 1)]), "approval": len(state.lines)})
    state.add("reserve", 33, paid("alone", FILTERED))
    state.add("settle", 34, {"study": "alone", "round": 1})
    state.add("release", 35, {"study": "alone", "model": "4" * 64, "to": "this site"})
    state.add("return", 36, {"study": "alone", "charge": 0, "why": "finished"})
    state.change_key(37, NEW)
    spent = PRICE + unused + charge(STEP, 8) + charge(FILTERED, 8)
    now = state.standing([grant(spent, 0), grant(0, 0, 1, 0.0001, 32)], recovered=lost.head)
    state.add("checkpoint", 38, countersigned(now, NEW))
    state.add("clock", 22, {"by": "Ada", "account": "ada"})
    return state


def earlier() -> Ledger:
    """A ledger of an earlier version: its approvals do not say what they admit, a launch and an audit used one each."""
    state = Ledger(*BEGUN, ("approve", 3, {**APPROVED[2], "runs": 2}), REQUIRED, ("allow", 4, {**AGREED[2]}))
    state.add("reserve", 5, paid("first", STEP))
    state.add("allow", 6, {**allowed("audited", [("train", STEP, 1)]), "approval": 4})
    state.add("reserve", 7, paid("audited", STEP))
    state.add("audit", 8, AUDITED)
    return state


def refused() -> Iterator[tuple[str, Ledger]]:
    """Ledgers whose last entry is wrong, by the rule it breaks and how."""
    yield from _wrong_form()
    yield from _wrong_chain()
    yield from _wrong_keys()
    yield from _wrong_order()
    yield from _wrong_prices()
    yield from _wrong_budgets()
    yield from _wrong_approvals()
    yield from _wrong_cohorts()
    yield from _wrong_audits()
    yield from _wrong_trainings_alone()
    yield from _wrong_witnesses()


def _wrong_form() -> Iterator[tuple[str, Ledger]]:
    for name, kind, body, fields in (
        ("form-kind", "forgive", {}, {}),
        ("form-field", "approve", {**APPROVED[2], "patient": "x"}, {}),
        ("form-approval-for-null", "approve", {**APPROVED[2], "admits": None}, {}),
        ("form-approval-for-more", "approve", {**APPROVED[2], "admits": "release"}, {}),
        ("form-version", *APPROVED[::2], {"version": 2}),
        ("form-event", "reserve", {**RESERVED[2], "event": {"kind": "exponential", "epsilon": 1}}, {}),
        ("form-unit", "population", {**REGISTERED[2], "unit": "record"}, {}),
        ("form-range", "reserve", {**RESERVED[2], "event": {**STEP, "sampling_rate": 1.5}}, {}),
    ):
        state = Ledger(*BEGUN)
        state.add(kind, 3, body, **fields)
        yield name, state


def _wrong_chain() -> Iterator[tuple[str, Ledger]]:
    for name, fields in (
        ("chain-number", {"number": 5}),
        ("chain-previous", {"previous": "9" * 64}),
        ("chain-time", {"time": "2026-03-02T08:01:59Z"}),
    ):
        state = Ledger(*BEGUN)
        state.add(APPROVED[0], 3, APPROVED[2], **fields)
        yield name, state
    for name, minute in (("chain-clock-that-is-not-behind", 2), ("chain-clock-ahead", 9)):
        yield name, Ledger(*BEGUN, ("clock", minute, {"by": "Ada", "account": None}))
    yield "opening-missing", Ledger(REGISTERED)
    yield "opening-twice", Ledger(OPEN, OPEN)


def _wrong_keys() -> Iterator[tuple[str, Ledger]]:
    entry = {"version": 1, "number": 4, "kind": "approve", "time": "2026-03-02T08:03:00Z", "body": APPROVED[2]}
    state = Ledger(*BEGUN)
    state.write({**entry, "previous": state.head}, NEW)
    yield "signature-other", state
    state = Ledger(*BEGUN)
    state.change_key(3, NEW)
    state.write({**entry, "number": 5, "previous": state.head}, SITE)
    yield "signature-old-key", state
    state = Ledger(*BEGUN)
    proof = signature(WITNESS, "consilium ledger key v1", state.head.encode())
    state.add("key", 3, {"key": public(NEW), "proof": proof})
    yield "signature-key-without-proof", state


def _wrong_order() -> Iterator[tuple[str, Ledger]]:
    yield "once-round", Ledger(*UNDER_WAY, RESERVED)
    yield "once-study", Ledger(*BEGUN, ALLOWED, ALLOWED)
    yield "once-never-reserved", Ledger(*BEGUN, ALLOWED, SETTLED)
    yield "once-never-registered", Ledger(OPEN, GRANTED)
    state = Ledger(*BEGUN)
    state.change_key(3, NEW)
    state.change_key(4, SITE)
    yield "once-key", state
    yield "population-twin", Ledger(*BEGUN, ("population", 3, {**REGISTERED[2], "population": "twin"}))
    visits = {**REGISTERED[2], "contract": "d" * 64, "patient_column": "visit"}
    yield "population-column", Ledger(*BEGUN, ("population", 3, visits))


def _wrong_prices() -> Iterator[tuple[str, Ledger]]:
    yield "price-limit", Ledger(OPEN, REGISTERED, ("grant", 2, {**GRANTED[2], "limit": LIMIT + 1}))
    for name, before, (kind, minute, body) in (
        ("allow", BEGUN, ALLOWED),
        ("reserve", (*BEGUN, ALLOWED), RESERVED),
        ("evaluate", (*BEGUN, ALLOWED), EVALUATED),
    ):
        yield f"price-{name}", Ledger(*before, (kind, minute, {**body, "charge": body["charge"] - 1}))
        lowered = [*body["curve"][:-1], body["curve"][-1] - 1]
        yield f"price-{name}-curve", Ledger(*before, (kind, minute, {**body, "curve": lowered}))
    more = {"study": "first", "charge": PRICE - RESERVED[2]["charge"] + 1, "why": "finished"}
    yield "price-return", Ledger(*UNDER_WAY, ("return", 6, more))


def _wrong_budgets() -> Iterator[tuple[str, Ledger]]:
    many = allowed("first", [("train", STEP, LIMIT // RESERVED[2]["charge"] + 1)])
    yield "budget-allow", Ledger(*BEGUN, ("allow", 4, many))
    yield "budget-order", Ledger(*BEGUN[:2], ("grant", 2, {**GRANTED[2], "order": 9, "limit": limit(3, 1e-3, 9)}))
    yield "budget-never-admitted", Ledger(*BEGUN, RESERVED)
    yield "budget-other-event", Ledger(*UNDER_WAY, ("reserve", 6, {**paid("first", TOTALS), "round": 2}))
    one = allowed("first", [("train", STEP, 1)])
    yield (
        "budget-more-rounds",
        Ledger(*BEGUN, ("allow", 4, one), RESERVED, ("reserve", 6, {**RESERVED[2], "round": 2})),
    )
    closed = ("return", 6, {"study": "first", "charge": PRICE - RESERVED[2]["charge"], "why": "finished"})
    yield "budget-closed", Ledger(*UNDER_WAY, closed, ("reserve", 7, {**RESERVED[2], "round": 2}))
    second = allowed("first", [("train", STEP, 1)], 32, grant=2)
    yield "budget-second-grant", Ledger(*BEGUN, ("grant", 3, FURTHER), ("allow", 4, second))
    bare: Value = {"purpose": "train", "event": {"kind": "unprotected"}, "times": 1}
    without = {**ALLOWED[2], "study": "bare", "plan": [bare], "grant": None, "curve": None, "charge": 0}
    trained = {"study": "bare", "round": 1, "event": {"kind": "unprotected"}, "curve": None, "charge": None}
    yield "budget-unprotected", Ledger(*BEGUN, ("allow", 3, without), ("reserve", 3, trained), ALLOWED)


def _wrong_approvals() -> Iterator[tuple[str, Ledger]]:
    agreed = (*BEGUN, APPROVED)
    yield "approval-none", Ledger(*BEGUN, ("allow", 4, {**ALLOWED[2], "approval": 3}))
    yield "approval-of-other-terms", Ledger(*agreed, ("allow", 4, {**AGREED[2], "terms": "9" * 64}))
    yield "approval-used", Ledger(*agreed, AGREED, ("allow", 5, {**AGREED[2], "study": "again"}))
    yield "approval-revoked", Ledger(*agreed, REVOKED, ("allow", 6, AGREED[2]))
    yield "approval-nothing-to-revoke", Ledger(*agreed, AGREED, REVOKED)
    yield from _wrong_decisions()


def _wrong_decisions() -> Iterator[tuple[str, Ledger]]:
    asked = (*BEGUN, REQUIRED)

    def decided(**changes: Any) -> Written:
        return ("decide", 3, {**DECIDED[2], **changes})

    two = ("require", 3, {**REQUIRED[2], "persons": 2})
    yield "approval-nobody-asked", Ledger(*BEGUN, DECIDED)
    yield "approval-of-another-launch", Ledger(*asked, decided(launch="9" * 64))
    yield "approval-nobody-decided", Ledger(*asked, ALLOWED)
    yield "approval-person-refused", Ledger(*asked, DECIDED, decided(by="Bob", choice="refuse"), ALLOWED)
    yield "approval-one-of-two", Ledger(*BEGUN, two, DECIDED, ALLOWED)
    yield "approval-same-person-twice", Ledger(*BEGUN, two, DECIDED, decided(by=" ADA "), ALLOWED)
    yield "approval-same-person-unseen", Ledger(*BEGUN, two, DECIDED, decided(by="A\u200bda"), ALLOWED)
    yield "once-order-of-two-launches", Ledger(*asked, ("require", 3, {**REQUIRED[2], "launch": "9" * 64}))
    relaunched = ("require", 3, {**REQUIRED[2], "launch": "9" * 64, "nonce": "7" * 32})
    yield "approval-of-an-earlier-launch", Ledger(*asked, DECIDED, relaunched, ALLOWED)
    released = ("release", 5, {"study": "first", "model": "4" * 64, "to": "sites"})
    waits = ("require", 3, {**REQUIRED[2], "release": True})
    other = ("decide", 5, {**DECIDED[2], "about": "release", "model": "5" * 64})
    yield "approval-release-nobody", Ledger(*BEGUN, waits, DECIDED, ALLOWED, released)
    yield "approval-release-of-another-model", Ledger(*BEGUN, waits, DECIDED, ALLOWED, other, released)
    yield "form-rule-and-persons", Ledger(*BEGUN, ("require", 3, {**REQUIRED[2], "rule": "all"}))
    review = {"site": "south", "terms": "9" * 64}
    yield "form-review-of-other-terms", Ledger(*asked, decided(reviewed=review))


def _wrong_cohorts() -> Iterator[tuple[str, Ledger]]:
    def counted(*names: str, minimum: int = 3) -> Written:
        return ("cohort", 6, {"study": "first", "cohort": names, "minimum": minimum})

    all_five = counted("east", "mid", "north", "south", "west")
    yield "cohort-of-all-but-one", Ledger(*UNDER_WAY, all_five, counted("east", "mid", "north", "south"))
    yield (
        "cohort-of-one-more",
        Ledger(*UNDER_WAY, counted("east", "mid", "north"), counted("east", "mid", "north", "west")),
    )
    careful = counted("a", "b", "c", "d", "e", "f", minimum=4)
    yield "cohort-nearer-than-the-earlier-needs", Ledger(*UNDER_WAY, careful, counted("a", "b", "c"))
    yield "form-cohort-order", Ledger(*UNDER_WAY, counted("north", "east", "south"))
    yield "budget-cohort-never-admitted", Ledger(*BEGUN, all_five)


def _wrong_audits() -> Iterator[tuple[str, Ledger]]:
    of_first = {**AUDITED, "study": "first"}
    other = {**of_first, "canaries": 401}
    yield "once-audit-with-another-result", Ledger(*AUDITING, ("audit", 6, of_first), ("audit", 7, other))
    result = ("audit", 6, of_first)
    yield "approval-audit-that-nobody-approved", Ledger(*UNDER_WAY, result)
    yield "approval-audit-by-one-for-a-launch", Ledger(*BEGUN, LAUNCHES, AGREED, RESERVED, result)
    waiting = (*BEGUN, APPROVED, REQUIRED)
    yield "approval-audit-of-a-launched-study", Ledger(*waiting, AGREED, RESERVED, result)
    yield "approval-launch-by-one-for-an-audit", Ledger(*BEGUN, AUDITS, REQUIRED, AGREED)
    yield "approval-audit-with-totals", Ledger(*BEGUN, AUDITS, AGREED, RESERVED, EVALUATED)
    released = ("release", 7, {"study": "first", "model": "4" * 64, "to": "sites"})
    yield "approval-audit-with-a-model", Ledger(*AUDITING, released)
    counted = ("cohort", 7, {"study": "first", "cohort": ["east", "north", "south"], "minimum": 3})
    yield "approval-audit-with-a-cohort", Ledger(*AUDITING, counted)
    yield "approval-audit-asked-for-as-a-launch", Ledger(*AUDITING, ("require", 7, REQUIRED[2]))
    yield "budget-audit-never-admitted", Ledger(*BEGUN, ("audit", 6, of_first))
    yield (
        "form-audit-below-zero",
        Ledger(*UNDER_WAY, ("audit", 6, {**of_first, "at_least": {**AUDITED["at_least"], "gaussian": -0.5}})),
    )


def _wrong_trainings_alone() -> Iterator[tuple[str, Ledger]]:
    filtered = ("allow", 4, allowed("first", [("train", FILTERED, 1)], approval=4))
    paid_for = ("reserve", 5, paid("first", FILTERED))
    released = ("release", 6, {"study": "first", "model": "4" * 64, "to": "this site"})
    for name, approval in (("launch", LAUNCHES), ("audit", AUDITS), ("earlier-approval", APPROVED)):
        yield f"approval-filters-by-one-for-{name}", Ledger(*BEGUN, approval, filtered)
    yield (
        "approval-filters-that-nobody-approved",
        Ledger(*BEGUN, (*filtered[:2], {**filtered[2], "approval": None})),
    )
    yield "approval-other-training-alone", Ledger(*BEGUN, ALONE, AGREED)
    for name, events in (
        ("in-parts", [("train", FILTERED, 2)]),
        ("with-totals", [("train", FILTERED, 1), ("evaluate", TOTALS, 1)]),
        ("of-test-patients", [("evaluate", FILTERED, 1)]),
    ):
        body = allowed("first", events, approval=4)
        yield f"approval-filters-{name}", Ledger(*BEGUN, ALONE, ("allow", 4, body))
    yield "once-model-alone-before-it-paid", Ledger(*BEGUN, ALONE, filtered, released)
    yield (
        "approval-alone-asked-for-as-a-launch",
        Ledger(*BEGUN, ALONE, filtered, paid_for, ("require", 6, REQUIRED[2])),
    )
    counted = ("cohort", 6, {"study": "first", "cohort": ["east", "north", "south"], "minimum": 3})
    yield "approval-alone-with-a-cohort", Ledger(*BEGUN, ALONE, filtered, paid_for, counted)
    yield (
        "approval-alone-with-an-audit",
        Ledger(*BEGUN, ALONE, filtered, paid_for, ("audit", 6, {**AUDITED, "study": "first"})),
    )
    yield "approval-launch-by-one-for-alone", Ledger(*BEGUN, ALONE, REQUIRED, filtered)
    more = {**FILTERED, "paid_steps": 21}
    yield (
        "form-filters-that-pay-for-more",
        Ledger(*BEGUN, ALONE, ("allow", 4, allowed("first", [("train", more, 1)], approval=4))),
    )


def _wrong_witnesses() -> Iterator[tuple[str, Ledger]]:
    spent = RESERVED[2]["charge"]
    true = grant(spent, PRICE - spent)

    def seen(kind: str = "checkpoint", *, grants: Value = true, fields: Value | None = None, **by: Any) -> Ledger:
        state = Ledger(*UNDER_WAY)
        body = countersigned(state.standing([grants], **(fields or {})), **by)
        state.add(kind, 6, {**body, "sentence": "restored"} if kind == "recover" else body)
        return state

    yield "witness-hash", seen(fields={"hash": "9" * 64})
    yield "witness-number", seen(fields={"number": 9})
    yield "witness-site", seen(fields={"site": "south"})
    yield "witness-totals", seen(grants=grant(0, PRICE))
    yield "witness-head-of-another-key", seen(key=NEW)
    yield "witness-signature", seen(witness=NEW)
    yield "witness-nothing-lost", seen("recover")
    yield "witness-other-grant", seen("recover", fields={"hash": "9" * 64}, grants=grant(0, 0, epsilon=9))


def expected(state: Ledger, wrong: list[tuple[str, Ledger]]) -> Value:
    """What a verifier must find."""
    return {
        "key": public(SITE),
        "accepted": {
            "site": "north",
            "key": public(NEW),
            "entries": len(state.lines),
            "head": state.head,
            "last_entry": state.time,
            "witnessed": 37,
            "recovered": 10,
            "unsettled_rounds": 1,
            "grants": [
                {
                    "order": 8,
                    "limit": LIMIT,
                    "spent": PRICE + charge(RECORDS, 8) + charge(COUNTS, 8) + charge(STEP, 8) + charge(FILTERED, 8),
                    "set_aside": 0,
                },
                {"order": 32, "limit": LIMIT_32, "spent": 0, "set_aside": 0},
            ],
        },
        "refused": {name: {"entry": len(each.lines), "rule": name.split("-")[0]} for name, each in wrong},
    }


def files() -> dict[str, bytes]:
    """Everything that is written, by its name in this folder."""
    state, wrong = accepted(), list(refused())
    figures = json.dumps(expected(state, wrong), indent=2) + "\n"
    exports = {f"refused/{name}.jsonl": each.export() for name, each in wrong}
    ledgers = {"accepted.jsonl": state.export(), "earlier.jsonl": earlier().export()}
    return {**ledgers, "expected.json": figures.encode(), **exports}


if __name__ == "__main__":
    folder = Path(__file__).parent
    (folder / "refused").mkdir(exist_ok=True)
    for name, data in files().items():
        (folder / name).write_bytes(data)
