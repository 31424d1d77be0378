"""How Flower's stores use their SQLite file, through Flower's own code and by what the kernel says of its process."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flwr.supercore.object_store.sql_object_store import SqlObjectStore

from server.federation.certificates import TlsFiles
from server.superlink.database import CACHE_KIB, make_database_url, register
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
