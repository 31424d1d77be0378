"""What a study has done at a site: one line a round, whole or not there, whatever is cut off in between."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from client.study.history import HISTORY_FILE, AppliedRound, AtEdge, NoiselessSum
from client.study.store import STATE_FILE, StudyStore, read_state
from privacy.canonical import to_canonical
from privacy.errors import SiteConfigError, StorageError
from privacy.protocol.headers import Evaluated
from tests.client.study.test_store import NEXT, begin

WRITING: Final = {
    "open",
    "write",
    "fsync",
    "replace",
    "ftruncate",
    "truncate",
    "unlink",
    "mkstemp",
    "seek",
    "fchmod",
}


def applied(number: int, **parts: Any) -> AppliedRound:
    return AppliedRound(round=number, epoch=1, sites=("ash", "birch"), patients=(60, 70), **parts)


@pytest.fixture
def store(tmp_path: Path) -> StudyStore:
    return begin(tmp_path / "study")


def advance(store: StudyStore, number: int) -> None:
    """As an applied round does, with totals every second time."""
    totals = Evaluated(round=number - 1, opened_in=number, counts=(number, 0)) if number % 2 else None
    store.advance(NEXT + number, number, None, applied(number, evaluated=totals))


def test_rounds_are_there_after_a_restart_in_their_order(store: StudyStore) -> None:
    for number in (1, 2, 4):
        advance(store, number)
    _, history = read_state(store.folder)
    assert [each.round for each in history.applied] == [1, 2, 4]
    assert history.applied == store.history.applied
    assert [each.opened_in for each in history.evaluations] == [1]
    assert (history.edges, history.noiseless_sums) == ([], {})


def test_edges_and_noiseless_sums_are_there_after_a_restart(store: StudyStore) -> None:
    store.save(NoiselessSum(model="a" * 64, cohort="b" * 64), reference=7)
    store.advance(NEXT, 1, None, applied(1, edge=AtEdge(round=1, values=3, of=9)))
    state, history = read_state(store.folder)
    assert history.noiseless_sums == {"a" * 64: "b" * 64}
    assert history.edges == [AtEdge(round=1, values=3, of=9)]
    assert state.reference == 7


def test_state_does_not_grow_with_the_rounds(store: StudyStore) -> None:
    sizes = []
    for number in range(1, 40):
        advance(store, number)
        sizes.append((store.folder / STATE_FILE).stat().st_size)
    assert max(sizes) - min(sizes) < 20, "the number of a round has more digits, and nothing else"


def test_written_lines_are_never_written_again(store: StudyStore) -> None:
    path = store.folder / HISTORY_FILE
    advance(store, 1)
    before, kept = path.read_bytes(), path.stat().st_ino
    advance(store, 2)
    store.save(reference=3)
    assert path.read_bytes().startswith(before)
    assert path.stat().st_ino == kept
    assert path.read_bytes().count(b"\n") == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_lines_behind_what_the_state_names_count_for_nothing_and_are_written_over(store: StudyStore) -> None:
    """A crash between the line and the state leaves one; half of one if the disk was full."""
    advance(store, 1)
    path = store.folder / HISTORY_FILE
    whole = path.read_bytes()
    for left in (whole, whole[:20], b"\0" * 4096):
        path.write_bytes(whole + left)
        again = StudyStore(store.folder)
        assert [each.round for each in again.history.applied] == [1]
    advance(again, 2)
    assert [each.round for each in read_state(store.folder)[1].applied] == [1, 2]
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("place", [0, 20, -2, -1])
def test_history_with_one_bit_changed_is_refused(store: StudyStore, place: int) -> None:
    advance(store, 1)
    path = store.folder / HISTORY_FILE
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)
    with pytest.raises(SiteConfigError, match=r"history\.jsonl: cannot be used: .*restore the study's folder"):
        StudyStore(store.folder)


def test_history_that_is_missing_or_cut_short_is_refused(store: StudyStore) -> None:
    advance(store, 1)
    path = store.folder / HISTORY_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(SiteConfigError, match="it is not what was written"):
        StudyStore(store.folder)
    with pytest.raises(SiteConfigError, match="its end is missing"):
        advance(store, 2)  # while the study runs
    path.unlink()
    with pytest.raises(SiteConfigError, match=r"history\.jsonl: cannot be used: No such file"):
        StudyStore(store.folder)


def test_change_that_cannot_be_written_changes_nothing(store: StudyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    advance(store, 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("fsync", "ftruncate", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            if name != "ftruncate":
                with pytest.raises(StorageError, match="No space left"):
                    store.save(applied(2), reference=9)
                assert [each.round for each in store.history.applied] == [1]
        assert [each.round for each in read_state(store.folder)[1].applied] == [1]
    store.save(applied(2), reference=9)
    assert [each.round for each in read_state(store.folder)[1].applied] == [1, 2]


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Do ``work`` in a process of its own that is killed before its write number ``step``; whether it was."""
    child = os.fork()
    if not child:
        seen = [0]

        def watch(_: FrameType, event: str, called: Any) -> None:
            if event == "c_call" and called.__name__ in WRITING:
                seen[0] += 1
                if seen[0] > step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(watch)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("first", [0, 1, 2])
