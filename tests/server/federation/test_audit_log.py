"""The audit log: appended to, never changed, verified when it is read."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from privacy.errors import FederationError
from server.federation.audit_log import AuditLog, LogEntry

FIELDS: dict[str, Any] = {
    "time": 1.5,
    "role": "operator",
    "name": "anna",
    "account": "",
    "call": "Invite",
    "about": "ash",
    "request": "a" * 64,
    "outcome": "done",
    "order": "",
}


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    log = AuditLog(tmp_path / "audit.sqlite")
    for about in ("ash", "birch", "cedar"):
        log.append(**(FIELDS | {"about": about}))
    return log


def test_entries_follow_each_other(log: AuditLog) -> None:
    entries = list(log.read())
    assert [each.about for each in entries] == ["ash", "birch", "cedar"]
    assert [each.previous for each in entries[1:]] == [each.digest for each in entries[:2]]
    assert [each.about for each in log.read(after=2)] == ["cedar"]


def test_several_first_writers_at_once_are_all_written(tmp_path: Path) -> None:
    """Found with three commands started side by side in a new federation."""
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda n: AuditLog(tmp_path / "new.sqlite").append(**(FIELDS | {"about": str(n)})), range(16))
        )
    assert {each.about for each in AuditLog(tmp_path / "new.sqlite").read()} == {str(n) for n in range(16)}


def test_file_refuses_to_change_or_remove_an_entry(log: AuditLog, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "audit.sqlite")) as connection:
        for statement in ("UPDATE entry SET bytes = x'00'", "DELETE FROM entry"):
            with pytest.raises(sqlite3.IntegrityError, match="an entry is never"):
                connection.execute(statement)


def test_entry_that_was_changed_in_spite_of_that_is_found(log: AuditLog, tmp_path: Path) -> None:
    second = list(log.read())[1]
    forged = LogEntry(**{**second.model_dump(), "about": "mallory"})
    with closing(sqlite3.connect(tmp_path / "audit.sqlite")) as connection, connection:
        connection.execute("DROP TRIGGER entry_unchanged")
        connection.execute("UPDATE entry SET bytes = ? WHERE number = 2", (forged.to_bytes(),))
    with pytest.raises(FederationError, match="entry 3 does not follow from the one before: the log was changed"):
        list(log.read())


def test_entry_that_was_removed_is_found(log: AuditLog, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "audit.sqlite")) as connection, connection:
        connection.execute("DROP TRIGGER entry_kept")
        connection.execute("DELETE FROM entry WHERE number = 2")
    with pytest.raises(FederationError, match="entry 2 does not follow"):
        list(log.read())


def test_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "audit.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(FederationError, match="cannot be read"):
        list(AuditLog(tmp_path / "audit.sqlite").read())
