"""A federation of one site for measurements of transfers: its folders, and the site's side of the data plane."""

import time
from pathlib import Path

from client.connection.renewal import connect_to_control_plane
from client.connection.transfers import Transfers
from client.site.folder import SiteFolder
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members


def make_federation(folder: Path, config: CoordinatorConfig) -> tuple[Federation, SiteFolder]:
    """Make the coordinator's folder, and that of the site ``ash``, which is enrolled."""
    federation, home = Federation.create(folder / "wood", config), SiteFolder.create(folder / "ash", "ash")
    home.accept_admission(Members(federation).enrol(home.make_join_request()))
    (home.folder / "studies").mkdir(exist_ok=True)
    return federation, home


def make_transfers(home: SiteFolder) -> Transfers:
    """Make the site's transfers, which sleep through an outage."""
    return Transfers(lambda: connect_to_control_plane(home), home.folder / "studies", _wait)


def _wait(_: str, seconds: float) -> None:
    time.sleep(seconds)
