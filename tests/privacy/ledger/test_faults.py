"""Disks that fill, files that rot, sites that are killed: each is a sentence, and nothing recorded is lost."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from privacy.accounting.epsilon import compute_charge, compute_stored_curve
from privacy.errors import LedgerError, StorageError
from privacy.ledger import Head, Ledger, verify_file
from privacy.ledger.entries import Entry, Reserve
from privacy.ledger.transaction import Create
from tests.privacy.ledger_makers import KEY, POPULATION, STEP, TERMS, clock, granted_ledger, plan, write_story

ROOT = Path(__file__).parents[3]
LATER = "2026-03-02T09:00:00+00:00"

_LONE = """
import os, resource, signal, sys
from pathlib import Path
from privacy.errors import LedgerError, StorageError
from privacy.ledger import Ledger
from tests.privacy.ledger_makers import KEY, STEP
path = Path(sys.argv[1])
"""


def lone(script: str, path: Path) -> list[str]:
    """What ``script`` prints, in a process of its own."""
    arguments = [sys.executable, "-c", _LONE + script, str(path)]
    return subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=True).stdout.splitlines()


def killed(live: Callable[[], object]) -> None:
    """Let a child process ``live``, then kill it where it stands."""
    child = os.fork()
    if child == 0:
        try:
            live()
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)  # it never came so far
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_site_killed_between_any_two_steps_has_the_entry_or_has_nothing_of_it(path: Path) -> None:
    payment = Reserve(
        study="a", round=1, event=STEP, curve=compute_stored_curve(STEP), charge=compute_charge(STEP, 8)
    )
    with granted_ledger(path) as ledger:
        ledger.allow("a", POPULATION, plan(), TERMS)
        before = ledger.head
        names = [step.__name__ for step in ledger.prepare_append(lambda state: payment).steps]
    assert names == ["lock", "check_new_entries", "decide", "insert", "commit"]

    def live(walked: int) -> None:
        ledger = Ledger.open(path, KEY, clock(start=LATER))
        for step in ledger.prepare_append(lambda state: payment).steps[:walked]:
            step()

    for walked in range(len(names)):
        killed(lambda walked=walked: live(walked))  # type: ignore[misc]
        assert verify_file(path, KEY.public).head == before
        with Ledger.open(path, KEY) as ledger:
            assert ledger.head == before
            assert ledger.read_state().find_account(POPULATION).budget.grants[0].spent == 0
    killed(lambda: live(len(names)))
    assert verify_file(path, KEY.public).head.number == before.number + 1
    with Ledger.open(path, KEY, clock(start=LATER)) as ledger:
        assert ledger.read_state().find_account(POPULATION).budget.grants[0].spent == compute_charge(STEP, 8)
        ledger.reserve("a", 1, STEP)
        assert ledger.head.number == before.number + 1


def test_site_killed_while_its_ledger_is_begun_has_a_whole_ledger_or_none(path: Path) -> None:
    def creation() -> Create:
        return Create(path, "north", KEY, "2026-03-02T08:00:00Z")

    names = [step.__name__ for step in creation().steps]
    assert names == ["make_empty_file", "make_table", "write_first_entry", "close", "publish"]

    def live(walked: int) -> None:
        for step in creation().steps[:walked]:
            step()

    for walked in range(len(names)):
        killed(lambda walked=walked: live(walked))  # type: ignore[misc]
        assert not path.exists()
    killed(lambda: live(len(names)))
    assert verify_file(path, KEY.public).head.number == 1
    path.unlink()
    with Ledger.create(path, KEY, "north", clock(start=LATER)) as ledger:  # what was left behind is in nobody's way
        ledger.record_refusal("a", "test", "it works")


def test_site_killed_at_any_time_keeps_every_acknowledged_entry(path: Path) -> None:
    script = """
with Ledger.open(path, KEY) as ledger:
    for number in range(10_000):
        ledger.reserve("a", number, STEP)
        print(ledger.head.hash, flush=True)
"""
    with granted_ledger(path, epsilon=100) as ledger:
        ledger.allow("a", POPULATION, plan(2000), TERMS)
    acknowledged: list[str] = []
    for kill_after in (1, 7, 20):
        child = subprocess.Popen(
            [sys.executable, "-c", _LONE + script, path], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert child.stdout is not None
        acknowledged += [child.stdout.readline().strip() for _ in range(kill_after)]
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().splitlines(keepends=True)
        acknowledged += [line.strip() for line in rest if line.endswith("\n")]
        child.stdout.close()
        child.wait()
        with Ledger.open(path, KEY) as ledger:
            hashes = {entry.previous for entry in ledger.read_entries()} | {ledger.head.hash}
            reservations = sum(entry.kind == "reserve" for entry in ledger.read_entries())
            assert set(acknowledged) <= hashes
            assert ledger.read_state().find_account(POPULATION).budget.grants[
                0
            ].spent == reservations * compute_charge(STEP, 8)


def test_full_disk_refuses_wherever_it_is_full_and_loses_nothing(path: Path) -> None:
    """The largest file that the process may write stands in for the disk."""
    script = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for kilobytes in range(24, 200, 16):
    with Ledger.open(path, KEY) as ledger:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, resource.RLIM_INFINITY))
        written = ledger.head
        try:
            for number in range(1000):
                ledger.record_refusal("a", "test", f"{kilobytes} {number} " + "x" * 1900)
                written = ledger.head
        except StorageError as error:
            assert ledger.read_state().find_account("breast-2026").budget.grants[0].spent == 0
            assert ledger.head == written
            print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with Ledger.open(path, KEY) as ledger:
    assert ledger.read_state().contains(*written)
    ledger.record_refusal("a", "test", "there is space again")
    print(ledger.head.number)
"""
    granted_ledger(path).close()
    *errors, head = lone(script, path)
    assert len(errors) == 11
    assert all(f"{path}: " in error for error in errors)
    assert verify_file(path, KEY.public).head.number == int(head) > 3


def test_full_disk_leaves_no_half_ledger(path: Path) -> None:
    script = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for size in (0, 1000, 5000, 9000, 13_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        Ledger.create(path, KEY, "north")
    except StorageError as error:
        print(error)
"""
    assert len(lone(script, path)) == 5
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("file", "folder"), [(0o444, 0o777), (0o666, 0o555), (0o444, 0o555), (0o000, 0o777)])
def test_file_or_folder_that_may_not_be_written_is_refused(path: Path, file: int, folder: int) -> None:
    script = """
os.chdir(path.parent)
if os.geteuid() == 0:  # root may write to what is read-only
    os.setgid(65534)
    os.setuid(65534)
try:
    Ledger.open(Path(path.name), KEY)
except StorageError as error:
    print(error)
"""
    write_story(path)
    path.chmod(file)
    path.parent.chmod(folder)
    (said,) = lone(script, path)
    path.parent.chmod(0o755)
    path.chmod(0o600)
    assert "the ledger is read-only" in said or "the ledger cannot be opened" in said
    assert verify_file(path, KEY.public).head.number == 12


def test_file_locked_by_another_process_is_refused_and_then_taken(path: Path) -> None:
    with granted_ledger(path), Ledger.open(path, KEY, timeout_s=0.1) as ledger:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another process holds the ledger; wait for it to end"):
            ledger.record_refusal("a", "test", "a refusal")
        with pytest.raises(StorageError, match="another process holds the ledger"):
            Ledger.open(path, KEY, timeout_s=0.1)
        assert ledger.sign_head().statement.number == ledger.head.number == 3
        assert ledger.site == "north"
        other.execute("ROLLBACK")
        other.close()
        ledger.record_refusal("a", "test", "a refusal")
        assert ledger.head.number == 4


def test_file_cut_anywhere_is_refused_and_left_as_it_is(path: Path) -> None:
    write_story(path)
    whole = path.read_bytes()
    for length in [0, 1, 15, 16, 99, 100, *range(512, len(whole), 512), len(whole) - 1]:
        path.write_bytes(whole[:length])
        for read in (lambda: Ledger.open(path, KEY), lambda: verify_file(path)):
            with pytest.raises(LedgerError):
                read()
        assert path.read_bytes() == whole[:length]
    path.write_bytes(whole)
    assert verify_file(path, KEY.public).head.number == 12


@pytest.mark.parametrize("rot", [b"\x00", b"\xff", b"\xff\x00\x7f\x80" * 4])
def test_file_with_any_bytes_overwritten_says_what_it_said_or_is_refused(path: Path, rot: bytes) -> None:
    write_story(path)
    whole = path.read_bytes()
    head = verify_file(path, KEY.public).head

    def opened() -> Head:
        with Ledger.open(path, KEY, timeout_s=0) as ledger:
            return ledger.head

    reads: tuple[Callable[[], Head], ...] = (opened, lambda: verify_file(path, KEY.public).head)
    refused = 0
    for offset in range(0, len(whole) - len(rot), 61):
        path.write_bytes(whole[:offset] + rot + whole[offset + len(rot) :])
        for read in reads:
            try:
                assert read() == head, offset
            except LedgerError:
                refused += 1
    assert refused > len(whole) / 61 / 2
    path.write_bytes(whole)
    assert verify_file(path, KEY.public).head == head


def overwrite(offset: int, data: bytes) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[offset : offset + len(data)] = data
        path.write_bytes(content)

    return change


def statement(sql: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.executescript(sql)
        connection.close()

    return change


def of_another_application(path: Path) -> None:
    path.unlink()
    statement("CREATE TABLE patient (name TEXT)")(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (overwrite(0, b"X"), "the file is not a ledger; name the site's ledger.sqlite, or an export of it"),
        (overwrite(4096, b"\xff" * 4096), "damaged; restore it from a backup"),
        (lambda path: path.write_bytes(b""), "not a Consilium ledger"),
        (lambda path: path.write_text("a text\n" * 1000), "the file is not a ledger"),
        (of_another_application, "a SQLite file, but not a Consilium ledger"),
        (statement("PRAGMA application_id = 1"), "not a Consilium ledger"),
        (statement("PRAGMA user_version = 2"), "of version 2, this program knows up to 1: install a newer one"),
        (statement("DROP TRIGGER entry_kept"), "tables and triggers are not a ledger's"),
        (statement("CREATE TABLE patient (name TEXT)"), "tables and triggers are not a ledger's"),
        (statement("CREATE VIEW entries AS SELECT * FROM entry"), "tables and triggers are not a ledger's"),
    ],
)
def test_file_damaged_newer_or_anothers_is_refused(
    path: Path, change: Callable[[Path], None], sentence: str
) -> None:
    write_story(path)
    change(path)
    with pytest.raises(LedgerError, match=sentence):
        Ledger.open(path, KEY)
    with pytest.raises(LedgerError, match=sentence):
        verify_file(path)


def test_ledger_without_its_first_entries_is_refused(path: Path) -> None:
    write_story(path)
    triggers = "SELECT sql FROM sqlite_schema WHERE name = 'entry_kept'"
    with sqlite3.connect(path) as connection:
        (trigger,) = connection.execute(triggers).fetchone()
        for sql in ("DROP TRIGGER entry_kept", "DELETE FROM entry WHERE number <= 2", trigger):
            connection.execute(sql)
    connection.close()
    with pytest.raises(LedgerError, match="entry 1: it is missing, the next one is 3"):
        Ledger.open(path, KEY)
    with pytest.raises(LedgerError, match="entry 1: it is missing, the next one is 3"):
        verify_file(path)


def test_ledger_without_any_entry_is_refused(path: Path) -> None:
    write_story(path)
    with sqlite3.connect(path) as connection:
        (trigger,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'entry_kept'").fetchone()
        for sql in ("DROP TRIGGER entry_kept", "DELETE FROM entry", trigger):
            connection.execute(sql)
    connection.close()
    with pytest.raises(LedgerError, match="the ledger is empty; restore it from a backup"):
        Ledger.open(path, KEY)
    with pytest.raises(LedgerError, match="the ledger has no entry yet"):
        verify_file(path)


def test_missing_file_is_named(path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"):
        Ledger.open(path, KEY)
    with pytest.raises(LedgerError, match="there is no ledger"):
        verify_file(path)
    assert not path.exists()


def test_ledger_that_is_replaced_under_an_open_ledger_takes_no_entry(path: Path) -> None:
    granted_ledger(path).close()
    copy = shutil.copy(path, path.with_suffix(".copy"))
    with Ledger.open(path, KEY, clock(start=LATER)) as ledger:
        Path(copy).replace(path)
        for ask in (
            lambda: ledger.record_refusal("a", "test", "a refusal"),
            lambda: ledger.read_state().find_account(POPULATION).budget,
        ):
            with pytest.raises(LedgerError, match="was moved or replaced while in use; start the site again"):
                ask()
    assert verify_file(path, KEY.public).head.number == 3


def test_clock_set_back_is_refused_until_people_say_that_it_had_been_wrong(path: Path) -> None:
    """An empty battery: the ledger was begun 400 days ahead."""
    granted_ledger(path, look=clock(start="2027-04-06T08:00:00+00:00")).close()
    with Ledger.open(path, KEY, clock(start="2026-03-02T08:00:00+00:00")) as ledger:
        with pytest.raises(
            StorageError,
            match=r"the clock says 2026-03-02T08:00:00Z, the last .* 2027-04-06T08:02:00Z.*consilium-site ledger clock",
        ):
            ledger.record_refusal("a", "test", "a refusal")
        ledger.accept_clock("Ada Byron", "ada")
        ledger.record_refusal("a", "test", "a refusal")
        with pytest.raises(LedgerError, match="is not behind the last entry"):
            ledger.accept_clock("Ada Byron", "ada")
    times = [entry.time[:10] for entry in entries_of(path)]
    assert times == ["2027-04-06"] * 3 + ["2026-03-02"] * 2
    assert verify_file(path, KEY.public).head.number == 5


@pytest.mark.parametrize(
    ("now", "then"), [("08:01:30", "08:02:00"), ("07:57:00", "08:02:00"), ("07:02:00", "08:02:00")]
)
def test_clock_stepped_back_by_up_to_an_hour_keeps_the_last_time(path: Path, now: str, then: str) -> None:
    granted_ledger(path).close()
    with Ledger.open(path, KEY, clock(start=f"2026-03-02T{now}+00:00")) as ledger:
        ledger.record_refusal("a", "test", "a refusal")
        assert list(ledger.read_entries())[-1].time == f"2026-03-02T{then}Z"


def entries_of(path: Path) -> list[Entry]:
    with Ledger.open(path, KEY) as ledger:
        return list(ledger.read_entries())
