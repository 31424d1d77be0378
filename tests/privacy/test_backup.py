"""An archive of a folder: whole, private, verified, and of no use to anybody who cuts, alters or forges it."""

import io
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from privacy.backup import MANIFEST, NOTE, read_last_backup, write_backup
from privacy.backup_rules import BackupRules
from privacy.errors import SiteConfigError
from privacy.restore import restore_backup

RULES = BackupRules(kind="site", leave_out=("log", "draw-*.key"), last=("ledger.sqlite",))


def make_database(path: Path, rows: int) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE entry (number INTEGER PRIMARY KEY)")
        connection.executemany("INSERT INTO entry VALUES (?)", [(each,) for each in range(rows)])


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        found: int = connection.execute("SELECT count(*) FROM entry").fetchone()[0]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ash"
    (folder / "studies" / "one").mkdir(parents=True)
    (folder / "log").mkdir()
    (folder / "empty").mkdir()
    make_database(folder / "ledger.sqlite", 5)
    (folder / "identity.key").write_text("secret")
    (folder / "log" / "training.log").write_text("figures")
    (folder / "up.lock").touch()
    (folder / "studies" / "one" / "state.json").write_text("{}")
    (folder / "studies" / "one" / "draw-00007.key").write_bytes(b"d" * 32)
    return folder


def write(folder: Path, archive: Path) -> Path:
    write_backup(folder, archive, RULES, "ash", "0.1.0", SiteConfigError)
    return archive


def restore(archive: Path, target: Path) -> None:
    restore_backup(archive, target, "site", SiteConfigError, ask=str)


