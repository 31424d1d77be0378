"""Real processes that want the same budget at the same time."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from privacy.accounting.epsilon import compute_charge
from privacy.accounting.events import SampledGaussian
from privacy.accounting.plan import Planned
from privacy.errors import BudgetError
from privacy.ledger import Entry, Ledger, LedgerState, verify_file
from privacy.ledger.entries import Reserve
from tests.privacy.ledger_makers import KEY, POPULATION, STEP, TERMS, UNPROTECTED, granted_ledger, plan

PROCESSES = 8
REQUESTS = 125
PRICE = compute_charge(STEP, 8)


def race(work: Callable[..., None], arguments: list[tuple[Any, ...]]) -> list[int]:
    """What the racing processes answer; they begin together."""
    context = multiprocessing.get_context("spawn")
    gate, answers = context.Barrier(len(arguments)), context.SimpleQueue()
    racers = [context.Process(target=work, args=(*each, gate, answers)) for each in arguments]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0] * len(racers)
    return [answers.get() for _ in racers]


def training(rounds: int) -> list[Planned]:
    return plan(rounds)[:1]


def _ask_for_rounds(path: Path, study: str, racer: int, gate: Barrier, answers: Any) -> None:
    """Admit a small study of one's own or pay a round of the shared one, in turns."""
    paid = 0
    with Ledger.open(path, KEY) as ledger:
        gate.wait()
        for number in range(REQUESTS):
            try:
                if number % 5:
                    ledger.reserve(study, number, STEP)
                else:
                    ledger.allow(f"{study}-{racer}-{number}", POPULATION, training(1), TERMS)
                    paid += 1
            except BudgetError:
                pass
    answers.put(paid)


def test_a_thousand_requests_of_two_studies_never_pass_the_grant(path: Path) -> None:
    rounds, spare = 30, 9
    with granted_ledger(path) as ledger:
        for study in ("left", "right"):
            ledger.allow(study, POPULATION, training(rounds), TERMS)
        leave(ledger, spare * PRICE)
    racers = [(path, "left" if racer % 2 else "right", racer) for racer in range(PROCESSES)]
    admitted = race(_ask_for_rounds, racers)
    state = verify_file(path, KEY.public)
    (grant,) = state.find_account(POPULATION).budget.grants
    assert sum(admitted) == spare
    assert grant.spent == 2 * rounds * PRICE
    assert grant.spent + grant.set_aside + grant.left == grant.limit
    assert 0 <= grant.left < PRICE


def leave(ledger: Ledger, amount: int) -> None:
    """Set aside all of the grant but ``amount`` and at most the price of one step more."""
    left = ledger.read_state().find_account(POPULATION).budget.grants[0].left
    for hundredths in range(60, 1000):
        filler = SampledGaussian(noise_multiplier=hundredths / 100, sampling_rate=1, steps=1)
        if amount <= left - compute_charge(filler, 8) < amount + PRICE:
            ledger.allow("filler", POPULATION, plan(1, filler)[:1], TERMS)
            return
    raise AssertionError("no noise fills the grant so closely")


def _pay_the_same(path: Path, gate: Barrier, answers: Any) -> None:
    with Ledger.open(path, KEY) as ledger:
        gate.wait()
        for number in range(5):
            ledger.reserve("a", number, STEP)
        answers.put(ledger.head.number)


def test_round_asked_of_processes_that_race_is_paid_once(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, training(5), TERMS)
        assert max(race(_pay_the_same, [(path,)] * 4)) == 9
        assert ledger.read_state().find_account(POPULATION).budget.grants[0].spent == 5 * PRICE
        assert ledger.head.number == 9


def _admit_and_train(path: Path, private: bool, gate: Barrier, answers: Any) -> None:
    step, name = (STEP, "private") if private else (UNPROTECTED, "open")
    done = 0
    with Ledger.open(path, KEY) as ledger:
        gate.wait()
        try:
            ledger.allow(name, POPULATION, plan(20, step)[:1], TERMS)
            for number in range(20):
                ledger.reserve(name, number, step)
                done += 1
        except BudgetError:
            pass
    answers.put(done)


def test_study_with_privacy_that_races_one_without_is_never_paid_after_it(path: Path) -> None:
    granted_ledger(path).close()
    race(_admit_and_train, [(path, True), (path, False)])
    order: list[bool] = []

    def watch(state: LedgerState, entry: Entry) -> None:
        if isinstance(entry.body, Reserve):
            order.append(entry.body.charge is None)

    state = verify_file(path, KEY.public, watch)
    assert order == sorted(order)
    assert state.find_account(POPULATION).unprotected_by == "open"
