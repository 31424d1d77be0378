"""The site's ledger on disk, as the site uses it."""

import sqlite3
from pathlib import Path

import pytest

from privacy.accounting.epsilon import compute_charge, epsilon_of
from privacy.accounting.events import SampledGaussian
from privacy.errors import BudgetError, LedgerError, RefusedError, StorageError
from privacy.ledger import Ledger
from privacy.ledger.approvals import Approvals
from privacy.ledger.entries import Admits, Allow, Approve, Ending, Reserve
from tests.privacy.ledger_makers import (
    CHANGED_DATA,
    DATA,
    KEY,
    MODEL,
    OTHER_KEY,
    PATIENTS,
    POPULATION,
    STEP,
    TERMS,
    TOTALS,
    UNPROTECTED,
    granted_ledger,
    plan,
    values_of,
    write_story,
)


def spent(ledger: Ledger) -> int:
    return sum(grant.spent for grant in ledger.read_state().find_account(POPULATION).budget.grants)


def test_budget_after_the_story_is_what_was_reserved_and_evaluated(path: Path) -> None:
    write_story(path)
    with Ledger.open(path, KEY) as ledger:
        budget = ledger.read_state().find_account(POPULATION).budget
        assert budget.grants[0].spent == 2 * compute_charge(STEP, 8) + compute_charge(TOTALS, 8)
        assert budget.grants[0].set_aside == 0
        assert ledger.read_state().list_budgets() == [budget]


def test_same_question_twice_is_recorded_once(path: Path) -> None:
    with granted_ledger(path) as ledger:
        for _ in range(2):
            ledger.register_population(POPULATION, DATA, 160, 1, PATIENTS, "c" * 64, "id")
            ledger.allow("a", POPULATION, plan(), TERMS)
            ledger.reserve("a", 1, STEP)
            ledger.settle("a", 1)
            ledger.pay_evaluation("a", 1, TOTALS)
            ledger.record_release("a", MODEL)
            ledger.record_incident("a", "void-round", "round 1 is void", round=1)
        for _ in range(2):
            ledger.give_back("a")
        assert ledger.head.number == 3 + 7
        assert spent(ledger) == compute_charge(STEP, 8) + compute_charge(TOTALS, 8)


def test_round_reserved_again_with_other_noise_is_refused(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, plan(), TERMS)
        ledger.reserve("a", 1, STEP)
        other = SampledGaussian(noise_multiplier=3.0, sampling_rate=0.05, steps=10)
        with pytest.raises(LedgerError, match=r"reserve of round 1 of the study 'a' is in the ledger already, and"):
            ledger.reserve("a", 1, other)


def test_study_admitted_under_other_terms_is_refused(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, plan(), TERMS)
        with pytest.raises(
            LedgerError, match="allow of the study 'a' is in the ledger already, and it says something"
        ):
            ledger.allow("a", POPULATION, plan(), "9" * 64)


def test_allowance_of_an_admitted_study_is_found_again(path: Path) -> None:
    with granted_ledger(path) as ledger:
        assert ledger.read_state().find_allowance("a") is None
        ledger.allow("a", POPULATION, plan(), TERMS)
    with Ledger.open(path, KEY) as ledger:
        found = ledger.read_state().find_allowance("a")
        assert isinstance(found, Allow)
        assert (list(found.plan), found.terms) == (plan(), TERMS)


def test_refused_study_leaves_the_ledger_as_it_was(path: Path) -> None:
    with granted_ledger(path) as ledger:
        before, head = ledger.read_state().find_account(POPULATION).budget, ledger.head
        with pytest.raises(BudgetError, match="is left of 3"):
            ledger.allow("a", POPULATION, plan(5000), TERMS)
        assert (ledger.read_state().find_account(POPULATION).budget, ledger.head) == (before, head)
        ledger.allow("a", POPULATION, plan(), TERMS)


def test_study_beyond_any_number_is_refused_like_any_other(path: Path) -> None:
    loud = SampledGaussian(noise_multiplier=0.01, sampling_rate=1, steps=10**6)
    with granted_ledger(path) as ledger, pytest.raises(BudgetError, match="is left of 3"):
        ledger.allow("a", POPULATION, plan(1000, loud), TERMS)


