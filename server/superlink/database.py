"""Limit how Flower's SuperLink uses its SQLite file: one connection, a small cache, no memory map, fewer writes.

By default, Flower gives each of up to 15 connections a page cache of 64 MB and maps 256 MB of the file, so that
memory grows with the number of sites that send at once. Its writers wait for each other for 5 s; then an upload is
refused.

* There is one connection for each of Flower's two stores (link state and objects). Requests wait in a queue for it,
  so that no two writers can block each other.
* The page cache has a few MB: what a study sends is read once for each site, and the operating system caches it
  too.

* Tasks without a heartbeat are looked for once a second. Flower looks for them, with two writes, whenever a site sends
  or fetches something, which was a sixth of a call's time; a heartbeat is missed after tens of seconds.

The first two are a plugin of SQLAlchemy (``CreateEnginePlugin``). Flower receives its name in the URL of the database,
``?plugin=consilium``. No code of Flower is changed.
"""

import time
from typing import Any, Final

from sqlalchemy import URL, Engine, Pool, event
from sqlalchemy.dialects import plugins
from sqlalchemy.engine import CreateEnginePlugin
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

_PLUGIN: Final = "consilium"
CACHE_KIB: Final = 4096
LINE_S: Final = 20.0
"""Seconds that a request waits for the connection: as long as a site waits for an answer."""
CLEAN_EVERY_S: Final = 1.0
_PRAGMAS: Final = {"cache_size": -CACHE_KIB, "mmap_size": 0}
_TAMED: Final = "consilium"


def register() -> None:
    """Register the plugin's name with SQLAlchemy, in this process."""
    plugins.register(_PLUGIN, __name__, OneConnection.__name__)


def make_database_url(path: str) -> str:
    """Return the URL of the SQLite file ``path`` (absolute) that makes SQLAlchemy use the plugin."""
    return URL.create("sqlite", database=path, query={"plugin": _PLUGIN}).render_as_string()


def clean_rarely(state: Any) -> None:
    """Make Flower's link state look for tasks without a heartbeat every :data:`CLEAN_EVERY_S` seconds at most."""
    clean, next_time = state._cleanup_expired_task_tokens, 0.0

    def clean_if_it_is_time() -> None:
        nonlocal next_time
        if (now := time.monotonic()) >= next_time:
            next_time = now + CLEAN_EVERY_S
            clean()

    state._cleanup_expired_task_tokens = clean_if_it_is_time


class OneConnection(CreateEnginePlugin):
    """The plugin: one connection with a small cache."""

    def update_url(self, url: URL) -> URL:
        """Remove this plugin's part of the URL; see SQLAlchemy."""
        return url.difference_update_query(["plugin"])

    def handle_pool_kwargs(self, pool_cls: type[Pool], pool_args: dict[str, Any]) -> None:
        """Allow one connection; see SQLAlchemy."""
        pool_args.update(pool_size=1, max_overflow=0, timeout=LINE_S)

    def engine_created(self, engine: Engine) -> None:
        """Limit the cache of each connection; see SQLAlchemy."""
        # Not at connection: Flower sets its own values then, after any plugin.
        event.listen(engine, "checkout", _limit_cache)


def _limit_cache(connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
    if record.info.setdefault(_TAMED, False):
        return
    cursor = connection.cursor()
    for name, value in _PRAGMAS.items():
        cursor.execute(f"PRAGMA {name} = {value}")
    cursor.close()
    record.info[_TAMED] = True
