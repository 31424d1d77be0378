"""Ledgers for the ledger's tests: the same short stories, told on a clock that stands still, and ledgers that lie."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.accounting.events import (
    AnyEvent,
    BoundedContribution,
    Gaussian,
    IndividualGaussian,
    Laplace,
    SampledGaussian,
    Unprotected,
)
from privacy.accounting.plan import Planned, Purpose
from privacy.canonical import compute_sha256, to_canonical
from privacy.keys import SigningKey
from privacy.ledger import Ledger
from privacy.ledger.entries import About, Admits, AtLeast, Audit, Choice, Ending, Require, Review
from privacy.ledger.signed_head import Countersigned
from privacy.ledger.signing import SignedEntry

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
WITNESS = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34))))
DATA, CHANGED_DATA, TERMS, MODEL, PATIENTS = ("1" * 64, "2" * 64, "3" * 64, "4" * 64, "5" * 64)
POPULATION = "breast-2026"
STEP = SampledGaussian(noise_multiplier=2.0, sampling_rate=0.05, steps=10)
TOTALS = Gaussian(noise_multiplier=20.0, count=1)
RECORDS = BoundedContribution(noise_multiplier=8.0, sampling_rate=0.05, records_per_patient=3, steps=10)
COUNTS = Laplace(scale=40.0, count=2)
FILTERED = IndividualGaussian(noise_multiplier=40.0, paid_steps=8, steps=20)
UNPROTECTED = Unprotected()

Value = dict[str, Any]


def plan(rounds: int = 5, step: AnyEvent = STEP, totals: AnyEvent = TOTALS) -> list[Planned]:
    return [
        Planned(purpose=Purpose.TRAIN, event=step, times=rounds),
        Planned(purpose=Purpose.EVALUATE, event=totals, times=2),
    ]


def clock(*, start: str = "2026-03-02T08:00:00+00:00", step_s: int = 60) -> Callable[[], datetime]:
    """A clock that moves on by ``step_s`` whenever it is looked at."""
    now = datetime.fromisoformat(start).astimezone(UTC) - timedelta(seconds=step_s)

    def look() -> datetime:
        nonlocal now
        now += timedelta(seconds=step_s)
        return now

    return look


def granted_ledger(path: Path, epsilon: float = 3.0, look: Callable[[], datetime] | None = None) -> Ledger:
    """A new ledger with one population and its grant."""
    ledger = Ledger.create(path, KEY, "north", look or clock())
    ledger.register_population(POPULATION, DATA, 160, 1, PATIENTS, "c" * 64, "id")
    ledger.grant(POPULATION, epsilon, 1e-3, 8, "Ada", "ada")
    return ledger


def countersigned(ledger: Ledger, witness: SigningKey = WITNESS) -> Countersigned:
    """What ``witness`` sends back of the ledger as it is now."""
    return Countersigned.sign(witness, "coordinator", ledger.sign_head())


def write_story(path: Path) -> None:
    """A site's plain days: one study from admission to release, one refused."""
    with granted_ledger(path) as ledger:
        ledger.allow("first", POPULATION, plan(), TERMS)
        ledger.reserve("first", 1, STEP)
        ledger.settle("first", 1)
        ledger.pay_evaluation("first", 1, TOTALS)
        ledger.reserve("first", 2, STEP)
        ledger.record_incident("first", "void-round", "round 2 is void: a site vanished after sealing", round=2)
        ledger.record_release("first", MODEL)
        ledger.give_back("first")
        ledger.record_refusal(
            "second", "policy-epsilon", "the study asks for epsilon 9, this site's policy allows 3"
        )


def requirement(study: str, **changes: Any) -> Require:
    """What a policy asks of a launch: that one person agrees."""
    return Require.model_validate(
        {
            "study": study,
            "launch": "7" * 64,
            "terms": TERMS,
            "persons": 1,
            "rule": None,
            "release": False,
            "operator": "grace",
            "operator_key": OTHER_KEY.public.text,
            "nonce": "6" * 32,
            "epsilon": 3,
            "policy": "8" * 64,
            **changes,
        }
    )


AUDITED = Audit(
    study="audited",
    canaries=400,
    epsilon=3,
    delta=1e-3,
    gaussian_is_claimed=False,
    at_least=AtLeast(one_run=0, trade_off=0.25, gaussian=0.5, independent=None),
)