def test_price_of_one_study_is_its_own_charges(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, plan(), TERMS)
        ledger.allow("b", POPULATION, plan(), TERMS)
        assert ledger.read_state().find_account_of_study("a").compute_study_epsilon("a", 1e-3) == 0
        ledger.reserve("a", 1, STEP)
        ledger.reserve("b", 1, STEP)
        ledger.give_back("a")
        assert ledger.read_state().find_account_of_study("a").compute_study_epsilon("a", 1e-3) == epsilon_of(
            [STEP], 1e-3
        )
        ledger.reserve("b", 2, STEP)
        assert ledger.read_state().find_account_of_study("b").compute_study_epsilon("b", 1e-5) == epsilon_of(
            [STEP, STEP], 1e-5
        )
        ledger.allow("open", POPULATION, plan(1, UNPROTECTED), TERMS)
        assert ledger.read_state().find_account_of_study("open").compute_study_epsilon("open", 1e-3) is None
        with pytest.raises(BudgetError, match="never admitted"):
            ledger.read_state().find_account_of_study("c").compute_study_epsilon("c", 1e-3)


def test_population_that_is_not_registered_has_no_budget(path: Path) -> None:
    with granted_ledger(path) as ledger:
        state = ledger.read_state()
        for ask in (state.find_account, state.find_population):
            with pytest.raises(LedgerError, match="the population 'nobody' is not registered in this ledger"):
                ask("nobody")
        assert list(ledger.read_state().populations) == [POPULATION]


def test_approval_is_used_up_by_as_many_studies_as_it_names(path: Path) -> None:
    with granted_ledger(path) as ledger:
        assert ledger.read_state().count_approved_runs(TERMS, Admits.LAUNCH) == 0
        ledger.approve(TERMS, "data protection")
        ledger.approve(TERMS, "somebody else", runs=2)
        ledger.approve("9" * 64, "data protection", runs=9)
    with Ledger.open(path, KEY) as ledger:
        for number, left in enumerate((2, 1, 0), start=1):
            for _ in range(2):  # asked again, it is the same study and uses nothing
                ledger.allow(f"run-{number}", POPULATION, plan(1), TERMS, approval=Admits.LAUNCH)
            assert ledger.read_state().count_approved_runs(TERMS, Admits.LAUNCH) == left
        before = ledger.head
        with pytest.raises(RefusedError, match="no approval that is unused and not revoked") as caught:
            ledger.allow("run-4", POPULATION, plan(1), TERMS, approval=Admits.LAUNCH)
        assert (caught.value.code, ledger.head) == ("approval", before)
        ledger.allow("run-5", POPULATION, plan(1), TERMS)  # where the policy asks for none
        assert [
            said.approval
            for number in (1, 2, 3, 5)
            if (said := ledger.read_state().find_allowance(f"run-{number}"))
        ] == [
            4,
            5,
            5,
            None,
        ]


def test_approval_that_does_not_say_what_it_admits_is_left_for_launches() -> None:
    """One of an earlier version; what it has admitted already stays, an audit too."""
    approvals = Approvals()
    approvals.add(4, Approve(terms=TERMS, runs=2, by="Ada"))
    assert [approvals.find(TERMS, admits) for admits in (Admits.LAUNCH, Admits.AUDIT)] == [4, None]
    assert [approvals.count_runs(TERMS, admits) for admits in (Admits.LAUNCH, Admits.AUDIT)] == [2, 0]
    assert approvals.may_audit(4, launched=False)
    assert not approvals.may_audit(4, launched=True)


