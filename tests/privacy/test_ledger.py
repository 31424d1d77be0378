"""The site's book on disk: real files, real processes, real kills."""

import multiprocessing
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from privacy.accountant import SampledGaussian, charge, epsilon
from privacy.errors import BudgetError, LedgerError, RefusedError
from privacy.ledger import Ledger, verify_file
from privacy.ledger.entries import BODIES, Allow, Reserve
from tests.privacy.ledger_makers import (
    CHANGED_DATA,
    DATA,
    KEY,
    MODEL,
    OTHER_KEY,
    STEP,
    TERMS,
    TOTALS,
    UNPROTECTED,
    clock,
    granted_ledger,
    plan,
    write_story,
)

POPULATION = "breast-2026"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def test_ledger_of_every_kind_reads_back_as_it_was_written(path: Path) -> None:
    write_story(path)
    with Ledger.open(path, KEY) as ledger:
        entries = list(ledger.entries())
        assert {entry.kind for entry in entries} == set(BODIES)
        assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
        assert entries[0].time == "2026-03-02T08:00:00Z"
        reserved = next(entry.body for entry in entries if isinstance(entry.body, Reserve))
        assert (reserved.study, reserved.round, reserved.event) == ("first", 1, STEP)
        assert reserved.charge == charge(STEP, 8)
        assert ledger.site == "north"
        assert ledger.head.number == len(entries)


def test_budget_after_the_story_is_what_was_reserved_and_evaluated(path: Path) -> None:
    write_story(path)
    with Ledger.open(path, KEY) as ledger:
        budget = ledger.budget(POPULATION)
        assert budget.spent == 2 * charge(STEP, 8) + charge(TOTALS, 8)
        assert budget.set_aside == 0
        assert ledger.budgets() == [budget]


def test_same_question_twice_is_recorded_once(path: Path) -> None:
    with granted_ledger(path) as ledger:
        for _ in range(2):
            ledger.register_population(POPULATION, DATA, 160, 1)
            ledger.allow("a", POPULATION, plan(), TERMS)
            ledger.reserve("a", 1, STEP)
            ledger.settle("a", 1)
            ledger.evaluate("a", 1, TOTALS)
            ledger.release("a", MODEL)
            ledger.give_back("a")
        assert ledger.head.number == 3 + 6
        assert ledger.budget(POPULATION).spent == charge(STEP, 8) + charge(TOTALS, 8)


def test_round_reserved_again_with_other_noise_is_refused(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, plan(), TERMS)
        ledger.reserve("a", 1, STEP)
        other = SampledGaussian(noise_multiplier=3.0, sampling_rate=0.05, steps=10)
        with pytest.raises(LedgerError, match=r"reserve of round 1 of the study 'a' is in the book already, and"):
            ledger.reserve("a", 1, other)


def test_study_admitted_under_other_terms_is_refused(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, plan(), TERMS)
        with pytest.raises(
            LedgerError, match="allow of the study 'a' is in the book already, and it says something"
        ):
            ledger.allow("a", POPULATION, plan(), "9" * 64)


def test_allowance_of_an_admitted_study_is_found_again(path: Path) -> None:
    with granted_ledger(path) as ledger:
        assert ledger.allowance("a") is None
        ledger.allow("a", POPULATION, plan(), TERMS)
    with Ledger.open(path, KEY) as ledger:
        found = ledger.allowance("a")
        assert isinstance(found, Allow)
        assert (list(found.plan), found.terms) == (plan(), TERMS)


def test_refused_study_leaves_the_book_as_it_was(path: Path) -> None:
    with granted_ledger(path) as ledger:
        before, head = ledger.budget(POPULATION), ledger.head
        with pytest.raises(BudgetError, match="is left of 3"):
            ledger.allow("a", POPULATION, plan(5000), TERMS)
        assert (ledger.budget(POPULATION), ledger.head) == (before, head)
        ledger.allow("a", POPULATION, plan(), TERMS)


