"""The sites of a simulated federation: all in the one actor of Flower's simulation runtime.

* A message goes through the site's production ClientApp, its exchange of blobs and its request handler. Training is
  light (:class:`benchmarks.light_sites.LightTraining`); keys, ledgers and ciphertexts are real.
* Sealed updates and aggregates are handed over in files of the coordinator's folder, without its control plane.
* The runtime names its nodes at random. Which site a node is stands in the federation's own list of nodes.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from benchmarks.light_sites import train_lightly
from benchmarks.memory import read_status_mb
from client.connection.blob_exchange import BlobExchange
from client.connection.client_app import make_client_app
from client.connection.transfers import Transfers, keep_to_itself
from client.site.folder import SiteFolder
from client.study.request_handler import RequestHandler
from privacy.canonical import compute_sha256, from_canonical, to_canonical
from privacy.control.channel import ControlClient
from privacy.errors import WireError
from privacy.files import map_file
from privacy.growing_file import GrowingFile
from privacy.keys import PublicKey
from privacy.protocol.envelope import BlobNote
from privacy.study import COORDINATOR
from server.federation.folder import Federation
from server.study.journal import Journal
from server.study.uploads import Uploads

_FIGURES: Final = "sites.json"
_APPS: Final[dict[int, ClientApp]] = {}
"""The app of each node that has been asked, by its id: it holds the site's session keys from message to message."""


def make_simulated_app(folder: Path) -> ClientApp:
    """Return the ClientApp of every node; the sites' folders are in ``folder``, the coordinator's beside them."""
    app = ClientApp()

    @app.query()
    def handle(message: Message, context: Context) -> Message:
        return _answer(folder, message, context)  # by name: what is pickled for the actor holds no site

    return app


def read_figures(folder: Path) -> dict[str, float]:
    """Return what the actor has measured of itself: ``cpu_s`` and ``peak_mb``."""
    figures: dict[str, float] = from_canonical((folder / _FIGURES).read_bytes())
    return figures


def _answer(folder: Path, message: Message, context: Context) -> Message:
    if context.node_id not in _APPS:
        _APPS[context.node_id] = _start_site(folder, context.node_id)
    reply = _APPS[context.node_id](message, context)
    (folder / _FIGURES).write_bytes(
        to_canonical({"cpu_s": time.process_time(), "peak_mb": read_status_mb("VmHWM")})
    )
    return reply


def _start_site(folder: Path, node: int) -> ClientApp:
    federation = Federation(folder / COORDINATOR)
    (name,) = [name for name, each in federation.read_nodes().items() if each == node]
    home = SiteFolder(folder / name)
    handler = RequestHandler(home, train_lightly)
    exchange = BlobExchange(
        name,
        handler.answer,
        _HandedFiles(name, federation, home.folder),
        PublicKey.from_text(home.load_admission().coordinator),
        handler.compute_blob_limit,
    )
    return make_client_app(exchange.answer)


class _HandedFiles(Transfers):
    """Hands blobs over in files of the coordinator's folder."""

    def __init__(self, site: str, federation: Federation, folder: Path) -> None:
        super().__init__(_refuse_to_connect, folder, _refuse_to_wait)
        self._site = site
        self._federation = federation

    def fetch(
        self, study: str, number: int, note: BlobNote, on_fetching: Callable[[GrowingFile], None] = keep_to_itself
    ) -> memoryview:
        """Map an aggregate; see :class:`client.connection.transfers.Transfers`."""
        with Journal(self._federation.find_study_folder(study)) as journal:
            aggregate = map_file(journal.find_aggregate_path(number))
        if (len(aggregate), compute_sha256(aggregate)) != (note.length, note.sha256):
            raise WireError(f"the aggregate of round {number} is not the one that the message names")
        return aggregate

    def send(self, study: str, mask: str, note: BlobNote, blob: bytes | memoryview) -> None:
        """Write a sealed update; see :class:`client.connection.transfers.Transfers`."""
        uploads = Uploads.of_study(self._federation.find_study_folder(study))
        uploads.find_path(self._site, mask).write_bytes(blob)


def _refuse_to_connect() -> ControlClient:
    raise AssertionError("a simulated site has no control plane")


def _refuse_to_wait(why: str, seconds: float) -> None:
    raise AssertionError(f"a simulated site waits for nothing: {why}")
