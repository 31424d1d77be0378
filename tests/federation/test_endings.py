"""A coordinator and a site whose terminal is closed, or who inherit ignored signals, end and leave nothing."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from benchmarks.running_federation import are_all_online, command, processes_with, wait_for
from server.superlink.process import find_free_port

pytestmark = pytest.mark.federation

_MARK: Final = "CONSILIUM_TEST"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A federation of one enrolled site; nothing runs."""
    folder = tmp_path_factory.mktemp("wood")
    request, admission = folder / "request", folder / "admission"
    for program, words in (
        (
            "consilium",
            (
                *("init", folder / "coordinator", "--name", "wood"),
                *("--port", str(find_free_port()), "--control-port", str(find_free_port())),
            ),
        ),
        ("consilium-site", ("init", folder / "ash", "--name", "ash")),
        ("consilium-site", ("--dir", folder / "ash", "join", "--request", request)),
        ("consilium", ("--dir", folder / "coordinator", "admit", request, "--out", admission, "--yes")),
        ("consilium-site", ("--dir", folder / "ash", "join", "--admission", admission)),
    ):
        said = command(program, *words)
        assert said.code == 0, said.err
    return folder


@contextlib.contextmanager
def in_terminal(folder: Path, program: str, party: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """A program's ``up`` in a terminal of its own; the process and our end of the terminal."""
    ours, theirs = os.openpty()

    def take_terminal() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [Path(sys.executable).parent / program, "--dir", folder / party, "up"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        | {_MARK: str(folder)},  # as in a hospital: what cannot be written stays in Python's buffer
        start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509 - no thread of ours holds a lock here
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            os.close(ours)


def online(folder: Path) -> bool:
    """Whether the coordinator counts the site as online."""
    said = command("consilium", "--dir", folder / "coordinator", "sites", "--json")
    return said.code == 0 and all(site["online"] for site in said.json["sites"])


@pytest.mark.parametrize("how", ["closed terminal", "SIGINT"])
def test_coordinator_and_site_that_are_left_end_in_order_and_leave_nothing(folder: Path, how: str) -> None:
    with (
        in_terminal(folder, "consilium", "coordinator") as (coordinator, its_terminal),
        in_terminal(folder, "consilium-site", "ash") as (site, sites_terminal),
    ):
        wait_for("the site to be online", lambda: are_all_online(folder / "coordinator"))
        for process, terminal in ((site, sites_terminal), (coordinator, its_terminal)):
            if how == "SIGINT":
                process.send_signal(signal.SIGINT)
            else:
                os.close(terminal)
            assert process.wait(timeout=60) == 0
        assert processes_with(_MARK, str(folder)) == []


def test_logs_of_an_idle_coordinator_do_not_grow(folder: Path) -> None:
    with (
        in_terminal(folder, "consilium", "coordinator"),
        in_terminal(folder, "consilium-site", "ash"),
    ):
        wait_for("the site to be online", lambda: are_all_online(folder / "coordinator"))
        logs = [folder / "coordinator" / "coordinator.log", folder / "coordinator" / "superlink" / "superlink.log"]
        before = [log.read_bytes() for log in logs]
        for _ in range(5):
            assert online(folder)
        assert [log.read_bytes() for log in logs] == before
        assert all(b"\x1b" not in text and b"list-nodes" not in text for text in before)
