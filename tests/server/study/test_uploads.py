"""The folder of uploads: what one run leaves, whoever killed it, is gone in the next."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from privacy.errors import FederationError
from server.study.uploads import Uploads

MASK = "5" * 64


def store(uploads: Uploads, site: str, data: bytes = b"sealed") -> None:
    uploads.expect(site, len(data))
    uploads.find_path(site, MASK).write_bytes(data)


def test_clear_expects_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    uploads = Uploads.of_study(tmp_path)
    uploads.clear()
    for site in ("ash", "birch"):
        store(uploads, site)
    uploads.clear()
    assert list(tmp_path.iterdir()) == []
    assert uploads.read_expected("ash") is None


def test_clear_removes_what_a_killed_clear_has_left(tmp_path: Path) -> None:
    """A process is killed between the two steps, by its own hand, with real files."""
    uploads = Uploads.of_study(tmp_path)
    store(uploads, "ash", bytes(1 << 20))
    program = (
        "import os, shutil, signal, sys; from pathlib import Path; from server.study.uploads import Uploads\n"
        "shutil.rmtree = lambda path, **_: Path(path).exists() and os.kill(os.getpid(), signal.SIGKILL)\n"
        "Uploads.of_study(Path(sys.argv[1])).clear()"
    )
    killed = subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [".uploads"]
    store(uploads, "birch")
    uploads.clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_folder_that_cannot_be_emptied_is_named(tmp_path: Path) -> None:
    uploads = Uploads.of_study(tmp_path)
    store(uploads, "ash")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FederationError, match="uploads: cannot be emptied"):
            uploads.clear()
    finally:
        tmp_path.chmod(0o700)
