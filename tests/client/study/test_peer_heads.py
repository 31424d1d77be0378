"""What a site keeps of other sites' headers: only ever added to, whole after a crash, refused where it is not ours."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from client.study.peer_heads import _FORMAT, PeerHeads, SignedHeader
from privacy.errors import StorageError
from privacy.protocol.headers import Header, HeadReference, LostHead, View
from tests.privacy.launch_makers import SITE_KEYS

STUDY = "small-00000000"
DIGEST = "1" * 64


def header(
    site: str, number: int, round_number: int = 1, attempt: int = 1, lost: LostHead | None = None, hash: str = "a"
) -> SignedHeader:
    view = View(
        study=STUDY, launch=DIGEST, epoch=1, round=round_number, attempt=attempt, cohort=DIGEST, base=round_number - 1,
        model=DIGEST, key=DIGEST, layout=DIGEST, reference=1, patients=DIGEST, headers=DIGEST,
    )  # fmt: skip
    statement = Header(
        site=site, view=view, patients=60, blob=DIGEST, own_mask=DIGEST,
        ledger=HeadReference(number=number, hash=hash * 64, recovered=lost), epsilon_spent=None, totals=None,
    )  # fmt: skip
    return SignedHeader.sign(SITE_KEYS[site], statement)


@pytest.fixture
def peers(tmp_path: Path) -> PeerHeads:
    return PeerHeads(tmp_path / "peers.sqlite")


def test_newest_is_the_highest_number_of_the_ledger_shown_last(peers: PeerHeads) -> None:
    peers.keep([header("ash", 10), header("birch", 5)], {})
    peers.keep([header("ash", 9, 1, 2, hash="b")], {})  # of a study beside, or late
    assert {name: head.number for name, head in peers.list_newest(["ash", "birch", "cedar"]).items()} == {
        "ash": 10,
        "birch": 5,
    }
    peers.keep([header("ash", 4, 2, lost=LostHead(number=12, hash="c" * 64))], {})
    assert peers.list_newest(["ash"])["ash"].number == 4
    assert peers.has_lineage("ash", "")
    assert peers.has_lineage("ash", "c" * 64)
    assert not peers.has_lineage("birch", "c" * 64)


def test_refused_header_is_evidence_and_counts_for_nothing_else(peers: PeerHeads) -> None:
    peers.keep([header("ash", 10)], {})
    peers.keep([header("ash", 3, 2, hash="b")], {"ash": "it went back"})
    assert peers.list_newest(["ash"])["ash"].number == 10
    peers.keep([header("ash", 4, 3, hash="c")], {"ash": "and again"})
    assert peers.list_refusals(STUDY) == {"ash": "it went back"}
    assert peers.list_refusals("other-00000000") == {}
    assert [each.refused for each in peers.read_all()] == [None, "it went back", "and again"]


def test_headers_of_the_committed_attempt_are_read_back(peers: PeerHeads) -> None:
    first = [header("ash", 10), header("birch", 5)]
    second = [header("ash", 11, 1, 2), header("birch", 6, 1, 2)]
    peers.keep(first, {})
    peers.keep(second, {})
    peers.keep(second, {})
    assert peers.read_committed(STUDY, 1) == {}
    peers.record_committed(STUDY, 1, 2)
    peers.record_committed(STUDY, 1, 1)  # said once
    assert list(peers.read_committed(STUDY, 1).values()) == second
    assert list(peers.read_attempt(STUDY, 1, 1).values()) == first
    assert len(list(peers.read_all())) == 4


def keep_rounds(peers: PeerHeads, first: int, last: int) -> None:
    for number in range(first, last + 1):
        peers.keep([header("ash", 2 * number, number), header("birch", 2 * number + 1, number)], {})
        peers.record_committed(STUDY, number, 1)


def count_sqlite_steps(peers: PeerHeads, last: int) -> int:
    """How many instructions SQLite carries out for what a site asks in round ``last`` + 1."""
    steps = list[None]()
    with peers._open() as connection:
        connection.set_progress_handler(lambda: steps.append(None), 1)
        peers.list_refusals(STUDY)
        peers.list_newest(["ash", "birch"])
        peers.read_committed(STUDY, last)
        peers.find_highest("ash", STUDY, last)
        peers.find_entry("ash", header("ash", 2 * last).statement.ledger)
        peers.has_lineage("ash", "")
        keep_rounds(peers, last + 1, last + 1)
        connection.set_progress_handler(None, 1)
    return len(steps)


def test_round_reads_no_more_rows_after_a_hundred_rounds_than_after_ten(peers: PeerHeads) -> None:
    peers.keep([header("ash", 1, hash="b")], {"ash": "it went back"})
    keep_rounds(peers, 1, 10)
    after_ten = count_sqlite_steps(peers, 10)
    keep_rounds(peers, 12, 100)
    assert count_sqlite_steps(peers, 100) == after_ten > 0


def test_header_takes_little_more_room_than_its_bytes(peers: PeerHeads, tmp_path: Path) -> None:
    keep_rounds(peers, 1, 100)
    peers.close()  # what is in the log goes into the file
    kept = sum(len(each.header.to_bytes()) for each in peers.read_all())
    assert kept < (tmp_path / "peers.sqlite").stat().st_size < 2 * kept


def test_file_that_kept_headers_in_an_index_is_gone_on_with(peers: PeerHeads, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "peers.sqlite") as connection:
        connection.executescript(
            _FORMAT.schema.replace("header BLOB NOT NULL", "header BLOB NOT NULL UNIQUE").replace(
                "(study, round, attempt, site)", "(study, round, attempt)"
            )
            + f"PRAGMA application_id = {_FORMAT.application_id}; PRAGMA user_version = 1;"
        )
    for _ in range(2):
        keep_rounds(peers, 1, 3)
    assert [each.header for each in peers.read_all()] == [
        header(name, 2 * number + more, number) for number in (1, 2, 3) for name, more in (("ash", 0), ("birch", 1))
    ]


@pytest.mark.parametrize("statement", ["DELETE FROM seen", "UPDATE seen SET entry = 1"])
def test_file_refuses_to_change_or_remove_what_was_seen(peers: PeerHeads, tmp_path: Path, statement: str) -> None:
    peers.keep([header("ash", 10)], {})
    with (
        sqlite3.connect(tmp_path / "peers.sqlite") as connection,
        pytest.raises(sqlite3.IntegrityError, match="never"),
    ):
        connection.execute(statement)


def test_file_of_another_program_or_a_damaged_one_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    for name, data in (("other", None), ("damaged", b"no database at all, but long enough to be looked at" * 100)):
        path = tmp_path / f"{name}.sqlite"
        if data is None:
            with sqlite3.connect(path) as connection:
                connection.execute("CREATE TABLE theirs (x)")
        else:
            path.write_bytes(data)
        before = path.read_bytes()
        if name == "damaged":
            with pytest.raises(StorageError, match=r"damaged\.sqlite: cannot be used"):
                PeerHeads(path).list_newest(["ash"])
            assert path.read_bytes() == before
    wrong = tmp_path / "version.sqlite"
    PeerHeads(wrong).record_committed(STUDY, 1, 1)
    with sqlite3.connect(wrong) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(StorageError, match="not a file of seen heads of version 1"):
        PeerHeads(wrong).list_newest(["ash"])


def test_what_was_kept_outlives_the_kill_of_its_process(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.client.study.test_peer_heads import header\n"
        "from client.study.peer_heads import PeerHeads\n"
        "peers = PeerHeads(Path(sys.argv[1]))\n"
        "peers.keep([header('ash', 10), header('birch', 5)], {})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "peers.sqlite")], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert len(list(PeerHeads(tmp_path / "peers.sqlite").read_all())) == 2