def test_approval_is_unused_again_once_a_study_is_closed_that_has_paid_nothing(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.approve(TERMS, "data protection", runs=2)
        for study, paid in (("idle", False), ("begun", True)):
            ledger.allow(study, POPULATION, plan(1), TERMS, approval=Admits.LAUNCH)
            if paid:
                ledger.reserve(study, 1, STEP)
            ledger.give_back(study, Ending.GIVEN_UP)
        assert ledger.read_state().count_approved_runs(TERMS, Admits.LAUNCH) == 1


def test_approval_that_is_revoked_admits_nothing_more_and_what_it_admitted_goes_on(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.approve(TERMS, "data protection", runs=3)
        ledger.allow("first", POPULATION, plan(1), TERMS, approval=Admits.LAUNCH)
        ledger.revoke(TERMS, "data protection")
        assert ledger.read_state().count_approved_runs(TERMS, Admits.LAUNCH) == 0
        with pytest.raises(RefusedError, match="no approval"):
            ledger.allow("second", POPULATION, plan(1), TERMS, approval=Admits.LAUNCH)
        with pytest.raises(LedgerError, match="nothing is left to revoke"):
            ledger.revoke(TERMS, "data protection")
        ledger.give_back("first", Ending.WITHDRAWN)
        assert ledger.read_state().count_approved_runs(TERMS, Admits.LAUNCH) == 0
        ledger.approve(TERMS, "data protection")
        assert ledger.read_state().count_approved_runs(TERMS, Admits.LAUNCH) == 1


@pytest.mark.parametrize(("delta", "fits"), [(0.999, "0.0058"), (1 / 169, "0.0058"), (0.0059, "0.0058")])
def test_grant_with_more_delta_than_one_in_the_patients_is_refused(path: Path, delta: float, fits: str) -> None:
    """160 patients by the public count may be 169; 1 / 170 = 0.00588..."""
    with Ledger.create(path, KEY, "north") as ledger:
        ledger.register_population(POPULATION, DATA, 160, 1, PATIENTS, "c" * 64, "id")
        with pytest.raises(BudgetError, match=f"is more than one in the 170 patients.*ask for at most {fits}$"):
            ledger.grant(POPULATION, 3.0, delta, 8)
        assert ledger.head.number == 2
        ledger.grant(POPULATION, 3.0, float(fits), 8)


def test_deltas_of_all_grants_together_are_at_most_one_in_the_patients(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.grant(POPULATION, 1.0, 0.004, 16)
        with pytest.raises(BudgetError, match=r"with the grants before it 0.006, is more.*at most 0.00088$"):
            ledger.grant(POPULATION, 1.0, 0.001, 16)
        ledger.grant(POPULATION, 1.0, 0.00088, 16)
        with pytest.raises(BudgetError, match="is more than one in the 170 patients"):
            ledger.grant(POPULATION, 1.0, 1e-5, 16)


def test_refusal_repeated_is_one_entry_and_a_changed_one_another(path: Path) -> None:
    with granted_ledger(path) as ledger:
        for sentence in ("epsilon 9", "epsilon 9", "epsilon 8", "epsilon 9"):
            ledger.record_refusal("a", "policy-epsilon", sentence)
        ledger.record_refusal("b", "policy-epsilon", "epsilon 9")
        ledger.record_refusal("a", "policy-epsilon", "epsilon 9")
    said = [value["body"] for value in values_of(path) if value["kind"] == "refuse"]
    assert [(body["study"], body["sentence"]) for body in said] == [
        ("a", "epsilon 9"),
        ("a", "epsilon 8"),
        ("a", "epsilon 9"),
        ("b", "epsilon 9"),
    ]


def test_second_grant_pays_for_what_the_first_has_no_room_for(path: Path) -> None:
    loud = SampledGaussian(noise_multiplier=1.0, sampling_rate=0.05, steps=10)
    with granted_ledger(path, epsilon=1) as ledger:
        with pytest.raises(BudgetError, match="is left of 1"):
            ledger.allow("a", POPULATION, plan(1, loud), TERMS)
        ledger.grant(POPULATION, 3, 1e-4, 6)
        ledger.allow("a", POPULATION, plan(1, loud), TERMS)
        ledger.allow("b", POPULATION, plan(1), TERMS)
        ledger.reserve("a", 1, loud)
        ledger.reserve("b", 1, STEP)
        budget = ledger.read_state().find_account(POPULATION).budget
        assert [grant.order for grant in budget.grants] == [8, 6]
        assert [grant.spent for grant in budget.grants] == [compute_charge(STEP, 8), compute_charge(loud, 6)]
        assert (budget.epsilon_granted, budget.delta) == (4, 1e-3 + 1e-4)


def test_open_study_may_not_go_on_once_it_is_closed(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, plan(), TERMS)
        ledger.give_back("a")
        with pytest.raises(BudgetError, match="is closed here"):
            ledger.reserve("a", 1, STEP)
        assert (
            ledger.read_state().find_account(POPULATION).budget.grants[0].left
            == ledger.read_state().find_account(POPULATION).budget.grants[0].limit
        )


def test_settling_what_was_never_reserved_is_refused(path: Path) -> None:
    with granted_ledger(path) as ledger, pytest.raises(LedgerError, match="was never reserved"):
        ledger.settle("a", 1)


def test_round_of_a_study_never_admitted_is_refused(path: Path) -> None:
    with granted_ledger(path) as ledger, pytest.raises(BudgetError, match="was never admitted here"):
        ledger.reserve("a", 1, STEP)


def test_same_data_under_another_name_are_refused(path: Path) -> None:
    with granted_ledger(path) as ledger, pytest.raises(RefusedError, match=f"use '{POPULATION}'") as refused:
        ledger.register_population("fresh", DATA, 160, 1, PATIENTS, "c" * 64, "id")
    assert refused.value.code == "same-data"


def test_changed_file_keeps_the_budget_and_both_digests(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, plan(), TERMS)
        ledger.reserve("a", 1, STEP)
        before = ledger.read_state().find_account(POPULATION).budget
        ledger.register_population(POPULATION, CHANGED_DATA, 170, 1, "6" * 64, "c" * 64, "id")
        assert ledger.read_state().find_account(POPULATION).budget == before
        assert ledger.read_state().find_population(POPULATION).data == CHANGED_DATA
        for digest in (DATA, CHANGED_DATA):
            with pytest.raises(RefusedError):
                ledger.register_population("fresh", digest, 160, 1, PATIENTS, "c" * 64, "id")


def test_unprotected_training_has_no_charge_and_marks_the_population(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("open", POPULATION, plan(1, UNPROTECTED)[:1], TERMS)
        ledger.reserve("open", 1, UNPROTECTED)
        with pytest.raises(BudgetError, match="without privacy"):
            ledger.allow("a", POPULATION, plan(), TERMS)
        last = list(ledger.read_entries())[-1].body
        assert isinstance(last, Reserve)
        assert last.charge is None


@pytest.mark.parametrize(
    ("asked", "order", "sentence"),
    [(0.01, 2, "no room at order 2"), (101, 8, "at most 100"), (3, 9, "one of the orders 2, 3, .* got 9")],
)
def test_grant_that_cannot_be_kept_is_refused(path: Path, asked: float, order: int, sentence: str) -> None:
    with Ledger.create(path, KEY, "north") as ledger:
        ledger.register_population(POPULATION, DATA, 160, 1, PATIENTS, "c" * 64, "id")
        with pytest.raises((BudgetError, LedgerError), match=sentence):
            ledger.grant(POPULATION, asked, 1e-3, order)


def test_unknown_population_is_refused(path: Path) -> None:
    with Ledger.create(path, KEY, "north") as ledger, pytest.raises(LedgerError, match="not registered"):
        ledger.grant("nobody", 3, 1e-3, 8)


def test_file_is_its_owners_and_never_overwritten(path: Path) -> None:
    granted_ledger(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StorageError, match="a new ledger cannot be written: File exists"):
        Ledger.create(path, KEY, "north")


def test_file_refuses_to_change_or_remove_an_entry(path: Path) -> None:
    write_story(path)
    with sqlite3.connect(path) as connection:
        for statement in (
            "UPDATE entry SET bytes = x'00' WHERE number = 2",
            "DELETE FROM entry WHERE number = 2",
            "INSERT OR REPLACE INTO entry SELECT 2, bytes, signature FROM entry WHERE number = 3",
            "INSERT INTO entry SELECT 100, bytes, signature FROM entry WHERE number = 3",
        ):
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(statement)
    connection.close()


def test_every_entry_is_written_through_to_the_disk(path: Path) -> None:
    with granted_ledger(path) as ledger:
        pragma = ledger._connection.execute
        assert pragma("PRAGMA journal_mode").fetchone() == ("wal",)
        assert pragma("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_ledger_of_another_key_is_not_opened(path: Path) -> None:
    granted_ledger(path).close()
    with pytest.raises(LedgerError, match="expected the ledger of the key"):
        Ledger.open(path, OTHER_KEY)
