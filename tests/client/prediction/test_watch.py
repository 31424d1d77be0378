"""A watched folder: every file once, over restarts and crashes, whatever is put there."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from client.prediction.watch import LOG_FILE, LOOK_EVERY_S, STATE_FILE, Watcher
from privacy.errors import DataError, ReleaseError
from tests.client.prediction.released import release_table

MODEL = "ab" * 32


def watch(folder: Path, predict: Callable[[Path], tuple[str, bytes]], model: str = MODEL) -> Watcher:
    return Watcher(folder, ".csv", model, None, predict)


def count_bytes(path: Path) -> tuple[str, bytes]:
    """A stand-in for a model: the size of the file; a file that begins with 'bad' is no data."""
    data = path.read_bytes()
    if data.startswith(b"bad"):
        raise DataError(f"{path}: is no data that this model can be used on: no patient\nin it")
    return ".csv", str(len(data)).encode()


def look_twice(watcher: Watcher) -> list[str]:
    watcher.find_complete()
    return [watcher.take(path) for path in watcher.find_complete()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "new"
    made.mkdir()
    return made


def test_new_file_is_predicted_once_and_its_result_is_private(folder: Path) -> None:
    watcher = watch(folder, count_bytes)
    (folder / "a.csv").write_text("four")
    assert look_twice(watcher) == ["a.csv is predicted: a.csv.scores.csv"]
    result = folder / "a.csv.scores.csv"
    assert result.read_text() == "4"
    assert stat.S_IMODE(result.stat().st_mode) == 0o600
    assert look_twice(watcher) == []


def test_file_that_grows_is_left_until_it_is_complete(folder: Path) -> None:
    watcher = watch(folder, count_bytes)
    (folder / "a.csv").write_text("1")
    assert watcher.find_complete() == []
    (folder / "a.csv").write_text("12")
    assert watcher.find_complete() == []
    assert [path.name for path in watcher.find_complete()] == ["a.csv"]


def test_other_names_and_results_are_nobodys_business(folder: Path) -> None:
    watcher = watch(folder, count_bytes)
    for name in (".a.csv", "a.csv.part", "a.txt", "b.npz", "c.csv.scores.csv"):
        (folder / name).write_text("x")
    (folder / "d.csv").mkdir()
    assert look_twice(watcher) == []


def test_restart_repeats_nothing_and_takes_what_is_new(folder: Path) -> None:
    (folder / "a.csv").write_text("a")
    first = watch(folder, count_bytes)
    look_twice(first)
    first.close()
    (folder / "b.csv").write_text("bb")
    assert look_twice(watch(folder, count_bytes)) == ["b.csv is predicted: b.csv.scores.csv"]


def test_file_that_was_replaced_is_predicted_again(folder: Path) -> None:
    watcher = watch(folder, count_bytes)
    (folder / "a.csv").write_text("a")
    look_twice(watcher)
    (folder / "a.csv").write_text("longer")
    assert look_twice(watcher) == ["a.csv is predicted: a.csv.scores.csv"]
    assert (folder / "a.csv.scores.csv").read_text() == "6"


def test_bad_file_gets_a_sentence_in_the_log_and_is_left(folder: Path) -> None:
    watcher = watch(folder, count_bytes)
    (folder / "a.csv").write_text("bad")
    (said,) = look_twice(watcher)
    assert said.startswith("a.csv cannot be used: ")
    (line,) = (folder / LOG_FILE).read_text().splitlines()
    assert line.endswith(said)
    assert stat.S_IMODE((folder / LOG_FILE).stat().st_mode) == 0o600
    assert (folder / "a.csv").read_text() == "bad"
    assert look_twice(watcher) == []
    (folder / "a.csv").write_text("mended")
    assert look_twice(watcher) == ["a.csv is predicted: a.csv.scores.csv"]


def test_crash_before_the_result_is_made_good_after_a_restart(folder: Path) -> None:
    def crash(_: Path) -> tuple[str, bytes]:
        raise KeyboardInterrupt

    (folder / "a.csv").write_text("a")
    first = watch(folder, crash)
    with pytest.raises(KeyboardInterrupt):
        look_twice(first)
    first.close()
    # the crash may also have come after the result and before it was remembered
    (folder / "a.csv.scores.csv").write_text("half")
    assert look_twice(watch(folder, count_bytes)) == ["a.csv is predicted: a.csv.scores.csv"]
    assert (folder / "a.csv.scores.csv").read_text() == "1"


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_result_of_another_hand_is_never_replaced(suffix: str, folder: Path) -> None:
    (folder / "a.csv").write_text("a")
    (folder / f"a.csv.scores{suffix}").write_text("mine")
    watcher = watch(folder, count_bytes)
    (said,) = look_twice(watcher)
    assert "exists already and is not of this program; move it away" in said
    assert (folder / f"a.csv.scores{suffix}").read_text() == "mine"


def test_two_programs_on_one_folder_are_refused(folder: Path) -> None:
    watcher = watch(folder, count_bytes)
    with pytest.raises(ReleaseError, match="another program watches this folder"):
        watch(folder, count_bytes)
    watcher.close()
    watch(folder, count_bytes).close()


def test_folder_of_another_release_is_refused(folder: Path) -> None:
    (folder / "a.csv").write_text("a")
    first = watch(folder, count_bytes)
    look_twice(first)
    first.close()
    with pytest.raises(ReleaseError, match="was watched with another model or calibration"):
        watch(folder, count_bytes, "cd" * 32)


@pytest.mark.parametrize("text", ["", "{", '{"watch":2}', "[]"])
def test_state_that_was_damaged_is_refused_by_a_sentence(text: str, folder: Path) -> None:
    (folder / STATE_FILE).write_text(text)
    with pytest.raises(ReleaseError, match=STATE_FILE):
        watch(folder, count_bytes)


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="there is no such folder"):
        watch(tmp_path / "nowhere", count_bytes)


def test_program_predicts_what_is_put_there_and_ends_well_by_a_signal(tmp_path: Path) -> None:
    release, table = release_table(tmp_path)
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "1.csv").write_bytes(table.read_bytes())
    (folder / "2.csv").write_text("no,table\n1,2\n")
    said = run_until(release, folder, folder / "1.csv.scores.csv")
    assert "1.csv is predicted: 1.csv.scores.csv" in said
    assert "1 files predicted, 1 refused since the start" in said
    assert "2.csv cannot be used" in (folder / LOG_FILE).read_text()
    assert "Traceback" not in said
    first, *rows = (folder / "1.csv.scores.csv").read_text().splitlines()
    assert first == "id,probability,class"
    assert [row.split(",")[0] for row in rows] == ["p1", "p2", "p3", "p4"]


def run_until(release: Path, folder: Path, result: Path) -> str:
    """Run the program until ``result`` is there, end it, and return what it said."""
    code = "from client.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "predict", str(release), "--watch", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as program:
        try:
            while not (result.exists() and (folder / LOG_FILE).exists()):
                assert program.poll() is None
                time.sleep(LOOK_EVERY_S / 20)
            program.send_signal(signal.SIGTERM)
            _, said = program.communicate(timeout=60)
        finally:
            program.kill()
    assert program.returncode == 0
    return said


def test_name_that_would_steer_a_terminal_is_said_without_its_control_characters(folder: Path) -> None:
    with contextlib.closing(watch(folder, count_bytes)) as watcher:
        (folder / "\x1b]0;a\x07b.csv").write_text("bad")
        (said,) = look_twice(watcher)
    assert said.startswith("?]0;a?b.csv cannot be used: ")
    assert (folder / LOG_FILE).read_text().rstrip("\n").isprintable()


def test_log_that_is_a_link_to_another_file_is_not_followed(folder: Path, tmp_path: Path) -> None:
    """Who may put files into the folder could else write lines into any file of the user who watches it."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (folder / LOG_FILE).symlink_to(victim)

    def refuse(path: Path) -> tuple[str, bytes]:
        raise DataError("is no data")

    with contextlib.closing(watch(folder, refuse)) as watcher:
        (folder / "a.csv").write_text("x")
        with pytest.raises(ReleaseError, match="cannot be written"):
            look_twice(watcher)
    assert victim.read_text() == "mine"
