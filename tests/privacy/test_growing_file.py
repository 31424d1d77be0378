"""A file that is read while it is written: the same bytes wherever it is cut, and an end that its readers learn."""

import hashlib
import os
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.errors import StorageError
from privacy.growing_file import GrowingFile

WAIT_S = 30


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5), st.lists(st.integers(0, 300), max_size=5)
)
def test_reader_gets_what_was_written_however_both_are_cut(
    tmp_path: Path, data: bytes, written: list[int], read: list[int]
) -> None:
    def cut(places: list[int]) -> list[tuple[int, int]]:
        return list(pairwise(sorted({0, len(data), *(min(place, len(data)) for place in places)})))

    file, found = GrowingFile(tmp_path), list[bytes | None]()
    reader = threading.Thread(target=lambda: found.extend(file.read(*piece) for piece in cut(read)))
    reader.start()
    for start, stop in cut(written):
        file.write(data[start:stop])
    file.end(whole=True)
    reader.join(WAIT_S)
    assert b"".join(piece or b"" for piece in found) == data == bytes(file.map())
    assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert file.wait_until_whole()


@pytest.mark.parametrize("whole", [True, False])
def test_who_waits_for_bytes_that_never_come_learns_the_end(tmp_path: Path, whole: bool) -> None:
    file, found = GrowingFile(tmp_path), list[object]()

    def read() -> None:
        found.extend([file.read(0, 10), file.read(5, 11), file.wait_until_whole()])

    reader = threading.Thread(target=read)
    reader.start()
    file.write(bytes(10))
    file.end(whole=whole)
    reader.join(WAIT_S)
    assert found == [bytes(10), None, whole]
    assert file.failed is not whole


def test_room_that_the_disk_does_not_have_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        GrowingFile(tmp_path, 1 << 60)
    assert os.listdir(tmp_path) == []
