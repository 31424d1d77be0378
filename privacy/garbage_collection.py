"""Pause Python's search for cycles of objects while it cannot find any."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Pause the search for cycles while much is made that stays: a ledger's state, imported modules.

    It would go through all of it again and again and find nothing. What was made meanwhile counts as old afterwards,
    so that only a full search goes through it.
    """
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.freeze()
            gc.unfreeze()  # puts everything into the oldest generation, without a search
            gc.enable()
