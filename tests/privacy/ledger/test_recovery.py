"""A ledger lost with its disk and taken up again from a backup: nothing is forgotten, whatever was open is spent."""

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from privacy.accounting.epsilon import compute_charge
from privacy.accounting.events import AnyEvent
from privacy.audit.check_ledger import check_ledger
from privacy.errors import BudgetError, LedgerError
from privacy.ledger import Ledger, verify_file
from privacy.ledger.signed_head import Countersigned, LedgerHead
from privacy.signed import Signed
from tests.privacy.ledger_makers import (
    CHANGED_DATA,
    KEY,
    MODEL,
    OTHER_KEY,
    POPULATION,
    STEP,
    TERMS,
    TOTALS,
    UNPROTECTED,
    WITNESS,
    clock,
    countersigned,
    granted_ledger,
    plan,
)

PRICE = 5 * compute_charge(STEP, 8) + 2 * compute_charge(TOTALS, 8)
Days = Callable[[Ledger], None]


class Site:
    """A site whose disk is backed up once, and lost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.look: Callable[[], datetime] = clock()
        self.seen: Countersigned
        with granted_ledger(path, look=self.look) as ledger:
            ledger.allow("a", POPULATION, plan(), TERMS)
            ledger.reserve("a", 1, STEP)
            ledger.record_checkpoint(countersigned(ledger), WITNESS.public)

    def open(self) -> Ledger:
        return Ledger.open(self.path, KEY, self.look)

    def loses(self, days: Days) -> Countersigned:
        """Live ``days``, be seen at their end, and wake up with the ledger as it was before."""
        backup = self.path.with_suffix(".backup")
        shutil.copy(self.path, backup)
        with self.open() as ledger:
            days(ledger)
            self.seen = countersigned(ledger)
        backup.replace(self.path)
        return self.seen


@pytest.fixture
def site(path: Path) -> Site:
    return Site(path)


def spent(ledger: Ledger, population: str = POPULATION) -> list[int]:
    return [grant.spent for grant in ledger.read_state().find_account(population).budget.grants]


def rounds(*numbers: int, event: AnyEvent = STEP) -> Days:
    def live(ledger: Ledger) -> None:
        for number in numbers:
            ledger.reserve("a", number, event)

    return live


def test_restored_ledger_does_not_hold_what_the_witness_has_seen(site: Site) -> None:
    seen = site.loses(rounds(2)).head.statement
    with site.open() as ledger:
        assert not ledger.read_state().contains(seen.number, seen.hash)
        with pytest.raises(LedgerError, match="that a witness has seen is not the one in this ledger"):
            ledger.record_checkpoint(site.seen, WITNESS.public)


def test_recovery_takes_over_the_totals_and_spends_everything_open(site: Site) -> None:
    seen = site.loses(rounds(2, 3)).head.statement
    with site.open() as ledger:
        ledger.recover(site.seen, WITNESS.public)
        assert spent(ledger) == [PRICE] == [seen.accounts[0].grants[0].spent + seen.accounts[0].grants[0].set_aside]
        assert ledger.read_state().find_account(POPULATION).budget.grants[0].set_aside == 0
        with pytest.raises(BudgetError, match="is closed here"):
            ledger.reserve("a", 4, STEP)
        ledger.allow("b", POPULATION, plan(), TERMS)
        ledger.reserve("b", 1, STEP)
    found = check_ledger(site.path, KEY.public)
    assert (found.recovered, found.witnessed, found.unsettled_rounds) == (seen.number, 5, 1)


def test_study_of_the_lost_ledger_is_paid_and_so_is_its_second_admission(site: Site) -> None:
    site.loses(lambda ledger: ledger.allow("lost", POPULATION, plan(2), TERMS))
    with site.open() as ledger:
        ledger.recover(site.seen, WITNESS.public)
        lost = 2 * compute_charge(STEP, 8) + 2 * compute_charge(TOTALS, 8)
        assert spent(ledger) == [PRICE + lost]
        ledger.allow("lost", POPULATION, plan(2), TERMS)
        assert ledger.read_state().find_account(POPULATION).budget.grants[0].set_aside == lost


def test_study_that_the_lost_ledger_had_closed_is_spent_as_the_restored_one_knows_it(site: Site) -> None:
    def close(ledger: Ledger) -> None:
        ledger.record_release("a", MODEL)
        ledger.give_back("a")

    site.loses(close)
    with site.open() as ledger:
        ledger.recover(site.seen, WITNESS.public)
        assert spent(ledger) == [PRICE]


def test_grants_and_populations_made_after_the_backup_are_taken_over(site: Site) -> None:
    def enlarge(ledger: Ledger) -> None:
        ledger.grant(POPULATION, 1, 1e-4, 32)
        ledger.register_population("lung-2026", CHANGED_DATA, 90, 1, "7" * 64, "c" * 64, "id")
        ledger.grant("lung-2026", 2, 1e-3, 8)
        ledger.allow("lungs", "lung-2026", plan(), TERMS)

    site.loses(enlarge)
    with site.open() as ledger:
        ledger.recover(site.seen, WITNESS.public)
        assert [grant.order for grant in ledger.read_state().find_account(POPULATION).budget.grants] == [8, 32]
        assert spent(ledger) == [PRICE, 0]
        assert spent(ledger, "lung-2026") == [PRICE]
        ledger.register_population("lung-2026", CHANGED_DATA, 90, 1, "7" * 64, "c" * 64, "id")
        assert spent(ledger, "lung-2026") == [PRICE]
        head = ledger.sign_head().statement
    assert [totals.population for totals in head.accounts] == [POPULATION, "lung-2026"]
    assert verify_file(site.path).make_head_statement() == head


@pytest.mark.parametrize(
    ("train", "totals", "protected", "held_out"),
    [(UNPROTECTED, TOTALS, False, True), (STEP, UNPROTECTED, True, False)],
)
def test_privacy_given_up_in_the_lost_ledger_stays_given_up(
    site: Site, train: AnyEvent, totals: AnyEvent, protected: bool, held_out: bool
) -> None:
    def give_up(ledger: Ledger) -> None:
        ledger.allow("open", POPULATION, plan(1, train, totals), TERMS)
        ledger.reserve("open", 1, train)
        ledger.pay_evaluation("open", 1, totals)

    site.loses(give_up)
    with site.open() as ledger:
        assert ledger.read_state().find_account(POPULATION).budget.protected
        ledger.recover(site.seen, WITNESS.public)
        budget = ledger.read_state().find_account(POPULATION).budget
        assert (budget.protected, budget.held_out_protected) == (protected, held_out)
        if not protected:
            with pytest.raises(BudgetError, match="trained on without privacy by the study 'a study of the lost"):
                ledger.allow("b", POPULATION, plan(), TERMS)


def test_study_that_was_open_without_privacy_counts_as_trained(path: Path) -> None:
    site = Site(path)
    with site.open() as ledger:
        ledger.allow("open", POPULATION, plan(1, UNPROTECTED, UNPROTECTED), TERMS)
    site.loses(rounds(2))
    with site.open() as ledger:
        ledger.recover(site.seen, WITNESS.public)
        budget = ledger.read_state().find_account(POPULATION).budget
        assert (budget.protected, budget.held_out_protected) == (False, False)


def test_recovery_with_a_head_that_is_in_the_ledger_is_refused(site: Site) -> None:
    with site.open() as ledger:
        seen = countersigned(ledger)
        ledger.record_refusal("b", "test", "a refusal")
        before = ledger.head
        with pytest.raises(LedgerError, match=r"entry 6, which the witness has seen, is in the ledger: nothing is"):
            ledger.recover(seen, WITNESS.public)
        assert ledger.head == before


def test_recovery_with_forged_totals_is_refused(site: Site) -> None:
    honest = site.loses(rounds(2))
    cheap = honest.head.statement.model_copy(update={"accounts": ()})
    with site.open() as ledger:
        before = ledger.read_state().find_account(POPULATION).budget
        for forged, witness, sentence in (
            (
                Countersigned.sign(WITNESS, "w", Signed[LedgerHead].sign(OTHER_KEY, cheap)),
                WITNESS,
                "not signed by this",
            ),
            (
                honest.model_copy(update={"head": Signed[LedgerHead].sign(KEY, cheap)}),
                WITNESS,
                "the countersignature is over another head",
            ),
            (Countersigned.sign(OTHER_KEY, "w", honest.head), WITNESS, "the countersigned head cannot be believed"),
            (honest, OTHER_KEY, "the countersigned head cannot be believed"),
        ):
            with pytest.raises(LedgerError, match=sentence):
                ledger.recover(forged, witness.public)
        assert ledger.read_state().find_account(POPULATION).budget == before
        ledger.reserve("a", 2, STEP)  # the study was not closed


@pytest.mark.parametrize(
    ("grant", "sentence"),
    [
        ({"epsilon": 9.0}, f"the witness has seen another grant of the population '{POPULATION}'"),
        ({"order": 9}, "a grant is kept at one of the orders"),
        ({"epsilon": -1.0}, "expected a finite epsilon"),
    ],
)
def test_recovery_of_another_grant_is_refused_and_changes_nothing(
    site: Site, grant: dict[str, float], sentence: str
) -> None:
    seen = site.loses(rounds(2)).head.statement
    (totals,) = seen.accounts
    other = totals.model_copy(update={"grants": (totals.grants[0].model_copy(update=grant),)})
    head = Signed[LedgerHead].sign(KEY, seen.model_copy(update={"accounts": (other,)}))
    with site.open() as ledger:
        before = ledger.read_state().find_account(POPULATION).budget
        with pytest.raises((LedgerError, BudgetError), match=sentence):
            ledger.recover(Countersigned.sign(WITNESS, "w", head), WITNESS.public)
        assert ledger.read_state().find_account(POPULATION).budget == before
        ledger.reserve("a", 2, STEP)


def test_recovered_head_is_held_and_news_to_nobody(site: Site) -> None:
    seen = site.loses(rounds(2, 3)).head.statement
    with site.open() as ledger:
        ledger.recover(site.seen, WITNESS.public)
        after = ledger.head
        assert ledger.sign_head().statement.recovered == seen.hash
        ledger.record_checkpoint(site.seen, WITNESS.public)  # the next request still carries it
        assert ledger.read_state().contains(seen.number, seen.hash)
        assert ledger.head == after


def test_ledger_goes_on_being_witnessed_after_a_recovery_though_its_numbers_are_lower(site: Site) -> None:
    def many(ledger: Ledger) -> None:
        for number in range(20):
            ledger.record_refusal("b", "test", f"refusal {number}")

    seen = site.loses(many).head.statement
    with site.open() as ledger:
        ledger.recover(site.seen, WITNESS.public)
        for number in range(2):
            ledger.record_refusal("b", "test", f"after {number}")
            ledger.record_checkpoint(countersigned(ledger), WITNESS.public)
            assert ledger.head.number < seen.number
        noted = ledger.head
        ledger.record_checkpoint(site.seen, WITNESS.public)
        assert ledger.head == noted
    assert verify_file(site.path).witnessed == (noted.number - 1, _hash(site.path, noted.number - 1))


def _hash(path: Path, number: int) -> str:
    with Ledger.open(path, KEY) as ledger:
        return [entry.previous for entry in ledger.read_entries()][number]


def test_second_loss_is_recovered_like_the_first_and_both_heads_are_held(site: Site) -> None:
    first = site.loses(rounds(2)).head.statement
    with site.open() as ledger:
        ledger.recover(site.seen, WITNESS.public)
        ledger.record_checkpoint(countersigned(ledger), WITNESS.public)

    second = site.loses(lambda ledger: ledger.allow("b", POPULATION, plan(), TERMS)).head.statement
    with site.open() as ledger:
        ledger.recover(site.seen, WITNESS.public)
        assert spent(ledger) == [2 * PRICE]
        assert ledger.read_state().contains(first.number, first.hash)
        assert ledger.read_state().contains(second.number, second.hash)
        assert ledger.sign_head().statement.recovered == second.hash
        with pytest.raises(LedgerError, match="nothing is lost"):
            ledger.recover(site.seen, WITNESS.public)
    assert verify_file(site.path).recovered == (second.number, second.hash)


def test_what_two_copies_paid_apart_from_each_other_is_added(site: Site) -> None:
    """A restored ledger that has paid on its own cannot forget that over what the other has paid."""
    site.loses(rounds(2, 3))
    with site.open() as ledger:
        ledger.reserve("a", 2, STEP)
        ledger.recover(site.seen, WITNESS.public)
        assert spent(ledger) == [PRICE + compute_charge(STEP, 8)]


def test_total_taken_over_may_pass_the_grant_and_nothing_is_left(site: Site) -> None:
    price = plan(60)[0].times * compute_charge(STEP, 8)

    site.loses(lambda ledger: ledger.allow("b", POPULATION, plan(60)[:1], TERMS))
    with site.open() as ledger:
        ledger.allow("c", POPULATION, plan(60)[:1], TERMS)
        for number in range(30):
            ledger.reserve("c", number, STEP)
        ledger.recover(site.seen, WITNESS.public)
        (grant,) = ledger.read_state().find_account(POPULATION).budget.grants
        assert grant.spent == PRICE + price + 30 * compute_charge(STEP, 8)
        assert grant.left < 0
        assert grant.epsilon_left == 0
        with pytest.raises(BudgetError, match=r"0\.0000 is left"):
            ledger.allow("d", POPULATION, plan(1), TERMS)
    verify_file(site.path, KEY.public)


def test_rollback_is_in_the_state_until_the_ledger_is_recovered(site: Site) -> None:
    seen = site.loses(rounds(2))
    with site.open() as ledger:
        ledger.record_incident("a", "void-round", "another incident is no rollback", round=1)
        assert ledger.read_state().rollback is None
        ledger.record_incident("a", "rollback", "entry 9, which was seen, is not in the ledger")
        found = ledger.read_state().rollback
        assert found is not None
        assert found.sentence == "entry 9, which was seen, is not in the ledger"
    with site.open() as ledger:
        assert ledger.read_state().rollback == found
        ledger.recover(seen, WITNESS.public)
        assert ledger.read_state().rollback is None
    assert verify_file(site.path).rollback is None