def test_study_beyond_any_number_is_refused_like_any_other(path: Path) -> None:
    loud = SampledGaussian(noise_multiplier=0.01, sampling_rate=1, steps=10**6)
    with granted_ledger(path) as ledger, pytest.raises(BudgetError, match="is left of 3"):
        ledger.allow("a", POPULATION, plan(1000, loud), TERMS)


def test_price_of_one_study_is_its_own_charges(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, plan(), TERMS)
        ledger.allow("b", POPULATION, plan(), TERMS)
        assert ledger.epsilon_spent_by("a", 1e-3) == 0
        ledger.reserve("a", 1, STEP)
        ledger.reserve("b", 1, STEP)
        ledger.give_back("a")
        assert ledger.epsilon_spent_by("a", 1e-3) == epsilon([STEP], 1e-3)
        ledger.reserve("b", 2, STEP)
        assert ledger.epsilon_spent_by("b", 1e-5) == epsilon([STEP, STEP], 1e-5)
        ledger.allow("open", POPULATION, plan(1, UNPROTECTED), TERMS)
        assert ledger.epsilon_spent_by("open", 1e-3) is None
        with pytest.raises(BudgetError, match="never admitted"):
            ledger.epsilon_spent_by("c", 1e-3)


def test_budget_of_a_population_that_is_not_registered_is_none(path: Path) -> None:
    with granted_ledger(path) as ledger:
        assert ledger.budget_or_none("nobody") is None
        assert ledger.budget_or_none(POPULATION) == ledger.budget(POPULATION)


def test_head_that_a_witness_has_seen_is_in_the_book_or_not(path: Path) -> None:
    with granted_ledger(path) as ledger:
        seen = ledger.head
        ledger.refuse("a", "test", "a refusal")
        assert ledger.holds(*seen)
        assert ledger.holds(*ledger.head)
        assert not ledger.holds(seen.number, ledger.head.hash)
        assert not ledger.holds(ledger.head.number + 1, seen.hash)
        assert not ledger.holds(0, "0" * 64)


def test_settling_what_was_never_reserved_is_refused(path: Path) -> None:
    with granted_ledger(path) as ledger, pytest.raises(LedgerError, match="was never reserved"):
        ledger.settle("a", 1)


def test_round_of_a_study_never_admitted_is_refused(path: Path) -> None:
    with granted_ledger(path) as ledger, pytest.raises(BudgetError, match="was never admitted here"):
        ledger.reserve("a", 1, STEP)


def test_same_data_under_another_name_are_refused(path: Path) -> None:
    with granted_ledger(path) as ledger, pytest.raises(RefusedError, match=f"use '{POPULATION}'") as refused:
        ledger.register_population("fresh", DATA, 160, 1)
    assert refused.value.code == "same-data"


def test_changed_file_keeps_the_budget_and_both_digests(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, plan(), TERMS)
        ledger.reserve("a", 1, STEP)
        before = ledger.budget(POPULATION)
        ledger.register_population(POPULATION, CHANGED_DATA, 170, 1)
        assert ledger.budget(POPULATION) == before
        assert ledger.population(POPULATION).data == CHANGED_DATA
        for digest in (DATA, CHANGED_DATA):
            with pytest.raises(RefusedError):
                ledger.register_population("fresh", digest, 160, 1)


