"""Write the refused calls of members into the audit log: who tried what, in few entries.

Rules:

* a member is who has shown a certificate of the federation's authority, also one that was revoked. A stranger's call is
  in the process's log only: strangers have no name by which they could be counted;
* the first refusal of a member's call is an entry at once. Those that follow within an hour are counted, and are one
  entry with their number and the last reason when the hour is over, or the coordinator stops;
* one member therefore adds at most two entries an hour for each call that there is, however often they call: nobody
  fills the disk;
* an entry that cannot be written is in the process's log, and the call stays refused.

A coordinator that is killed loses the counts of the last hour, not the first entries.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from privacy.errors import FederationError
from server.control.caller import Caller
from server.federation.audit_log import AuditLog

COUNTED_S: Final = 3600.0
_log = logging.getLogger(__name__)


@dataclass
class _Count:
    """The refusals of one caller's call after the first, until the hour is over."""

    until: float
    further: int = 0
    reason: str = ""
    request: str = ""


class RefusedCalls:
    """The refused calls of members. Safe to use from several threads; close it.

    Args:
        log: the audit log.
        clock: tells the time in seconds since 1970.
    """

    def __init__(self, log: AuditLog, clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._clock = clock
        self._counts: dict[tuple[Caller, str], _Count] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def record(self, caller: Caller, call: str, request: str, reason: str) -> None:
        """Record that a call was refused.

        Args:
            caller: a member, or who was one.
            call: its name.
            request: the SHA-256 of the request.
            reason: the sentence that they were told.
        """
        with self._lock:
            now = self._clock()
            self._write_ended(now)
            known = self._counts.get((caller, call))
            if known is None:
                self._counts[caller, call] = _Count(until=now + COUNTED_S)
                self._append(caller, call, request, f"refused: {reason}")
                return
            known.further += 1
            known.reason, known.request = reason, request
            if self._timer is None:  # an idle coordinator has no timer
                self._timer = threading.Timer(COUNTED_S, self._write_late)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Write what was counted."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._write_ended(float("inf"))

    def _write_late(self) -> None:
        with self._lock:
            self._timer = None
            self._write_ended(float("inf"))

    def _write_ended(self, now: float) -> None:
        """Write and forget the counts whose hour is over."""
        ended = {key: each for key, each in self._counts.items() if each.until <= now}
        for (caller, call), each in ended.items():
            del self._counts[caller, call]
            if each.further:
                outcome = f"refused {each.further} more times within an hour; the last: {each.reason}"
                self._append(caller, call, each.request, outcome)

    def _append(self, caller: Caller, call: str, request: str, outcome: str) -> None:
        try:
            self._log.append(
                time=self._clock(),
                role=str(caller.role or ""),
                name=caller.name,
                account="",
                call=call,
                about="",
                request=request,
                outcome=outcome[:500],
                order="",  # none that is valid
            )
        except FederationError as error:
            _log.error("a refused call of '%s' is not in the audit log: %s", caller.name, error)
