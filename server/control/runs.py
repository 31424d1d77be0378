"""Keep which Flower run works on which study, and wait longer and longer after runs that ended early."""

import logging
import threading
import time
from typing import Final

from server.superlink.control_api import ControlApi

_RETRY_S: Final = (1.0, 60.0)  # the first wait, doubled up to the second
_log = logging.getLogger(__name__)


class _Run:
    """The Flower run of a study, and the back-off after a run that ended early."""

    def __init__(self) -> None:
        self.id: int | None = None
        self.wait_s = _RETRY_S[0]
        self.not_before = 0.0
        self.why = ""


class Runs:
    """The runs of all studies. For several threads."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._lock = threading.Lock()

    def keep_running(self, study: str, api: ControlApi, config: dict[str, str | int]) -> None:
        """Start a run for ``study`` with this configuration if it has none.

        Raises:
            SuperLinkError: the SuperLink does not answer.
        """
        with self._lock:
            run = self._runs.setdefault(study, _Run())
            now = time.monotonic()
            if run.id is not None:
                status = api.read_run_status(run.id)
                if not status.state.finished:
                    return
                run.id, run.not_before, run.why = None, now + run.wait_s, status.reason
                run.wait_s = min(2 * run.wait_s, _RETRY_S[1])
                _log.warning("%s: its run ended early: %s", study, status.reason or status.state)
            if now >= run.not_before:
                run.id = api.start_run(config)
                _log.info("%s: run %d", study, run.id)

    def forget(self, study: str) -> None:
        """Forget the run of ``study``, so that the next one starts at once."""
        with self._lock:
            self._runs.pop(study, None)

    def explain(self, study: str) -> str:
        """Return why the last run of ``study`` ended early; empty if it did not."""
        run = self._runs.get(study)
        return "" if run is None else run.why