def forge(archive: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(archive, "w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return archive


def test_backup_restores_every_file_and_empty_folders(folder: Path, tmp_path: Path) -> None:
    restore(write(folder, tmp_path / "b.tar"), tmp_path / "new")
    assert (tmp_path / "new" / "identity.key").read_text() == "secret"
    assert (tmp_path / "new" / "studies" / "one" / "state.json").read_text() == "{}"
    assert (tmp_path / "new" / "empty").is_dir()
    assert count(tmp_path / "new" / "ledger.sqlite") == 5


def test_backup_leaves_out_figures_secrets_of_a_round_and_locks(folder: Path, tmp_path: Path) -> None:
    restore(write(folder, tmp_path / "b.tar"), tmp_path / "new")
    assert list((tmp_path / "new" / "log").iterdir()) == []
    assert [each.name for each in (tmp_path / "new" / "studies" / "one").iterdir()] == ["state.json"]
    assert not (tmp_path / "new" / "up.lock").exists()
    assert b"figures" not in (tmp_path / "b.tar").read_bytes()


def test_backup_and_what_is_restored_are_their_owners_alone(folder: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    restore(write(folder, tmp_path / "b.tar"), tmp_path / "new")
    os.umask(before)
    for path in [tmp_path / "b.tar", *(each for each in (tmp_path / "new").rglob("*") if each.is_file())]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_backup_is_noted_in_the_folder(folder: Path, tmp_path: Path) -> None:
    assert read_last_backup(folder, SiteConfigError) is None
    write(folder, tmp_path / "b.tar")
    last = read_last_backup(folder, SiteConfigError)
    assert last is not None
    assert abs(last.time - time.time()) < 60
    assert last.size == (tmp_path / "b.tar").stat().st_size


def test_backup_of_a_database_in_use_is_consistent(folder: Path, tmp_path: Path) -> None:
    """Rows come in pairs, each pair in one transaction: a copy never holds half of one."""
    stop = threading.Event()

    def add() -> None:
        with closing(sqlite3.connect(folder / "ledger.sqlite", timeout=30)) as connection:
            number = 100
            while not stop.is_set():
                with connection:
                    connection.execute("INSERT INTO entry VALUES (?)", (number,))
                    connection.execute("INSERT INTO entry VALUES (?)", (number + 1,))
                number += 2
                time.sleep(0.001)

    thread = threading.Thread(target=add)
    thread.start()
    try:
        for number in range(3):
            restore(write(folder, tmp_path / f"{number}.tar"), tmp_path / f"new{number}")
            assert count(tmp_path / f"new{number}" / "ledger.sqlite") % 2 == 1
    finally:
        stop.set()
        thread.join()


def test_backup_onto_a_file_or_into_its_own_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_text("mine")
    with pytest.raises(SiteConfigError, match="there is a file already"):
        write(folder, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_text() == "mine"
    with pytest.raises(SiteConfigError, match="outside the folder"):
        write(folder, folder / "b.tar")
    assert not (folder / NOTE).exists()


def test_backup_of_a_damaged_database_is_refused_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "ledger.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(SiteConfigError, match="no backup was written"):
        write(folder, tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()


def test_linked_folder_is_refused_not_left_out(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "weights").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SiteConfigError, match="a link to another folder"):
        write(folder, tmp_path / "b.tar")


def test_backup_that_was_killed_is_not_restored(folder: Path, tmp_path: Path) -> None:
    (folder / "weights").write_bytes(bytes(300 << 20))
    program = (
        "from pathlib import Path; from privacy.backup import *; from privacy.errors import SiteConfigError\n"
        f"write_backup(Path({str(folder)!r}), Path({str(tmp_path / 'b.tar')!r}),"
        " BackupRules('site', (), ('ledger.sqlite',)), 'ash', '0', SiteConfigError)"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    while not (tmp_path / "b.tar").exists() or (tmp_path / "b.tar").stat().st_size < 1 << 20:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(SiteConfigError, match="not a whole backup"):
        restore(tmp_path / "b.tar", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not (folder / NOTE).exists()


def test_restore_into_a_folder_in_use_is_refused(folder: Path, tmp_path: Path) -> None:
    write(folder, tmp_path / "b.tar")
    with pytest.raises(SiteConfigError, match="not empty"):
        restore(tmp_path / "b.tar", folder)
    assert count(folder / "ledger.sqlite") == 5


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_backup_that_was_cut_off_is_refused(folder: Path, tmp_path: Path, share: float) -> None:
    data = write(folder, tmp_path / "b.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(data[: int(data.index(MANIFEST.encode()) * share)])
    with pytest.raises(SiteConfigError, match="use another"):
        restore(tmp_path / "cut.tar", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_flipped_byte_is_noticed(folder: Path, tmp_path: Path) -> None:
    data = bytearray(write(folder, tmp_path / "b.tar").read_bytes())
    data[data.index(b"secret")] ^= 1
    (tmp_path / "b.tar").write_bytes(data)
    with pytest.raises(SiteConfigError, match=r"identity\.key is not as its manifest says"):
        restore(tmp_path / "b.tar", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["../out", "/srv/out", "a/../../out", "./a", "a//b"])
def test_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    forge(tmp_path / "b.tar", (tarfile.TarInfo(name), b"x"))
    with pytest.raises(SiteConfigError, match=r"names a file outside|not a whole backup"):
        restore(tmp_path / "b.tar", tmp_path / "new")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
def test_anything_but_a_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("a")
    info.type, info.linkname = kind, "/etc/passwd"
    forge(tmp_path / "b.tar", (info, b""))
    with pytest.raises(SiteConfigError, match="something else than files"):
        restore(tmp_path / "b.tar", tmp_path / "new")


def test_file_that_the_manifest_does_not_list_is_refused(tmp_path: Path) -> None:
    manifest = {
        "version": 1,
        "kind": "site",
        "name": "ash",
        "program": "0",
        "time": 0.0,
        "folders": [],
        "files": {},
    }
    forge(
        tmp_path / "b.tar",
        (tarfile.TarInfo("identity.key"), b"mine"),
        (tarfile.TarInfo(MANIFEST), json.dumps(manifest).encode()),
    )
    with pytest.raises(SiteConfigError, match=r"altered: identity\.key"):
        restore(tmp_path / "b.tar", tmp_path / "new")


def test_backup_of_a_newer_program_or_another_kind_says_what_restores_it(tmp_path: Path) -> None:
    manifest = {"version": 2, "kind": "site", "program": "9.0.0"}
    forge(tmp_path / "b.tar", (tarfile.TarInfo(MANIFEST), json.dumps(manifest).encode()))
    with pytest.raises(SiteConfigError, match=r"a backup of version 2, .* \(9\.0\.0\) or a newer one"):
        restore(tmp_path / "b.tar", tmp_path / "new")
    manifest = {
        "version": 1, "kind": "coordinator", "name": "wood", "program": "0", "time": 0.0, "folders": [], "files": {},
    }  # fmt: skip
    forge(tmp_path / "c.tar", (tarfile.TarInfo(MANIFEST), json.dumps(manifest).encode()))
    with pytest.raises(SiteConfigError, match="restore it with: consilium restore"):
        restore(tmp_path / "c.tar", tmp_path / "new")


@pytest.mark.parametrize("data", [b"", b"not a tar", b"\0" * 10240, bytes(range(256)) * 40])
def test_file_that_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "b.tar").write_bytes(data)
    with pytest.raises(SiteConfigError, match="use another"):
        restore(tmp_path / "b.tar", tmp_path / "new")
    with pytest.raises(SiteConfigError, match="cannot be read"):
        restore(tmp_path / "none.tar", tmp_path / "new")
