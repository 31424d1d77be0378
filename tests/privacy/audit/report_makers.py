"""Ledgers worth a report: a year of a site in which much goes wrong, and ledgers that are large or hostile."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from privacy.accounting.epsilon import compute_renyi_limit, compute_stored_curve
from privacy.accounting.events import SampledGaussian
from privacy.accounting.plan import Planned, Purpose, compute_plan_curve
from privacy.canonical import compute_sha256
from privacy.ledger import Entry, Ledger
from privacy.ledger.entries import Allow, Body, Grant, Open, Population, Reserve, Return, Settle, read_entry
from privacy.ledger.state import LedgerState
from tests.privacy.ledger_makers import (
    COUNTS,
    DATA,
    KEY,
    OTHER_KEY,
    PATIENTS,
    POPULATION,
    RECORDS,
    STEP,
    TERMS,
    TOTALS,
    UNPROTECTED,
    WITNESS,
    clock,
    countersigned,
    plan,
)

HOSTILE = "</style><script>alert(1)</script><img src=x onerror='alert(2)'>\" onload=\"x\u202e\u0000&amp;<!--"
GENTLE = SampledGaussian(noise_multiplier=2.2, sampling_rate=0.03, steps=20)
EXPOSED = "stroke-2025"


def write_year(path: Path) -> None:
    """A year: twelve studies, a grant enlarged, a backup restored, a key changed, a population without any bound."""
    look, backup = clock(start="2025-09-01T07:12:00+00:00", step_s=51 * 3600), path.with_suffix(".backup")
    with Ledger.create(path, KEY, "st-marien-nord", look) as ledger:
        ledger.register_population(POPULATION, DATA, 1_160, 1, PATIENTS, "c" * 64, "id")
        ledger.grant(POPULATION, 3, 1e-4, 8)
        ledger.approve(TERMS, "Dr. A. Weber, data protection officer")
        for number in range(1, 8):
            _study(ledger, f"tumour-grade-{number:02}", rounds=4 + 3 * (number % 3))
        ledger.record_refusal(
            "whole-genome", "policy-epsilon", "the study asks for epsilon 9, this site's policy allows 3"
        )
        ledger.grant(POPULATION, 1.5, 1e-5, 16)
        ledger.record_checkpoint(countersigned(ledger), WITNESS.public)
    shutil.copy(path, backup)
    with Ledger.open(path, KEY, look) as ledger:
        ledger.allow("relapse-lost", POPULATION, plan(), "7" * 64)
        ledger.reserve("relapse-lost", 1, STEP)
        seen = countersigned(ledger)
    backup.replace(path)
    with Ledger.open(path, KEY, look) as ledger:
        ledger.recover(seen, WITNESS.public)
        ledger.register_population(POPULATION, "8" * 64, 1_240, 3, PATIENTS, "c" * 64, "id")
        ledger.allow("relapse-risk", POPULATION, plan(3, RECORDS, COUNTS), "9" * 64)
        ledger.reserve("relapse-risk", 1, RECORDS)
        ledger.record_incident(
            "relapse-risk", "void-round", "round 1 is void: 'south' vanished after sealing", round=1
        )
        ledger.register_population(EXPOSED, "a" * 64, 412, 1, "b" * 64, "c" * 64, "id")
        ledger.grant(EXPOSED, 1, 1e-5, 16)
        _study(ledger, "lesion-volume", rounds=6, population=EXPOSED)
        ledger.allow("pilot", EXPOSED, plan(2, UNPROTECTED, UNPROTECTED), "c" * 64)
        ledger.reserve("pilot", 1, UNPROTECTED)
        ledger.pay_evaluation("pilot", 1, UNPROTECTED)
        ledger.register_population("sepsis-icu", "d" * 64, 88, 1, "e" * 64, "c" * 64, "id", {EXPOSED: 31})
        ledger.change_key(OTHER_KEY)
        ledger.record_incident("pilot", "opening-failed", HOSTILE)
        ledger.approve("c" * 64, HOSTILE.replace("\0", "")[:100])
        ledger.record_checkpoint(countersigned(ledger), WITNESS.public)


def _study(ledger: Ledger, name: str, rounds: int, population: str = POPULATION) -> None:
    ledger.allow(
        name, population, plan(rounds, GENTLE), TERMS if name.endswith("1") else compute_sha256(name.encode())
    )
    for number in range(1, rounds + 1):
        ledger.reserve(name, number, GENTLE)
        ledger.settle(name, number)
    ledger.pay_evaluation(name, rounds, TOTALS)
    ledger.record_release(name, compute_sha256(name.encode() + b"model"))
    ledger.give_back(name)


def long_ledger(entries: int) -> Iterator[tuple[LedgerState, Entry]]:
    """A ledger of about so many entries, in memory: studies of fifty rounds, a minute an entry."""
    ledger_state, look = LedgerState(), clock()
    event = SampledGaussian(noise_multiplier=1000.0, sampling_rate=0.01, steps=1)
    planned = (Planned(purpose=Purpose.TRAIN, event=event, times=50),)

    def write(body: Body) -> tuple[LedgerState, Entry]:
        return ledger_state, read_entry(ledger_state.append(body, look().strftime("%Y-%m-%dT%H:%M:%SZ"), KEY).entry)

    yield write(Open(site="north", key=KEY.public.text))
    yield write(
        Population(
            population=POPULATION,
            contract="c" * 64,
            patient_column="id",
            data=DATA,
            patients=9,
            records_per_patient=1,
            patients_commitment=PATIENTS,
        )
    )
    yield write(Grant(population=POPULATION, epsilon=3, delta=1e-3, order=8, limit=compute_renyi_limit(3, 1e-3, 8)))
    for number in range((entries - 3) // 102):
        study, filter_ = f"study-{number}", ledger_state.find_account(POPULATION).find_filter(1)
        price = filter_.compute_plan_price(planned)
        curve = compute_plan_curve(planned)
        yield write(
            Allow(study=study, population=POPULATION, terms=TERMS, plan=planned, grant=1, curve=curve, charge=price)
        )
        for round in range(1, 51):
            charge = filter_.compute_price(event)
            yield write(
                Reserve(study=study, round=round, event=event, curve=compute_stored_curve(event), charge=charge)
            )
            yield write(Settle(study=study, round=round))
        yield write(Return(study=study, charge=0))
