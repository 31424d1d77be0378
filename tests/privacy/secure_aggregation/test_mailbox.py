"""What is put in a mailbox is taken out as it was, here and in another process, however large."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from privacy.secure_aggregation.mailbox import Mailbox
from privacy.secure_aggregation.process_pool import map_blocks

THINGS = st.lists(
    st.one_of(
        st.binary(max_size=50), st.integers(), arrays("<u8", array_shapes(max_dims=2, min_side=0, max_side=9))
    ),
    max_size=6,
)


@given(st.lists(THINGS, max_size=4))
def test_things_that_are_put_one_after_the_other_come_out_as_they_were(letters: list[list[Any]]) -> None:
    mailbox = Mailbox()
    for things in letters:
        taken = mailbox.take(mailbox.put(things))
        assert len(taken) == len(things)
        assert all(np.array_equal(one, other) for one, other in zip(taken, things, strict=True))


def test_mailbox_grows_with_what_is_put() -> None:
    mailbox, large = Mailbox(), np.arange(1_000_000, dtype=np.uint64)
    for size in (10, 200_000, 1_000_000, 5):
        assert np.array_equal(mailbox.take(mailbox.put(large[:size])), large[:size])


def reverse(block: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return block[::-1].copy()


def test_blocks_of_growing_size_go_to_other_processes_and_back() -> None:
    def blocks() -> Iterator[np.ndarray[tuple[int], np.dtype[np.uint64]]]:
        for number in range(20):
            yield np.arange(number * 20_000, dtype=np.uint64)

    for number, result in enumerate(map_blocks(reverse, blocks(), 20, 2)):
        assert np.array_equal(result, np.arange(number * 20_000, dtype=np.uint64)[::-1])
