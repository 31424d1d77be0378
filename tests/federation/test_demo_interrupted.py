"""``consilium demo``, interrupted or killed in the middle of a round: no process is left, and no folder."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.running_federation import processes_with, wait_for
from privacy.command_line import INTERRUPTED

pytestmark = pytest.mark.federation


@contextlib.contextmanager
def demo_in_its_second_round(said: Path, temporary: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A demonstration whose every process is at work, as a script starts it in the background; killed at the end."""
    with said.open("wb") as output:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "consilium", "demo", "--rounds", "50"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            env=os.environ | {"TMPDIR": str(temporary)},
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509
        )
    try:
        wait_for("the second round", lambda: process.poll() is not None or b"round   2" in said.read_bytes(), 150)
        assert process.poll() is None, said.read_text()[-600:]
        (folder,) = temporary.iterdir()
        assert (folder / "coordinator" / "studies").is_dir()
        assert len(processes_with("TMPDIR", str(temporary))) > 10  # up to a trainer at each hospital
        yield process
    finally:
        process.kill()
        process.wait()


def test_interrupted_demo_leaves_no_process_and_no_folder(tmp_path: Path, short_folder: Path) -> None:
    with demo_in_its_second_round(tmp_path / "said", short_folder) as process:
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == INTERRUPTED
    assert (tmp_path / "said").read_text().splitlines()[-1] == "consilium: interrupted"
    assert processes_with("TMPDIR", str(short_folder)) == []
    assert list(short_folder.iterdir()) == []


def test_killed_demo_leaves_no_process(tmp_path: Path, short_folder: Path) -> None:
    with demo_in_its_second_round(tmp_path / "said", short_folder) as process:
        process.kill()
        wait_for("everything to end by itself", lambda: processes_with("TMPDIR", str(short_folder)) == [])
