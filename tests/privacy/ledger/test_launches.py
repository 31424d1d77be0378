"""Launches of one study, and what they cost together, against the whole ledger of a site that did nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from privacy.accounting.events import SampledGaussian, Unprotected
from privacy.accounting.plan import Planned, Purpose
from privacy.errors import BudgetError
from privacy.ledger import Ledger
from privacy.ledger.launches import launches_of
from tests.privacy.ledger_makers import DATA, KEY, PATIENTS, clock

STEP = SampledGaussian(noise_multiplier=4.0, sampling_rate=0.1, steps=5)
PLAN = (Planned(purpose=Purpose.TRAIN, event=STEP, times=3),)
BARE = (Planned(purpose=Purpose.TRAIN, event=Unprotected(), times=3),)
THESE, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "ledger.sqlite", KEY, "north", clock()) as made:
        made.register_population("small", DATA, 60, 1, PATIENTS, "c" * 64, "id")
        yield made


def run(ledger: Ledger, study: str, rounds: int = 3, terms: str = THESE) -> None:
    """A study that is admitted, trains, and closes."""
    ledger.allow(study, "small", PLAN, terms)
    for number in range(1, rounds + 1):
        ledger.reserve(study, number, STEP)
        ledger.settle(study, number)
    ledger.give_back(study)


def test_only_launch_costs_what_it_paid(ledger: Ledger) -> None:
    ledger.grant("small", 9.0, 1e-3, 4)
    run(ledger, "hearts-0000000a", rounds=2)
    found = launches_of(ledger.read_state(), "hearts-0000000a")
    assert (found.studies, found.same_terms, found.whole) == (("hearts-0000000a",), 1, True)
    assert (found.epsilon, found.delta) == (ledger.read_state().find_account("small").budget.epsilon_spent, 1e-3)


def test_launches_together_cost_what_the_grant_has_spent_and_set_aside(ledger: Ledger) -> None:
    """One stopped early, one ran to its end, one is at work, with changed terms: three, of which two are the same."""
    ledger.grant("small", 9.0, 1e-3, 4)
    run(ledger, "hearts-0000000a", rounds=1)
    run(ledger, "hearts-0000000b")
    ledger.allow("hearts-0000000c", "small", PLAN, OTHER)
    ledger.reserve("hearts-0000000c", 1, STEP)
    budget = ledger.read_state().find_account("small").budget
    assert budget.epsilon_spent is not None
    first, last = (
        launches_of(ledger.read_state(), "hearts-0000000a"),
        launches_of(ledger.read_state(), "hearts-0000000c"),
    )
    assert first.studies == last.studies == tuple(f"hearts-0000000{each}" for each in "abc")
    assert (first.same_terms, last.same_terms) == (2, 1)
    assert first.epsilon == last.epsilon == pytest.approx(budget.epsilon_spent + budget.epsilon_set_aside, abs=2e-4)


def test_studies_of_other_names_are_not_counted(ledger: Ledger) -> None:
    ledger.grant("small", 9.0, 1e-3, 4)
    run(ledger, "hearts-0000000a")
    alone = launches_of(ledger.read_state(), "hearts-0000000a")
    run(ledger, "hearts-and-lungs-0000000b")
    run(ledger, "lungs-0000000c")
    assert launches_of(ledger.read_state(), "hearts-0000000a") == alone
    assert launches_of(ledger.read_state(), "hearts-and-lungs-0000000b").studies == ("hearts-and-lungs-0000000b",)


def test_launches_paid_from_two_grants_add_epsilons_and_deltas(ledger: Ledger) -> None:
    ledger.grant("small", 9.0, 1e-3, 4)
    run(ledger, "hearts-0000000a")
    alone = launches_of(ledger.read_state(), "hearts-0000000a").epsilon
    while ledger.read_state().find_account("small").budget.grants[0].left > 0:
        try:
            run(ledger, f"fill-{ledger.head.number:08x}")
        except BudgetError:
            break
    ledger.grant("small", 9.0, 1e-4, 4)
    run(ledger, "hearts-0000000b")
    found = launches_of(ledger.read_state(), "hearts-0000000b")
    second = ledger.read_state().find_account("small").budget.grants[1].epsilon_spent
    assert alone is not None
    assert found.epsilon == pytest.approx(alone + second, abs=2e-4)
    assert found.delta == pytest.approx(1.1e-3)


def test_nothing_bounds_launches_one_of_which_had_no_privacy(ledger: Ledger) -> None:
    ledger.grant("small", 9.0, 1e-3, 4)
    run(ledger, "hearts-0000000a")
    ledger.allow("hearts-0000000b", "small", BARE, OTHER)
    assert launches_of(ledger.read_state(), "hearts-0000000a").epsilon is None


def test_study_that_was_never_admitted_has_no_launches(ledger: Ledger) -> None:
    with pytest.raises(BudgetError, match="never admitted here"):
        launches_of(ledger.read_state(), "hearts-0000000a")
