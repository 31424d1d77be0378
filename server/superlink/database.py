"""How Flower's SuperLink may use its SQLite file: one connection, a small cache, nothing mapped.

Left alone, Flower gives each of up to 15 connections a page cache of 64 MB and maps 256 MB of the file, so that memory
grows with the sites that send at once; and their writers wait for each other for 5 s, then an upload is refused.

* One connection for each of Flower's two stores, the link state and the objects: who wants it waits in line, and
  writers that could lock each other out do not exist.
* A page cache of a few MB: what a study sends is read once for each site, and the operating system keeps it anyway.

This is a plugin of SQLAlchemy (``CreateEnginePlugin``): its name in the URL of the database, ``?plugin=consilium``, is
all that Flower is told. No code of Flower's is touched.
"""

from typing import Any, Final

from sqlalchemy import URL, Engine, Pool, event
from sqlalchemy.dialects import plugins
from sqlalchemy.engine import CreateEnginePlugin
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

_PLUGIN: Final = "consilium"
CACHE_KIB: Final = 4096
LINE_S: Final = 20.0
"""How long a request waits for the connection: as long as a site waits for its answer."""
_PRAGMAS: Final = {"cache_size": -CACHE_KIB, "mmap_size": 0}
_TAMED: Final = "consilium"


def register() -> None:
    """Tell SQLAlchemy, in this process, what the plugin's name means."""
    plugins.register(_PLUGIN, __name__, OneConnection.__name__)


def make_database_url(path: str) -> str:
    """The SQLite file ``path`` (absolute) as a URL that makes SQLAlchemy use the plugin."""
    return URL.create("sqlite", database=path, query={"plugin": _PLUGIN}).render_as_string()


class OneConnection(CreateEnginePlugin):
    """One connection with a small cache."""

    def update_url(self, url: URL) -> URL:
        """See SQLAlchemy: the URL without what was for this plugin."""
        return url.difference_update_query(["plugin"])

    def handle_pool_kwargs(self, pool_cls: type[Pool], pool_args: dict[str, Any]) -> None:
        """See SQLAlchemy."""
        pool_args.update(pool_size=1, max_overflow=0, timeout=LINE_S)

    def engine_created(self, engine: Engine) -> None:
        """See SQLAlchemy."""
        # Flower sets its own values when a connection is made, later than any plugin could.
        event.listen(engine, "checkout", _limit_cache)


def _limit_cache(connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
    if record.info.setdefault(_TAMED, False):
        return
    cursor = connection.cursor()
    for name, value in _PRAGMAS.items():
        cursor.execute(f"PRAGMA {name} = {value}")
    cursor.close()
    record.info[_TAMED] = True
