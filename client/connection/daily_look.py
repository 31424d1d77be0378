"""Look after something in a thread of its own: when the site starts, and once a day until it stops."""

import threading
from collections.abc import Callable
from typing import Final

LOOK_EVERY_S: Final = 24 * 3600.0


def look_daily(
    name: str, look: Callable[[], None], stop: threading.Event, every_s: float = LOOK_EVERY_S
) -> threading.Thread:
    """Start a thread that calls ``look`` now and every ``every_s`` seconds until ``stop`` is set.

    Args:
        name: of the thread.
        look: raises nothing.
        stop: ends the thread.
        every_s: seconds between two looks.
    """

    def keep_looking() -> None:
        while True:
            look()
            if stop.wait(every_s):
                return

    thread = threading.Thread(target=keep_looking, name=name, daemon=True)
    thread.start()
    return thread