def test_unprotected_training_has_no_charge_and_marks_the_population(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("open", POPULATION, plan(1, UNPROTECTED)[:1], TERMS)
        ledger.reserve("open", 1, UNPROTECTED)
        with pytest.raises(BudgetError, match="without privacy"):
            ledger.allow("a", POPULATION, plan(), TERMS)
        last = list(ledger.entries())[-1].body
        assert isinstance(last, Reserve)
        assert last.charge is None


@pytest.mark.parametrize(("asked", "order", "sentence"), [(0.01, 2, "no room at order 2"), (101, 8, "less than")])
def test_grant_that_cannot_be_kept_is_refused(path: Path, asked: float, order: int, sentence: str) -> None:
    with Ledger.create(path, KEY, "north") as ledger:
        ledger.register_population(POPULATION, DATA, 160, 1)
        with pytest.raises((BudgetError, LedgerError), match=sentence):
            ledger.grant(POPULATION, asked, 1e-3, order)


def test_unknown_population_is_refused(path: Path) -> None:
    with Ledger.create(path, KEY, "north") as ledger, pytest.raises(LedgerError, match="not registered"):
        ledger.grant("nobody", 3, 1e-3, 8)


def test_file_is_its_owners_and_never_overwritten(path: Path) -> None:
    granted_ledger(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(LedgerError, match="a new ledger cannot be written: File exists"):
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


def test_book_of_another_key_is_not_opened(path: Path) -> None:
    granted_ledger(path).close()
    with pytest.raises(LedgerError, match="entry 1: expected the book of the key"):
        Ledger.open(path, OTHER_KEY)


def test_missing_file_is_named(path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"):
        Ledger.open(path, KEY)


def test_clock_set_back_is_refused(path: Path) -> None:
    granted_ledger(path).close()
    with (
        Ledger.open(path, KEY, clock(start="2026-03-01T08:00:00+00:00")) as ledger,
        pytest.raises(
            LedgerError, match=r"the clock says 2026-03-01T08:00:00Z, the last entry .* 2026-03-02T08:02:00Z"
        ),
    ):
        ledger.refuse("a", "test", "a refusal")


def test_clock_stepped_back_by_seconds_keeps_the_last_time(path: Path) -> None:
    granted_ledger(path).close()
    with Ledger.open(path, KEY, clock(start="2026-03-02T08:01:30+00:00")) as ledger:
        ledger.refuse("a", "test", "a refusal")
        assert list(ledger.entries())[-1].time == "2026-03-02T08:02:00Z"


def overwrite(offset: int, data: bytes) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[offset : offset + len(data)] = data
        path.write_bytes(content)

    return change


def pragma(statement: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.executescript(statement)
        connection.close()

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (overwrite(0, b"X"), "the file is not a ledger"),
        (overwrite(4096, b"\xff" * 4096), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:6000]), "damaged"),
        (lambda path: path.write_bytes(b""), "not a Consilium ledger"),
        (pragma("PRAGMA application_id = 1"), "not a Consilium ledger"),
        (pragma("PRAGMA user_version = 2"), "of version 2, this program knows up to 1: install a newer one"),
        (pragma("DROP TRIGGER entry_kept"), "tables and triggers are not a ledger's"),
    ],
)
def test_file_damaged_or_newer_is_refused(path: Path, change: Callable[[Path], None], sentence: str) -> None:
    write_story(path)
    change(path)
    with pytest.raises(LedgerError, match=sentence):
        Ledger.open(path, KEY)
    with pytest.raises(LedgerError, match=sentence):
        verify_file(path)


def test_file_locked_by_another_process_is_refused_and_then_taken(path: Path) -> None:
    with granted_ledger(path), Ledger.open(path, KEY, patience_s=0.1) as ledger:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="another process holds the ledger"):
            ledger.refuse("a", "test", "a refusal")
        other.execute("ROLLBACK")
        other.close()
        ledger.refuse("a", "test", "a refusal")


