"""A coordinator's control plane over TLS and the sites that call it, for tests of the data plane."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from benchmarks.small_study import small_terms
from client.connection.renewal import connect_to_control_plane
from client.connection.transfers import Transfers
from client.site.folder import SiteFolder
from privacy.control.channel import ControlClient
from privacy.protocol.envelope import BlobNote
from server.control.server import ControlServer
from server.control.transfers import Transfers as ServedTransfers
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members
from server.study.check import count_parameters
from server.study.journal import Journal
from server.study.uploads import Uploads
from server.superlink.process import find_free_port

SITES = ("ash", "birch", "cedar")
MASK, OTHER_MASK = "5" * 64, "6" * 64


class Plane:
    """A coordinator's control plane, a launched study of three sites, and a fourth site that was not invited."""

    def __init__(self, folder: Path) -> None:
        config = CoordinatorConfig(federation="wood", port=9092, control_port=find_free_port())
        self.federation = Federation.create(folder / "wood", config)
        self.homes = {}
        for name in (*SITES, "elm"):
            self.homes[name] = home = SiteFolder.create(folder / name, name)
            home.accept_admission(Members(self.federation).enrol(home.make_join_request()))
        terms = small_terms()
        self.study = self.federation.launch(terms, count_parameters(terms), list(SITES))
        self.folder = self.federation.find_study_folder(self.study)
        self.uploads = Uploads.of_study(self.folder)
        self.server = self.serve()

    def serve(self) -> ControlServer:
        served = ServedTransfers(self.federation)
        port = self.federation.config.control
        return ControlServer(self.federation, served.handlers, served.streamers, port, served.receivers)

    def restart(self) -> None:
        self.server.close()
        self.server = self.serve()

    def connect(self, name: str) -> ControlClient:
        return connect_to_control_plane(self.homes[name])

    def transfers(self, name: str, wait: Callable[[str, float], None] | None = None) -> Transfers:
        def fail(reason: str, _: float) -> None:
            raise AssertionError(reason)

        home = self.homes[name]
        (home.folder / "studies").mkdir(exist_ok=True)
        return Transfers(lambda: connect_to_control_plane(home), home.folder / "studies", wait or fail)

    def store_aggregate(self, number: int, data: bytes) -> None:
        with Journal(self.folder) as journal:
            journal.find_aggregate_path(number).write_bytes(data)


def note(data: bytes) -> BlobNote:
    return BlobNote(length=len(data), sha256=hashlib.sha256(data).hexdigest())


def stored(plane: Plane, site: str, mask: str = MASK) -> bytes:
    found = plane.uploads.map(site, mask)
    return b"" if found is None else bytes(found)
