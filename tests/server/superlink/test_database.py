"""How Flower's stores use their SQLite file, through Flower's own code and by what the kernel says of its process."""

import contextlib
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flwr.common.constant import Status
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.object_store.sql_object_store import SqlObjectStore
from flwr.superlink.main import create_app
from sqlalchemy import event

from benchmarks.running_federation import wait_for
from server.federation.certificates import TlsFiles
from server.superlink.database import CACHE_KIB, CLEAN_EVERY_S, clean_rarely, make_database_url, register
from server.superlink.process import SuperLink, find_free_port

pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found in configuration:DeprecationWarning")


def test_store_has_a_small_cache_maps_nothing_and_keeps_flowers_other_settings(tmp_path: Path) -> None:
    register()
    store = SqlObjectStore(make_database_url(str(tmp_path / "state.sqlite")))
    store.initialize()

    def setting(name: str) -> object:
        ((value,),) = (row.values() for row in store.query(f"PRAGMA {name}"))
        return value

    assert setting("cache_size") == -CACHE_KIB
    assert setting("mmap_size") == 0
    assert (setting("journal_mode"), setting("foreign_keys"), setting("busy_timeout")) == ("wal", 1, 5000)
    assert (tmp_path / "state.sqlite").stat().st_size > 0


def test_url_holds_a_path_with_odd_characters(tmp_path: Path) -> None:
    folder = tmp_path / "St. Mary's & co? 100% #1"
    folder.mkdir()
    register()
    SqlObjectStore(make_database_url(str(folder / "state.sqlite"))).initialize()
    assert (folder / "state.sqlite").exists()


def test_task_without_a_heartbeat_is_found_by_a_look_every_second_and_not_with_every_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    path = tmp_path / "state.sqlite"
    monkeypatch.setenv("FLWR_DATABASE", make_database_url(str(path)))
    state = create_app().state.linkstate_factory.state()
    clean_rarely(state)
    run = state.create_run(None, None, "0" * 64, {}, NOOP_FEDERATION_ID, None, None, TaskType.SERVER_APP)
    (task,) = state.get_tasks(run_ids=[run])
    assert state.claim_task(task.task_id)
    assert state.activate_task(task.task_id)
    writes: list[str] = []
    event.listen(state._engine, "before_cursor_execute", lambda *seen: writes.append(seen[2]))

    def ask() -> str:
        return str(state.get_run_status({run})[run].status)

    began = time.monotonic()
    assert {ask() for _ in range(50)} == {Status.RUNNING}
    seconds = time.monotonic() - began
    assert sum(text.startswith("UPDATE") for text in writes) <= 2 * (2 + seconds / CLEAN_EVERY_S)

    with contextlib.closing(sqlite3.connect(path)) as database:  # its process was killed long ago
        database.execute("UPDATE task SET active_until = '2020-01-01 00:00:00.000000'")
        database.commit()
    wait_for("a look for tasks without a heartbeat", lambda: ask() == Status.FINISHED)


@pytest.mark.federation
def test_superlink_asked_by_many_at_once_opens_its_file_no_further_time(
    tmp_path: Path, certificates: TlsFiles
) -> None:
    with SuperLink(tmp_path, certificates, find_free_port()) as superlink, ThreadPoolExecutor(16) as askers:

        def opened() -> int:
            descriptors = Path(f"/proc/{superlink.process}/fd").iterdir()
            return [link.readlink().name for link in descriptors if link.exists()].count("state.sqlite")

        before = opened()
        answers = list(askers.map(lambda _: superlink.control.list_nodes(), range(64)))
        after = opened()
    assert answers == [{}] * 64
    assert after == before
