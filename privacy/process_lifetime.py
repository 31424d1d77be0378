"""End a program: by a signal, or when the process that started it has ended.

Rules:

* A program that runs until it is stopped treats SIGTERM, SIGINT and a closed terminal (SIGHUP) alike: it finishes
  the work in progress and ends the processes that it started.
* Inherited signal settings do not count: SIGINT is ignored in a background job of a script, but here it stops the
  program all the same. Only ``nohup`` counts, which asks a program to survive a closed terminal.
* A helper process in the terminal's group leaves Ctrl-C and the closed terminal to the program that started it.
* A child ends when the process that started it ends, for whatever reason, ``kill -9`` too.

Source: signal(7), prctl(2).
"""

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_LOOK_EVERY_S: Final = 0.5


def take_default_signals() -> None:
    """Restore the usual action of SIGINT, SIGTERM and SIGCHLD, if this process inherited that they are ignored."""
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGCHLD, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def stop_on_signals(stop: threading.Event) -> None:
    """Set ``stop`` on SIGTERM, on SIGINT, and when the terminal is closed.

    A thread sets it: the handler runs in the main thread, which may hold the event's own lock just then, as it does
    for a moment in ``stop.wait()``, and would wait for itself.
    """
    came: SimpleQueue[None] = SimpleQueue()  # its put may interrupt itself

    def leave(_: int, __: FrameType | None) -> None:
        came.put(None)

    def watch() -> None:
        came.get()
        stop.set()

    threading.Thread(target=watch, name="signals", daemon=True).start()
    for number in _list_stop_signals():
        signal.signal(number, leave)


def interrupt_on_signals() -> None:
    """Raise KeyboardInterrupt on SIGTERM and on a closed terminal, as on Ctrl-C.

    It is raised once: further signals do not interrupt the clean-up.
    """

    def interrupt(_: int, __: FrameType | None) -> None:
        for number in _list_stop_signals():
            signal.signal(number, lambda *_: None)
        raise KeyboardInterrupt

    for number in _list_stop_signals():
        signal.signal(number, interrupt)


def leave_terminal_to_parent() -> None:
    """Ignore the signals that a terminal sends to its whole group; the parent decides, and ends this process."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def end_with_parent(parent: int) -> None:
    """Make the kernel send SIGTERM when ``parent``, the process that forked this one, ends.

    To be called between fork and exec. The kernel watches the *thread* that forked, so this thread must live longer
    than the child (prctl(2)).
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before the call above, so no signal will come
        os._exit(1)


def call_when_closed(descriptor: int, act: Callable[[], None]) -> None:
    """Call ``act`` in a thread once no process holds the other end of the pipe ``descriptor`` any more."""

    def watch() -> None:
        while os.read(descriptor, 1):
            pass
        act()

    threading.Thread(target=watch, name="owner", daemon=True).start()


def interrupt_with_parent() -> None:
    """Send this process SIGTERM once the process that started it has ended; not under ``nohup``."""
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
    """Return whether ``nohup`` started this process."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
