"""An update that is read while it is written: the same bytes, however its blocks are cut, on disk alone."""

import gc
import hashlib
import os
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.study.outgoing_update import OutgoingUpdate
from privacy.errors import StorageError, TrainingError
from privacy.protocol.chunks import CHUNK_BYTES

MASK = "5" * 64
WAIT_S = 30


def make_update(folder: Path, length: int) -> OutgoingUpdate:
    return OutgoingUpdate(folder, "small-00000000", MASK, length)


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=3), max_size=4), st.lists(st.integers(0, 2 * CHUNK_BYTES), max_size=4))
def test_reader_gets_the_blocks_as_they_were_written(tmp_path: Path, small: list[bytes], sizes: list[int]) -> None:
    blocks = [*small, *(bytes([number]) * size for number, size in enumerate(sizes))]
    whole = b"".join(blocks)
    update, read = make_update(tmp_path, len(whole)), list[bytes]()
    reader = threading.Thread(target=lambda: read.extend(update.read()))
    reader.start()
    update.fill(blocks)
    reader.join(WAIT_S)
    assert b"".join(read) == whole == bytes(update.map()) == b"".join(update.read())
    assert (update.note.length, update.note.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())


def test_piece_is_read_as_soon_as_it_is_written(tmp_path: Path) -> None:
    first_read = threading.Event()
    update = make_update(tmp_path, 2 * CHUNK_BYTES)

    def seal() -> Iterator[bytes]:
        yield b"1" * CHUNK_BYTES
        assert first_read.wait(WAIT_S)
        yield b"2" * CHUNK_BYTES

    def read() -> None:
        for _ in update.read():
            first_read.set()

    reader = threading.Thread(target=read)
    reader.start()
    update.fill(seal())
    reader.join(WAIT_S)
    assert not reader.is_alive()


@pytest.mark.parametrize("written", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_reader_of_an_update_that_is_never_full_ends(tmp_path: Path, written: int) -> None:
    update, pieces = make_update(tmp_path, 3 * CHUNK_BYTES), list[bytes]()
    reader = threading.Thread(target=lambda: pieces.extend(update.read()))
    reader.start()

    def seal() -> Iterator[bytes]:
        yield bytes(written)
        raise TrainingError("a process that sealed died")

    with pytest.raises(TrainingError):
        update.fill(seal())
    reader.join(WAIT_S)
    assert not reader.is_alive()
    assert b"".join(pieces) == bytes(written // CHUNK_BYTES * CHUNK_BYTES)


def test_disk_without_room_is_refused_before_the_first_block(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        make_update(tmp_path, 1 << 60)


def test_update_is_never_whole_in_memory(tmp_path: Path) -> None:
    """64 MiB go through; what Python holds at a time is a block, and a piece for the reader."""
    length = 64 << 20
    update = make_update(tmp_path, length)
    blocks = (bytes(CHUNK_BYTES // 2) for _ in range(2 * length // CHUNK_BYTES))
    tracemalloc.start()
    try:
        reader = threading.Thread(target=lambda: [None for _ in update.read()])
        reader.start()
        update.fill(blocks)
        reader.join(WAIT_S)
        update.map()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * CHUNK_BYTES


def test_disk_is_freed_when_nobody_holds_the_update(tmp_path: Path) -> None:
    def count_open() -> int:
        gc.collect()
        links = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return sum(link.startswith(str(tmp_path)) for link in links)

    update = make_update(tmp_path, 1000)
    update.fill([bytes(1000)])
    mapped = update.map()
    assert count_open() == 2
    del update
    assert count_open() == 1
    del mapped
    assert count_open() == 0
