"""What is made while the search for cycles pauses."""

import gc
import weakref

from privacy.garbage_collection import pause_garbage_collection


def test_what_is_made_while_collection_pauses_is_old_and_still_collected() -> None:
    class Knot:
        def __init__(self) -> None:
            self.itself = self

    with pause_garbage_collection():
        kept, gone = [[] for _ in range(10)], weakref.ref(Knot())  # type: ignore[var-annotated]
    young = {id(each) for each in gc.get_objects(generation=0)}
    assert not young & set(map(id, kept))
    assert gone() is not None
    gc.collect()
    assert gone() is None
