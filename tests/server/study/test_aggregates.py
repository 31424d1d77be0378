"""What is kept of a study's aggregates: real files, in the room that they have, and none once the study is over."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import FederationError
from server.control.coordinator import Coordinator
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.study.aggregates import LEAST, Aggregates
from server.study.events import Finished
from server.study.journal import Journal
from tests.privacy.launch_makers import golden_launch

KILLED = """
import os, signal, sys
from pathlib import Path
from privacy.errors import FederationError
from privacy.files import replace_file
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
replace_file(Path(sys.argv[1]), bytes(1 << 20), FederationError)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "golden-00000000"
    Journal.create(path, golden_launch()).close()
    return path


def store(folder: Path, sizes: dict[int, int]) -> None:
    for number, size in sizes.items():
        Aggregates(folder).find_path(number).write_bytes(bytes(size))


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "aggregates").iterdir())


@pytest.mark.parametrize(
    ("sizes", "room", "excess"),
    [
        ({}, 0, 0),
        ({1: 10, 2: 10, 3: 10}, 0, 0),
        ({1: 10, 2: 10, 3: 10, 4: 10}, 0, 1),
        ({1: 10, 2: 10, 3: 10, 4: 10}, 39, 1),
        ({1: 10, 2: 10, 3: 10, 4: 10}, 40, 0),
        ({2: 10, 5: 10, 9: 10, 11: 10, 100_000: 10}, 40, 2),  # void rounds have none
        ({1: 100, 2: 1, 3: 1, 4: 1, 5: 1}, 4, 1),
        ({1: 1, 2: 1, 3: 1, 4: 1, 5: 100}, 4, 2),
    ],
)
def test_oldest_aggregates_without_room_are_in_excess(
    folder: Path, sizes: dict[int, int], room: int, excess: int
) -> None:
    store(folder, sizes)
    assert Aggregates(folder, room).find_excess() == excess


@given(st.dictionaries(st.integers(1, 30), st.integers(0, 50), max_size=12), st.integers(0, 300))
def test_what_is_kept_fits_the_room_or_is_the_last_rounds(
    tmp_path_factory: pytest.TempPathFactory, sizes: dict[int, int], room: int
) -> None:
    folder = tmp_path_factory.mktemp("study") / "golden-00000000"
    (folder / "aggregates").mkdir(parents=True)
    store(folder, sizes)
    aggregates = Aggregates(folder, room)
    excess = aggregates.find_excess()
    aggregates.remove(excess)
    left = {number: size for number, size in sizes.items() if aggregates.find_path(number).exists()}
    assert left == {number: size for number, size in sizes.items() if number > excess}
    assert len(left) <= LEAST or sum(left.values()) <= room
    assert len(left) == len(sizes) or len(left) >= LEAST
    assert aggregates.find_excess() == 0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50)), max_size=12), st.integers(0, 150))
def test_what_is_counted_while_a_study_runs_is_what_a_new_look_finds(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[int, int]], room: int
) -> None:
    """A step of 0 writes the same round again, one of 2 leaves out a void round."""
    folder = tmp_path_factory.mktemp("study") / "golden-00000000"
    (folder / "aggregates").mkdir(parents=True)
    running, number = Aggregates(folder, room), 1
    for step, size in written:
        number += step
        store(folder, {number: size})
        running.add(number)
        assert running.find_excess() == Aggregates(folder, room).find_excess()
        running.remove(running.find_excess())
        assert running.find_excess() == 0


def test_process_that_was_killed_in_writing_leaves_nothing_after_the_next_start(folder: Path) -> None:
    target = Aggregates(folder).find_path(4)
    store(folder, {3: 10})
    killed = subprocess.run([sys.executable, "-c", KILLED, target], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(kept(folder)) == 2
    Aggregates(folder).clean_up(0)
    assert kept(folder) == ["00003.bin"]


def test_study_that_is_over_keeps_none_after_the_coordinator_has_looked(tmp_path: Path) -> None:
    """The run was killed when the study had just ended; the coordinator is started again."""
    federation = Federation.create(tmp_path / "wood", CoordinatorConfig(federation="wood", port=9092))
    for study in ("golden-00000000", "golden-00000001"):
        folder = federation.find_study_folder(study)
        Journal.create(folder, golden_launch()).close()
        store(folder, {1: 10, 2: 10})
    with Journal(folder) as journal:
        journal.record(Finished())
    assert Coordinator(federation)._list_open_studies() == ["golden-00000000"]
    assert kept(folder) == []
    assert kept(federation.find_study_folder("golden-00000000")) == ["00001.bin", "00002.bin"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_aggregates_that_cannot_be_removed_are_named(folder: Path) -> None:
    store(folder, {1: 10})
    (folder / "aggregates").chmod(0o500)
    try:
        with pytest.raises(FederationError, match="aggregates cannot be removed"):
            Aggregates(folder).remove(1)
    finally:
        (folder / "aggregates").chmod(0o700)
