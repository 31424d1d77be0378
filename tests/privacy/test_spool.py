"""A file without a name: what is written is read, and a process that is killed leaves nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from privacy.errors import StorageError
from privacy.spool import Spool

KILLED = """
import os, signal, sys
from pathlib import Path
from privacy.spool import Spool
spool = Spool(Path(sys.argv[1]), 1 << 20)
spool.write(bytes(1 << 20))
mapped = spool.map()
assert len(mapped) == 1 << 20
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_written_is_read_from_any_place_and_stays_mapped(tmp_path: Path) -> None:
    spool, data = Spool(tmp_path, 1000), os.urandom(1000)
    spool.write(data[:300])
    spool.write(data[300:])
    assert spool.size == 1000
    assert spool.read(250, 100) == data[250:350]
    mapped = spool.map()
    spool.close()
    assert bytes(mapped) == data


def test_spool_without_bytes_maps_to_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    assert bytes(spool.map()) == b""
    spool.close()


def test_room_that_the_disk_does_not_have_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=f"{tmp_path}: cannot be written"):
        Spool(tmp_path, 1 << 60)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gone: cannot be written"):
        Spool(tmp_path / "gone")


def test_process_that_is_killed_leaves_no_file(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []
