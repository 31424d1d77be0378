"""Opening a ledger twice verifies it once; whatever was changed since is found, and the mark is no way around it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from privacy.errors import LedgerError
from privacy.ledger import Ledger
from privacy.ledger.database import verify_file
from privacy.ledger.signed_head import Countersigned, LedgerHead
from privacy.ledger.signing import Head
from privacy.ledger.verified_mark import WORTH_MARKING, VerifiedMark, read_mark, write_mark
from privacy.program import read_program
from privacy.signed import Signed
from tests.privacy.ledger_makers import (
    KEY,
    MODEL,
    OTHER_KEY,
    POPULATION,
    STEP,
    TERMS,
    WITNESS,
    countersigned,
    granted_ledger,
    plan,
)

TRIGGERS = ("entry_in_order", "entry_unchanged", "entry_kept")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger of a little more than the entries that are worth a mark, opened once."""
    path = tmp_path / "ledger.sqlite"
    with granted_ledger(path) as ledger:
        ledger.allow("study-1", POPULATION, plan(), TERMS)
        for number in range(1, 4):
            ledger.reserve("study-1", number, STEP)
            ledger.settle("study-1", number)
        for number in range(WORTH_MARKING):
            ledger.record_incident("study-1", "test", f"event {number}")
        ledger.record_release("study-1", MODEL)
    assert not mark_of(path).exists()
    Ledger.open(path, KEY).close()
    return path


def mark_of(path: Path) -> Path:
    return path.with_name("ledger.sqlite.verified")


def change(path: Path, statement: str, *values: object) -> None:
    """Change the file as somebody with a text editor for SQLite would: no trigger is in the way, none is missing."""
    with closing(sqlite3.connect(path)) as connection:
        triggers = [
            connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0]
            for name in TRIGGERS
        ]
        for name in TRIGGERS:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement, values)
        for sql in triggers:
            connection.execute(sql)
        connection.commit()


def spoil_signature(path: Path, number: int) -> None:
    change(path, "UPDATE entry SET signature = ? WHERE number = ?", bytes(64), number)


def require_whole_verification(path: Path) -> None:
    """A wrong signature of an old entry is found only by who verifies everything."""
    spoil_signature(path, 3)
    with pytest.raises(LedgerError, match="entry 3 breaks the rule 'signature'"):
        Ledger.open(path, KEY)


def test_mark_is_private_and_names_the_head(path: Path) -> None:
    assert mark_of(path).stat().st_mode & 0o777 == 0o600
    with Ledger.open(path, KEY) as ledger:
        assert read_mark(path, KEY) == ledger.head


def test_state_with_the_mark_is_that_of_a_whole_verification(path: Path) -> None:
    with Ledger.open(path, KEY) as ledger:
        quick, whole = ledger.read_state(), verify_file(path, KEY.public)
        assert quick.make_head_statement() == whole.make_head_statement()
        assert quick.list_budgets() == whole.list_budgets()
        assert (quick.unsettled, quick.time, quick.keys) == (whole.unsettled, whole.time, whole.keys)
        assert all(quick.contains(number, hash) for number, hash in enumerate(whole._hashes, start=1))
        for number in range(-1, whole.head.number + 2):
            held = [hash for hash in whole._hashes if whole.has_entry(number, hash)]
            assert held == [hash for hash in whole._hashes if whole.find_entry_number(hash) == number]


def test_old_signature_is_not_verified_twice_and_the_auditors_command_finds_it(path: Path) -> None:
    """The limit of the mark, which the daily verification covers."""
    spoil_signature(path, 3)
    Ledger.open(path, KEY).close()
    with pytest.raises(LedgerError, match="entry 3 breaks the rule 'signature'"):
        verify_file(path, KEY.public)


def test_signature_of_an_entry_after_the_mark_is_verified(path: Path) -> None:
    with Ledger.open(path, KEY) as ledger:
        ledger.record_incident("study-1", "test", "one more")
        number = ledger.head.number
    spoil_signature(path, number)
    with pytest.raises(LedgerError, match=f"entry {number} breaks the rule 'signature'"):
        Ledger.open(path, KEY)


@pytest.mark.parametrize("way", ["record_checkpoint", "recover"])
def test_countersignature_that_is_none_is_refused_after_an_opening_by_the_mark(path: Path, way: str) -> None:
    """What was verified before is only what is in the file: a new head that nobody has seen is verified as ever."""
    with Ledger.open(path, KEY) as ledger:
        forged = countersigned(ledger, OTHER_KEY)
        if way == "recover":
            head = forged.head.statement.model_copy(update={"number": forged.head.statement.number + 50})
            forged = Countersigned.sign(OTHER_KEY, "coordinator", Signed[LedgerHead].sign(OTHER_KEY, head))
        before = ledger.head
        with pytest.raises(LedgerError, match=r"cannot be believed|not signed by this ledger's key"):
            getattr(ledger, way)(forged, WITNESS.public)
        assert ledger.head == before


@pytest.mark.parametrize("number", [2, 3, 100])
def test_changed_entry_before_the_mark_is_refused_by_name(path: Path, number: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        (data,) = connection.execute("SELECT bytes FROM entry WHERE number = ?", (number,)).fetchone()
    changed = data.replace(b'"version":1', b'"version": 1')  # it says the same, and has another hash
    assert changed != data
    change(path, "UPDATE entry SET bytes = ? WHERE number = ?", changed, number)
    with pytest.raises(LedgerError, match=f"entry {number} "):
        Ledger.open(path, KEY)


def test_last_marked_entry_that_was_changed_is_refused(path: Path) -> None:
    """No later entry of the file names its hash: only the mark does, and then its signature."""
    with Ledger.open(path, KEY) as ledger:
        number = ledger.head.number
    with closing(sqlite3.connect(path)) as connection:
        (data,) = connection.execute("SELECT bytes FROM entry WHERE number = ?", (number,)).fetchone()
    changed = data.replace(MODEL.encode(), b"9" * 64)
    change(path, "UPDATE entry SET bytes = ? WHERE number = ?", changed, number)
    with pytest.raises(LedgerError, match=f"entry {number} breaks the rule 'signature'"):
        Ledger.open(path, KEY)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff" * 100, b"[" * 4000, b"x" * 100_000])
def test_mark_that_is_none_means_a_whole_verification(path: Path, data: bytes) -> None:
    mark_of(path).write_bytes(data)
    assert read_mark(path, KEY) is None
    require_whole_verification(path)


def test_mark_under_another_key_means_a_whole_verification(path: Path) -> None:
    head = read_mark(path, KEY)
    assert head is not None
    write_mark(path, OTHER_KEY, head)
    require_whole_verification(path)


def test_mark_of_another_program_means_a_whole_verification(path: Path) -> None:
    head = read_mark(path, KEY)
    assert head is not None
    mark = VerifiedMark(number=head.number, hash=head.hash, code="0" * 64)
    assert mark.code != read_program().code
    mark_of(path).write_bytes(Signed[VerifiedMark].sign(KEY, mark).to_bytes())
    require_whole_verification(path)


@pytest.mark.parametrize(
    "change_head",
    [
        lambda head: Head(head.number - 1, head.hash),
        lambda head: Head(head.number, "0" * 64),
        lambda head: Head(head.number + 1000, head.hash),
    ],
)
def test_mark_of_another_head_means_a_whole_verification(path: Path, change_head: object) -> None:
    """As where the ledger was put back to an older copy, and the mark was not."""
    assert callable(change_head)
    head = read_mark(path, KEY)
    assert head is not None
    write_mark(path, KEY, change_head(head))
    require_whole_verification(path)


def test_mark_that_cannot_be_written_stops_nothing(path: Path) -> None:
    mark_of(path).unlink()
    mark_of(path).mkdir()
    with Ledger.open(path, KEY) as ledger:
        assert ledger.head.number > WORTH_MARKING