def test_kill_between_any_two_writes_leaves_the_round_before_or_the_new_one(tmp_path: Path, first: int) -> None:
    """Real processes, killed with SIGKILL; what they leave is gone on with."""
    for step in range(200):
        store = begin(tmp_path / f"study-{step}")
        for number in range(1, first + 1):
            advance(store, number)
        killed = killed_at(step, lambda store=store: advance(store, first + 1))  # type: ignore[misc]
        again = StudyStore(store.folder)
        reached = again.state.base
        assert reached in (first, first + 1)
        assert [each.round for each in again.history.applied] == list(range(1, reached + 1))
        assert again.read_model() is not None
        for number in range(reached + 1, first + 3):
            advance(again, number)
        assert [each.round for each in read_state(store.folder)[1].applied] == list(range(1, first + 3))
        if not killed:
            assert reached == first + 1
            assert step > 10, "it was killed between all the writes before"
            return
    pytest.fail("the work did not end")


# A state of an earlier version ------------------------------------------------------------------------------


def make_old(store: StudyStore, **more: Any) -> bytes:
    """Write the state as it was when it held the history itself; return what is then in the file."""
    value = store.state.model_dump(mode="json")
    del value["history"]
    rounds = [
        each.model_dump(mode="json", include={"round", "epoch", "sites", "patients"})
        for each in map(applied, (1, 2))
    ]
    value |= {
        "applied": rounds,
        "evaluations": [Evaluated(round=1, opened_in=2, counts=(4, 5)).model_dump(mode="json")],
        "edges": [{"round": 2, "values": 1, "of": 3}],
        "noiseless_sums": {"a" * 64: "b" * 64},
        **more,
    }
    data = to_canonical(value)
    (store.folder / STATE_FILE).write_bytes(data)
    (store.folder / HISTORY_FILE).unlink(missing_ok=True)
    return data


def test_state_of_an_earlier_version_is_read_without_writing(store: StudyStore) -> None:
    old = make_old(store)
    state, history = read_state(store.folder)
    assert state == store.state
    assert [each.round for each in history.applied] == [1, 2]
    assert [(each.round, each.opened_in, each.counts) for each in history.evaluations] == [(1, 2, (4, 5))]
    assert history.edges == [AtEdge(round=2, values=1, of=3)]
    assert history.noiseless_sums == {"a" * 64: "b" * 64}
    assert (store.folder / STATE_FILE).read_bytes() == old
    assert not (store.folder / HISTORY_FILE).exists()


def test_state_of_an_earlier_version_is_moved_with_the_first_change(store: StudyStore) -> None:
    make_old(store)
    before = read_state(store.folder)[1]
    again = StudyStore(store.folder)
    again.save(reference=5)
    assert "applied" not in json.loads((store.folder / STATE_FILE).read_bytes())
    again.save(applied(3))
    for history in (again.history, read_state(store.folder)[1]):
        assert history.applied == [*before.applied, applied(3)]
        assert (history.evaluations, history.edges) == (before.evaluations, before.edges)
        assert history.noiseless_sums == before.noiseless_sums


def test_kill_while_a_state_of_an_earlier_version_is_moved_loses_nothing(tmp_path: Path) -> None:
    for step in range(200):
        store = begin(tmp_path / f"study-{step}")
        make_old(store)
        killed = killed_at(step, lambda store=store: StudyStore(store.folder).save(applied(3), reference=5))  # type: ignore[misc]
        state, history = read_state(store.folder)
        assert [each.round for each in history.applied] == ([1, 2] if state.reference is None else [1, 2, 3])
        if not killed:
            return
    pytest.fail("the work did not end")


def test_state_of_an_earlier_version_that_is_damaged_is_refused(store: StudyStore) -> None:
    make_old(store, applied=[{"round": "one"}])
    with pytest.raises(
        SiteConfigError, match=r"state\.json: cannot be used: the history .*restore the study's folder"
    ):
        StudyStore(store.folder)
