"""A running site verifies its whole ledger, also what its own mark vouches for."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from client.connection.ledger_verification import keep_verifying
from client.site.folder import SiteFolder

SECOND_LOOK_S = 0.05


def test_signature_that_was_damaged_is_reported_at_every_look(tmp_path: Path) -> None:
    home, stop, told, twice = SiteFolder.create(tmp_path / "ash", "ash"), threading.Event(), [], threading.Event()
    with closing(sqlite3.connect(home.ledger_path)) as connection:
        (trigger,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'entry_unchanged'").fetchone()
        connection.execute("DROP TRIGGER entry_unchanged")
        connection.execute("UPDATE entry SET signature = ?", (bytes(64),))
        connection.execute(trigger)
        connection.commit()

    def tell(sentence: str) -> None:
        told.append(sentence)
        if len(told) == 2:
            twice.set()

    thread = keep_verifying(home, stop, tell, SECOND_LOOK_S)
    assert twice.wait(30)
    stop.set()
    thread.join(30)
    assert "this site's ledger does not verify: entry 1 breaks the rule 'signature'" in told[0]


def test_ledger_that_verifies_is_not_spoken_of(tmp_path: Path) -> None:
    home, stop, told = SiteFolder.create(tmp_path / "ash", "ash"), threading.Event(), list[str]()
    stop.set()
    keep_verifying(home, stop, told.append).join(30)
    assert told == []
