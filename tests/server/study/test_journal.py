"""A study's journal: what is recorded is there after a kill, and one process drives."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import FederationError
from server.study.events import (
    EpochAsked,
    Event,
    Finished,
    GaveUp,
    ModelsHeld,
    ReleaseAsked,
    Resumed,
    Stopped,
    StudyStatus,
    WaitBegan,
)
from server.study.journal import Journal
from server.study.notes import Remark
from tests.privacy.launch_makers import golden_launch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "golden-00000000"
    Journal.create(path, golden_launch()).close()
    return path


def test_new_journal_holds_the_signed_launch(folder: Path) -> None:
    with Journal(folder) as journal:
        assert journal.read_launch() == golden_launch()
        assert journal.read_history().epoch_asked == 0
        assert journal.read_status() is StudyStatus.OPEN
        assert list(journal.read_notes()) == []


def test_journal_is_not_begun_twice(folder: Path) -> None:
    with pytest.raises(FederationError, match="the study 'golden-00000000' exists already"):
        Journal.create(folder, golden_launch())


def test_study_that_is_not_there_is_refused_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="there is no study 'none' here; see: consilium study list"):
        Journal(tmp_path / "none")


def test_events_are_there_for_the_next_process(folder: Path) -> None:
    with Journal(folder) as journal:
        journal.record(EpochAsked(epoch=1))
        journal.record(EpochAsked(epoch=2))
    with Journal(folder) as journal:
        assert journal.read_history().epoch_asked == 2


def read_status_from_history(folder: Path) -> StudyStatus:
    """The status by the documented order: given up, finished or stopped, waiting, open."""
    with Journal(folder) as journal:
        history = journal.read_history()
    if history.given_up:
        return StudyStatus.GIVEN_UP
    if history.finished:
        return StudyStatus.FINISHED
    if history.stopped is not None:
        return StudyStatus.STOPPED
    return StudyStatus.OPEN if history.waiting is None else StudyStatus.WAITING


TURNS: tuple[Event, ...] = (
    WaitBegan(why="2 sites are here"), ReleaseAsked(round=1, attempt=1), ModelsHeld(held={}), EpochAsked(epoch=1),
    Stopped(why="too few"), Resumed(),
)  # fmt: skip


@given(st.lists(st.sampled_from(TURNS), max_size=8), st.sampled_from([(), (Finished(),), (GaveUp(), Resumed())]))
def test_exact_status_is_that_of_the_whole_history(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event], end: tuple[Event, ...]
) -> None:
    folder = tmp_path_factory.mktemp("study") / "golden-00000000"
    with Journal.create(folder, golden_launch()) as journal:
        for event in (*events, *end):
            journal.record(event)
        exact, status = journal.read_exact_status(), journal.read_status()
    assert exact is read_status_from_history(folder)
    assert status is {StudyStatus.WAITING: StudyStatus.OPEN, StudyStatus.GIVEN_UP: status}.get(exact, exact)


def test_status_is_read_from_as_few_events_after_a_hundred_rounds_as_after_ten(folder: Path) -> None:
    counts, steps = list[int](), list[None]()
    with Journal(folder) as journal:
        journal.record(Stopped(why="too few sites"))
        journal.record(Resumed())
        for number in range(1, 101):
            journal.record(ReleaseAsked(round=number, attempt=1))
            if number in (10, 100):
                journal._connection.set_progress_handler(lambda: steps.append(None), 1)
                journal.read_exact_status()
                journal._connection.set_progress_handler(None, 1)
                counts.append(len(steps))
                steps.clear()
    assert counts[0] == counts[1] > 0


def test_standing_is_what_the_newest_word_says(folder: Path) -> None:
    with Journal(folder) as journal:
        journal.record(Stopped(why="too few sites"))
        assert journal.read_status() is StudyStatus.STOPPED
        journal.record(Resumed())
        journal.record(EpochAsked(epoch=3))
        assert journal.read_status() is StudyStatus.OPEN
        journal.record(Finished())
        assert journal.read_status() is StudyStatus.FINISHED


def test_request_numbers_rise_over_restarts(folder: Path) -> None:
    numbers = []
    for _ in range(3):
        with Journal(folder) as journal:
            numbers += [journal.take_next_number(), journal.take_next_number()]
    assert numbers == sorted(set(numbers))
    assert numbers[0] > 0


def test_request_numbers_of_two_processes_are_never_the_same(folder: Path) -> None:
    with Journal(folder) as one, Journal(folder) as other:
        numbers = [journal.take_next_number() for _ in range(5) for journal in (one, other)]
    assert numbers == sorted(set(numbers))


def test_notes_are_read_from_where_one_left_off(folder: Path) -> None:
    with Journal(folder) as journal:
        for text in ("one", "two", "three"):
            journal.append_note(Remark(text=text))
        first, *rest = journal.read_notes()
        assert [note.text for note in rest if isinstance(note, Remark)] == ["two", "three"]
        assert list(journal.read_notes(after=first.number)) == rest
        times = [note.time for note in journal.read_notes()]
    assert times == sorted(times)


def test_reader_sees_what_another_process_writes(folder: Path) -> None:
    with Journal(folder) as writer, Journal(folder) as reader:
        writer.record(EpochAsked(epoch=7))
        assert reader.read_history().epoch_asked == 7


def test_event_is_there_after_its_process_was_killed(folder: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from server.study.journal import Journal; "
        "from server.study.events import EpochAsked; journal = Journal(Path(sys.argv[1])); "
        "journal.record(EpochAsked(epoch=5)); print(journal.take_next_number()); sys.stdout.flush(); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    with Journal(folder) as journal:
        assert journal.read_history().epoch_asked == 5
        assert journal.take_next_number() > int(done.stdout)


def test_study_is_driven_by_one_process(folder: Path) -> None:
    with Journal(folder) as one, Journal(folder) as other:
        held = one.lock()
        with pytest.raises(FederationError, match="another process drives the study 'golden-00000000'"):
            other.lock()
        os.close(held)
        os.close(other.lock())


@pytest.mark.parametrize(
    ("pragma", "sentence"),
    [("user_version = 2", "not a journal of version 1"), ("application_id = 0", "not a journal of version 1")],
)
def test_journal_of_another_version_is_refused(folder: Path, pragma: str, sentence: str) -> None:
    connection = sqlite3.connect(folder / "journal.sqlite")
    connection.execute(f"PRAGMA {pragma}")
    connection.close()
    with pytest.raises(FederationError, match=sentence):
        Journal(folder)


def test_empty_file_in_the_place_of_a_journal_is_refused_and_left_as_it_is(folder: Path) -> None:
    path = folder / "journal.sqlite"
    for each in folder.glob("journal.sqlite*"):
        each.unlink()
    path.touch()
    with pytest.raises(FederationError, match="not a journal of version 1"):
        Journal(folder)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)


def test_file_that_is_no_journal_is_refused(folder: Path) -> None:
    (folder / "journal.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(FederationError, match="the journal cannot be read: file is not a database"):
        Journal(folder)


def test_event_that_was_damaged_is_refused(folder: Path) -> None:
    with Journal(folder) as journal:
        journal.record(EpochAsked(epoch=1))
    connection = sqlite3.connect(folder / "journal.sqlite")
    connection.execute("UPDATE event SET body = ?", (b"{}",))
    connection.commit()
    connection.close()
    with (
        Journal(folder) as journal,
        pytest.raises(FederationError, match="an event that this version does not know"),
    ):
        journal.read_history()


def test_launch_that_is_damaged_is_refused(folder: Path) -> None:
    with Journal(folder) as journal:
        (folder / "launch.json").write_bytes(b"{}")
        with pytest.raises(FederationError, match=r"launch\.json"):
            journal.read_launch()
        (folder / "launch.json").unlink()
        with pytest.raises(FederationError, match=r"launch\.json: cannot be used"):
            journal.read_launch()


def test_aggregate_has_a_place_of_its_own(folder: Path) -> None:
    with Journal(folder) as journal:
        path = journal.find_aggregate_path(7)
    assert path == folder / "aggregates" / "00007.bin"
