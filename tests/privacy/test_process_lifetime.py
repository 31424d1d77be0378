"""How programs end: real processes, real signals, a real terminal that is closed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

UNTIL_STOPPED = """
import threading
from privacy.process_lifetime import stop_on_signals
stop = threading.Event()
stop_on_signals(stop)
print("ready", flush=True)
stop.wait()
print("in order", flush=True)
"""
WHILE_IT_WAITS = """
import os, signal, threading
from privacy.process_lifetime import stop_on_signals
stop = threading.Event()
stop_on_signals(stop)
print("ready", flush=True)
with stop._cond:  # as wait() does for a moment
    os.kill(os.getpid(), signal.SIGTERM)
stop.wait()
print("in order", flush=True)
"""
CLEANS_UP = """
import os, signal, time
from privacy.process_lifetime import interrupt_on_signals
interrupt_on_signals()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGTERM)
    print("in order", flush=True)
"""
WITH_PARENT = """
import time
from privacy.process_lifetime import interrupt_with_parent
interrupt_with_parent()
print("ready", flush=True)
time.sleep(60)
"""
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {WITH_PARENT!r}])
"""
WITH_OWNER = """
import os, sys, time
from privacy.process_lifetime import call_when_closed
call_when_closed(int(sys.argv[1]), lambda: os._exit(0))
print("ready", flush=True)
time.sleep(60)
"""
OWNER = f"""
import os, subprocess, sys, time
theirs, ours = os.pipe()
subprocess.Popen([sys.executable, "-c", {WITH_OWNER!r}, str(theirs)], pass_fds=[theirs])
os.close(theirs)
time.sleep(60)
"""


class Program:
    """A running program that has said that it is ready."""

    def __init__(self, text: str, ignored: signal.Signals | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", text],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            text=True,
            start_new_session=True,
            preexec_fn=None if ignored is None else partial(signal.signal, ignored, signal.SIG_IGN),  # noqa: PLW1509
        )
        assert self.process.stdout is not None
        self.out = self.process.stdout
        assert self.out.readline() == "ready\n"

    def rest(self) -> str:
        """What it, and whoever holds its output, says until all of them have ended."""
        return self.out.read()


@pytest.fixture
def started() -> Iterator[list[Program]]:
    programs: list[Program] = []
    yield programs
    for program in programs:
        program.process.kill()
        program.process.wait()
        program.out.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("text", [UNTIL_STOPPED, CLEANS_UP], ids=["stops", "cleans up"])
def test_program_that_gets_a_stopping_signal_ends_in_order(
    started: list[Program], text: str, number: signal.Signals
) -> None:
    started.append(program := Program(text))
    program.process.send_signal(number)
    assert program.rest() == "in order\n"
    assert program.process.wait() == 0


@pytest.mark.parametrize("ignored", [signal.SIGTERM, signal.SIGINT])
def test_program_that_inherits_an_ignored_signal_is_stopped_by_it(
    started: list[Program], ignored: signal.Signals
) -> None:
    started.append(program := Program(UNTIL_STOPPED, ignored))
    program.process.send_signal(ignored)
    assert program.rest() == "in order\n"


def test_signal_that_comes_while_the_event_is_locked_stops_the_program(started: list[Program]) -> None:
    started.append(program := Program(WHILE_IT_WAITS))
    assert program.process.communicate(timeout=30)[0] == "in order\n"


def test_program_under_nohup_outlives_a_closed_terminal(started: list[Program]) -> None:
    started.append(program := Program(UNTIL_STOPPED, signal.SIGHUP))
    program.process.send_signal(signal.SIGHUP)
    program.process.send_signal(signal.SIGTERM)
    assert program.rest() == "in order\n"
    assert program.process.wait() == 0


@pytest.mark.parametrize("text", [PARENT, OWNER], ids=["parent", "owner"])
def test_child_whose_parent_is_killed_ends(started: list[Program], text: str) -> None:
    started.append(program := Program(text))
    program.process.kill()
    assert program.rest() == ""  # the child held the pipe and has let go of it
