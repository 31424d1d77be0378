"""How a program of ours ends: by a signal, or because whoever started it is gone.

Rules:

* A program that runs until it is stopped answers SIGTERM, SIGINT and a closed terminal (SIGHUP) alike: what is in hand
  is finished, and what it started is ended.
* What it inherits decides nothing: a job in the background of a script has SIGINT ignored, and is stopped by it all
  the same. Only ``nohup`` is heeded, which asks that a closed terminal be outlived.
* A helper in the terminal's group leaves Ctrl-C and the closed terminal to the program that started it.
* A child ends when the process that started it does, however that ended, ``kill -9`` too.

Source: signal(7), prctl(2).
"""

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_LOOK_EVERY_S: Final = 0.5


def take_default_signals() -> None:
    """Take SIGINT, SIGTERM and SIGCHLD as if nobody had ignored them: what this process and its children expect."""
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGCHLD, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def stop_on_signals(stop: threading.Event) -> None:
    """Set ``stop`` on SIGTERM, on SIGINT, and when the terminal is closed."""

    def leave(_: int, __: FrameType | None) -> None:
        stop.set()

    for number in _list_stop_signals():
        signal.signal(number, leave)


def interrupt_on_signals() -> None:
    """Raise KeyboardInterrupt on SIGTERM and on a closed terminal, as on Ctrl-C; once: what cleans up is let be."""

    def interrupt(_: int, __: FrameType | None) -> None:
        for number in _list_stop_signals():
            signal.signal(number, lambda *_: None)
        raise KeyboardInterrupt

    for number in _list_stop_signals():
        signal.signal(number, interrupt)


def leave_terminal_to_parent() -> None:
    """Ignore what a terminal sends to all of its group: the parent judges, and ends this process."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def end_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM when ``parent``, the process that forked this one, ends.

    For the moment between fork and exec. The kernel looks at the *thread* that forked: it must outlive the child.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended in between
        os._exit(1)


def call_when_closed(descriptor: int, act: Callable[[], None]) -> None:
    """Call ``act`` in a thread once nobody holds the other end of the pipe ``descriptor`` any more."""

    def watch() -> None:
        while os.read(descriptor, 1):
            pass
        act()

    threading.Thread(target=watch, name="owner", daemon=True).start()


def interrupt_with_parent() -> None:
    """Send this process SIGTERM once the process that started it is gone; not under ``nohup``."""
    parent = os.getppid()
    if parent == 1 or _outlives_terminal():
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _list_stop_signals() -> tuple[signal.Signals, ...]:
    terminal = () if _outlives_terminal() else (signal.SIGHUP,)
    return (signal.SIGTERM, signal.SIGINT, *terminal)


def _outlives_terminal() -> bool:
    """Whether ``nohup`` started this process."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
