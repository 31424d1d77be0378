"""Learn from the coordinator's control plane that a message waits, instead of asking every second.

The stream comes through the gateway, with this site's certificate. While it stands, an idle site looks for messages
when it is told to, and rarely otherwise. Without it (no gateway, an outage) the site looks every two seconds.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from privacy.control.channel import ControlClient
from privacy.errors import Error

_RETRY_S: Final = (2.0, 60.0)
_LOOK_AT_STOP_S: Final = 1.0


class MessageListener:
    """A thread that listens until closed.

    Args:
        connect: makes a client with the site's present certificate.
        stop: ends the thread, and every wait.
    """

    def __init__(self, connect: Callable[[], ControlClient], stop: threading.Event) -> None:
        self._connect = connect
        self._stop = stop
        self._told = threading.Event()
        self._client: ControlClient | None = None
        self.listening = False
        """Whether the stream stands."""
        self._thread = threading.Thread(target=self._listen, name="message listener", daemon=True)
        self._thread.start()

    def wait(self, longest_s: float) -> None:
        """Wait until a message may be there, ``longest_s`` have passed, or the agent is to stop."""
        deadline = time.monotonic() + longest_s
        while not self._stop.is_set() and (left := deadline - time.monotonic()) > 0:
            if self._told.wait(min(left, _LOOK_AT_STOP_S)):
                self._told.clear()
                return

    def close(self) -> None:
        """End the stream; ``stop`` must be set."""
        if self._client is not None:
            self._client.close()
        self._thread.join(timeout=5)

    def _listen(self) -> None:
        delay, longest = _RETRY_S
        while not self._stop.is_set():
            try:
                self._client = self._connect()
                for _ in self._client.stream("AwaitMessages"):
                    self.listening, delay = True, _RETRY_S[0]
                    self._told.set()
            except (Error, ValueError):  # ValueError: the channel was closed meanwhile
                pass
            self.listening = False
            self._told.set()
            if self._client is not None:
                self._client.close()
            if self._stop.wait(delay):
                return
            delay = min(longest, 2 * delay)
