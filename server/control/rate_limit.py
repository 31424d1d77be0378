"""Limit how often each caller calls: a bucket of calls that fills again with time."""

import threading
from typing import Final

from privacy.errors import RefusedCallError

_MOST_CALLERS: Final = 10_000


class TooManyCallsError(RefusedCallError):
    """A caller calls too often; the same call may succeed a little later."""


class RateLimit:
    """At most ``burst`` calls at once and ``per_s`` a second in the long run, for each caller. For several threads."""

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, caller: str, now: float) -> None:
        """Count a call of ``caller`` at ``now`` (seconds on any one clock).

        Raises:
            TooManyCallsError: there were too many.
        """
        with self._lock:
            left, since = self._buckets.get(caller, (self._burst, now))
            left = min(self._burst, left + (now - since) * self._per_s)
            if left < 1:
                raise TooManyCallsError("too many calls; try again in a few seconds")
            if len(self._buckets) > _MOST_CALLERS:  # all full again by now, or nearly
                self._buckets.clear()
            self._buckets[caller] = (left - 1, now)