def write_every_kind(path: Path) -> None:
    """Entries of every kind: a study, a disk that is lost, its backup, a second study, a key, a clock."""
    look, backup = clock(), path.with_suffix(".backup")
    with granted_ledger(path, look=look) as ledger:
        ledger.approve(TERMS, "data protection")
        ledger.allow("first", POPULATION, plan(), TERMS, approval=Admits.LAUNCH)
        ledger.reserve("first", 1, STEP)
        ledger.settle("first", 1)
        ledger.pay_evaluation("first", 1, TOTALS)
        ledger.record_checkpoint(countersigned(ledger), WITNESS.public)
    shutil.copy(path, backup)
    with Ledger.open(path, KEY, look) as ledger:
        ledger.reserve("first", 2, STEP)
        seen = countersigned(ledger)
    backup.replace(path)
    with Ledger.open(path, KEY, look) as ledger:
        ledger.recover(seen, WITNESS.public)
        ledger.record_incident(
            "first", "rollback", "the newest entry that the coordinator has seen was not in the ledger"
        )
        ledger.record_release("first", MODEL)
        ledger.record_refusal(
            "second", "policy-epsilon", "the study asks for epsilon 9, this site's policy allows 3"
        )
        ledger.register_population(POPULATION, CHANGED_DATA, 170, 3, "6" * 64, "c" * 64, "id", {"lung-2026": 12})
        ledger.grant(POPULATION, 1, 1e-4, 32)
        ledger.approve(TERMS, "data protection", runs=3)
        ledger.revoke(TERMS, "data protection")
        ledger.require(requirement("third"))
        review = Review(site="south", terms=TERMS)
        launch = requirement("third").launch
        ledger.decide("third", About.ADMISSION, Choice.APPROVE, "Ada", launch=launch, reviewed=review)
        ledger.allow("third", POPULATION, plan(2, RECORDS, COUNTS), TERMS)
        ledger.reserve("third", 1, RECORDS)
        ledger.pay_evaluation("third", 1, COUNTS)
        ledger.record_cohort("third", ("east", "north", "south"), 3)
        ledger.give_back("third", Ending.GIVEN_UP)
        ledger.approve(TERMS, "data protection", admits=Admits.AUDIT)
        ledger.allow(
            "audited",
            POPULATION,
            [Planned(purpose=Purpose.TRAIN, event=STEP, times=1)],
            TERMS,
            approval=Admits.AUDIT,
        )
        ledger.reserve("audited", 1, STEP)
        ledger.settle("audited", 1)
        ledger.record_audit(AUDITED)
        ledger.give_back("audited")
        ledger.approve(TERMS, "data protection", admits=Admits.ALONE)
        alone = [Planned(purpose=Purpose.TRAIN, event=FILTERED, times=1)]
        ledger.allow("alone", POPULATION, alone, TERMS, approval=Admits.ALONE)
        ledger.reserve("alone", 1, FILTERED)
        ledger.settle("alone", 1)
        ledger.record_release("alone", MODEL, "this site")
        ledger.give_back("alone")
        ledger.change_key(OTHER_KEY)
        ledger.record_checkpoint(countersigned(ledger), WITNESS.public)
    with Ledger.open(path, OTHER_KEY, clock(start="2026-03-02T08:22:00+00:00")) as ledger:
        ledger.accept_clock("Ada", "ada")


def values_of(path: Path, key: SigningKey = KEY) -> list[Value]:
    """The entries of a ledger as plain values."""
    with Ledger.open(path, key) as ledger:
        return [json.loads(line)["entry"] for line in ledger.export_lines() if b'"entry"' in line]


def forged(values: Iterable[Value], key: SigningKey = KEY, since: int = 1) -> Iterator[SignedEntry]:
    """The ledger that ``values`` would make, chained anew; ``key`` signs from entry ``since`` on."""
    previous = "0" * 64
    for number, value in enumerate(values, start=1):
        data = to_canonical({**value, "number": number, "previous": previous})
        signer = key if number >= since else KEY
        yield SignedEntry(data, signer.sign(b"consilium ledger entry v1\0" + data))
        previous = compute_sha256(data)


def changed(values: list[Value], number: int, **body: Any) -> list[Value]:
    """``values`` with another body in entry ``number``."""
    value = values[number - 1]
    return [*values[: number - 1], {**value, "body": {**value["body"], **body}}, *values[number:]]


def number_of(values: list[Value], kind: str) -> int:
    return next(number for number, value in enumerate(values, start=1) if value["kind"] == kind)
