"""Answer training jobs over a socket: the program of the confined child process.

It is started by ``client/training/worker.py`` with the number of the socket's descriptor. The messages, in order:

* the site: a :class:`~client.training.job_format.Setup`, once;
* the site, for each job: the job, as :func:`client.training.job_format.pack` writes it, then its draw (0 or 32 bytes);
* the child: an answer (``client/training/answer_format.py``).

Rules:

* an :class:`~privacy.errors.Error` is passed on as its kind and sentence, anything else as a sentence that names its
  class only (its text could hold a value; the log has it in full);
* it ends when the site closes the socket, or ends, even in the middle of a step;
* what it prints goes to the log, which is its standard error, and stays at the site.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from client.training import frames
from client.training.answer_format import pack_answer, pack_failure
from client.training.job_format import Request, Setup, join_job, unpack
from privacy.errors import Error, TrainingError
from privacy.process_lifetime import leave_terminal_to_parent

if TYPE_CHECKING:
    from client.training.interface import TrainingInterface

_log = logging.getLogger(__name__)
_PR_SET_NO_NEW_PRIVS: Final = 38
_MOST: Final = 1 << 40  # bytes of a message of the site, which is trusted here


def serve(descriptor: int) -> None:
    """Answer jobs until the site closes the socket."""
    leave_terminal_to_parent()
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    threading.Thread(target=_exit_with_site, args=(descriptor,), daemon=True).start()
    site = socket.socket(fileno=descriptor)
    setup: Setup | None = None
    session: TrainingInterface | None = None
    while True:
        try:
            if setup is None:
                setup = unpack(frames.receive(site, _MOST), Setup, "the setup")[0]
            job, draw = frames.receive(site, _MOST), bytes(frames.receive(site, _MOST))
        except (EOFError, OSError):
            os._exit(0)  # all is written; an orderly shutdown of torch would take seconds
        request, arrays = unpack(job, Request, "the job")
        try:
            session = session or start_session(setup)
            answer = pack_answer(request, session.run(join_job(request, arrays, draw)))
        except Error as error:
            answer = pack_failure(request, error)
        except Exception as error:
            _log.exception("%s failed", request.job)
            answer = pack_failure(
                request,
                TrainingError(f"local training failed with {type(error).__name__}; the training log has it"),
            )
        with contextlib.suppress(OSError):  # the site has ended; the next message raises
            frames.send(site, *answer)


def start_session(setup: Setup) -> TrainingInterface:
    """Start the session that ``setup`` describes; torch is imported here, if there is a model."""
    if setup.terms.counts_only:
        from client.training.statistics_session import StatisticsSession

        return StatisticsSession(setup.terms, setup.to_study_files())
    from client.training.session import TrainingSession

    return TrainingSession(setup.terms, setup.to_study_files(), setup.device, setup.precision)


def _exit_with_site(descriptor: int) -> None:
    """End this process when the other end of the socket is closed."""
    watch: Any = select.poll()
    watch.register(descriptor, select.POLLRDHUP)
    watch.poll()
    os._exit(1)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
