"""Tell sites at once that a message waits for them, so that an idle site need not look every second.

One thread looks at the marks (``server/superlink/message_marks.py``) ten times a second for all sites. A stream that
has nothing to tell sends an item every five minutes, which makes the site look: a connection that is dead is noticed.
"""

import threading
from collections.abc import Iterator
from typing import Final

from server.control.caller import Caller
from server.control.server import Fields, Streamer
from server.superlink.message_marks import MessageMarks

_LOOK_EVERY_S: Final = 0.1
BEAT_S: Final = 300.0


class MessageCalls:
    """The call by which sites await messages, until closed."""

    def __init__(self, marks: MessageMarks) -> None:
        self._marks = marks
        self._known: dict[str, int] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._look, name="message marks", daemon=True)
        self._thread.start()

    @property
    def streamers(self) -> dict[str, Streamer]:
        """The calls with a stream of answers, by name."""
        return {"AwaitMessages": self._await}

    def close(self) -> None:
        """End every stream."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _await(self, _: Fields, caller: Caller) -> Iterator[Fields]:
        seen = self._read(caller.name)
        while not self._closed:
            yield {}
            seen = self._wait_for_another(caller.name, seen)

    def _read(self, site: str) -> int:
        with self._changed:
            return self._known.get(site, 0)

    def _wait_for_another(self, site: str, seen: int) -> int:
        """Wait until ``site`` is marked again, for a while at most; return its present mark."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._known.get(site, 0) != seen, timeout=BEAT_S)
            return self._known.get(site, 0)

    def _look(self) -> None:
        while not self._closed:
            known = self._marks.read()
            with self._changed:
                if known != self._known:
                    self._known = known
                    self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed, timeout=_LOOK_EVERY_S)