def test_read_only_file_is_refused(path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from privacy.errors import LedgerError
from privacy.ledger import Ledger
from tests.privacy.ledger_makers import KEY
"load it while we may".encode("utf-16be")
os.chdir(Path(sys.argv[1]).parent)
if os.geteuid() == 0:  # root may write to what is read-only
    os.setgid(65534)
    os.setuid(65534)
try:
    Ledger.open(Path("ledger.sqlite"), KEY)
except LedgerError as error:
    print(error)
"""
    write_story(path)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    path.parent.chmod(0o755)
    assert "the ledger is read-only" in done.stdout or "the ledger cannot be opened" in done.stdout


def test_full_disk_refuses_and_loses_nothing(path: Path) -> None:
    """The largest file that the process may write stands in for the disk."""
    script = """
import resource, signal, sys
from pathlib import Path
from privacy.errors import LedgerError
from privacy.ledger import Ledger
from tests.privacy.ledger_makers import KEY
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Ledger.open(Path(sys.argv[1]), KEY) as ledger:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    written = ledger.head.number
    try:
        for number in range(1000):
            ledger.refuse("a", "test", "x" * 1900)
            written += 1
    except LedgerError as error:
        print(error, file=sys.stderr)
        assert ledger.budget("breast-2026").spent == 0
        print(written, ledger.head.number)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ledger.refuse("a", "test", "there is space again")
"""
    granted_ledger(path).close()
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    written, head = (int(number) for number in done.stdout.split())
    assert "ledger.sqlite: " in done.stderr
    assert 3 < written == head
    assert verify_file(path, KEY.public).head.number == head + 1


def test_kill_between_append_and_read_loses_no_acknowledged_entry(path: Path) -> None:
    script = """
import sys
from pathlib import Path
from privacy.ledger import Ledger
from tests.privacy.ledger_makers import KEY, STEP
with Ledger.open(Path(sys.argv[1]), KEY) as ledger:
    for number in range(10_000):
        ledger.reserve("a", number, STEP)
        print(ledger.head.hash, flush=True)
"""
    with granted_ledger(path, epsilon=100) as ledger:
        ledger.allow("a", POPULATION, plan(2000), TERMS)
    acknowledged: list[str] = []
    for kill_after in (1, 7, 20):
        child = subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        acknowledged += [child.stdout.readline().strip() for _ in range(kill_after)]
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().splitlines(keepends=True)
        acknowledged += [line.strip() for line in rest if line.endswith("\n")]
        child.stdout.close()
        child.wait()
        with Ledger.open(path, KEY) as ledger:
            hashes = {entry.previous for entry in ledger.entries()} | {ledger.head.hash}
            reservations = sum(entry.kind == "reserve" for entry in ledger.entries())
            assert set(acknowledged) <= hashes
            assert ledger.budget(POPULATION).spent == reservations * charge(STEP, 8)


def _race(path: Path, study: str, gate: object, answer: "multiprocessing.SimpleQueue[int]") -> None:
    with Ledger.open(path, KEY) as ledger:
        gate.wait()  # type: ignore[attr-defined]
        admitted = 0
        for number in range(6):
            name = f"{study}-{number}"
            try:
                ledger.allow(name, POPULATION, plan(1)[:1], TERMS)
                ledger.reserve(name, 1, STEP)
                admitted += 1
            except BudgetError:
                pass
        answer.put(admitted)


def test_processes_that_race_for_the_last_budget_never_overspend(path: Path) -> None:
    room = 7
    with granted_ledger(path, epsilon=3) as ledger:
        spare = ledger.budget(POPULATION).left - room * charge(STEP, 8)
        filler = next(
            candidate
            for noise in range(100, 300)
            if spare - charge(STEP, 8) < charge(candidate := _gaussian(noise / 100), 8) <= spare
        )
        ledger.allow("filler", POPULATION, [p for p in plan(1, filler) if p.purpose == "train"], TERMS)
    context = multiprocessing.get_context("spawn")
    gate, answer = context.Barrier(2), context.SimpleQueue()
    racers = [context.Process(target=_race, args=(path, name, gate, answer)) for name in ("left", "right")]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert answer.get() + answer.get() == room
    book = verify_file(path, KEY.public)
    (budget,) = book.budgets()
    assert 0 <= budget.left < charge(STEP, 8)


def _gaussian(noise: float) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=noise, sampling_rate=1, steps=1)


def _reserve_one(path: Path, gate: object) -> None:
    with Ledger.open(path, KEY) as ledger:
        gate.wait()  # type: ignore[attr-defined]
        ledger.reserve("a", 1, STEP)


def test_round_asked_of_two_processes_at_once_is_paid_once(path: Path) -> None:
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, plan(), TERMS)
        context = multiprocessing.get_context("spawn")
        gate = context.Barrier(2)
        racers = [context.Process(target=_reserve_one, args=(path, gate)) for _ in range(2)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert [racer.exitcode for racer in racers] == [0, 0]
        assert ledger.budget(POPULATION).spent == charge(STEP, 8)
        assert ledger.head.number == 5
