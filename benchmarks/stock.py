"""Run stock Flower: the same SuperLink, ``flower-supernode`` at every site, an app that the bundle ships.

Nothing is tuned: a SuperNode asks for messages at its default interval, and starts a process for each message. Arrays
are sent in pieces of Consilium's size, because our SuperLink's gate refuses requests of Flower's own size.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from privacy.keys import generate_node_key
from server.federation.certificates import create_authority, issue_server_certificate
from server.superlink.bundle import pack_bundle
from server.superlink.control_api import RunState
from server.superlink.process import SuperLink, find_free_port
from server.superlink.process_tags import stop_tagged

_APP: Final = Path(__file__).parent / "stock_app"
_MARK: Final = "CONSILIUM_BENCHMARK"
_LOOK_EVERY_S: Final = 0.5
_PIECES: Final = {"FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE": str(4 << 20)}
"""The gate of our SuperLink takes no request as large as Flower's own pieces, of 5 MB."""
_PROJECT: Final = """
[project]
name = "stock"
version = "1.0.0"
[tool.flwr.app]
publisher = "benchmark"
[tool.flwr.app.components]
serverapp = "stock_app.server_app:app"
clientapp = "stock_app.client_app:app"
[tool.flwr.app.config]
sites = 0
rounds = 0
parameters = 0
result = ""
"""


@dataclass(frozen=True)
class StockFlower:
    """A SuperLink whose SuperNodes are online."""

    folder: Path
    superlink: SuperLink
    sites: int

    def rounds(self, parameters: int, rounds: int) -> list[float]:
        """Time each of ``rounds`` exchanges of ``parameters`` float32 values both ways, in seconds."""
        result = self.folder / f"{parameters}.json"
        config: Mapping[str, str | int] = {
            "sites": self.sites,
            "rounds": rounds,
            "parameters": parameters,
            "result": str(result),
        }
        run = self.superlink.control.start_bundle(_bundle(), config)
        while not (status := self.superlink.control.read_run_status(run)).state.finished:
            time.sleep(_LOOK_EVERY_S)
        if status.state is not RunState.COMPLETED:
            raise RuntimeError(f"stock Flower's run {status.state}: {status.reason}")
        seconds: list[float] = json.loads(result.read_text())
        return seconds


@contextmanager
def stock_flower(folder: Path, sites: int) -> Iterator[StockFlower]:
    """Start a SuperLink and ``sites`` SuperNodes in ``folder``; stop them at the end."""
    os.environ.update(_PIECES)  # for the process of the server app, which the SuperLink starts
    tls = create_authority(folder, "stock")
    issue_server_certificate(tls)
    with SuperLink(folder, tls, find_free_port()) as superlink:
        try:
            for number in range(sites):
                _start_supernode(folder, superlink, number)
            while sum(superlink.control.list_nodes().values()) < sites:
                time.sleep(_LOOK_EVERY_S)
            yield StockFlower(folder, superlink, sites)
        finally:
            stop_tagged(_MARK, str(folder))


def _start_supernode(folder: Path, superlink: SuperLink, number: int) -> None:
    home = folder / f"site{number}"
    home.mkdir()
    superlink.control.register_node(generate_node_key(home / "node.key"))
    programs = Path(sys.executable).parent
    with (home / "supernode.log").open("wb") as log:
        subprocess.Popen(
            [
                programs / "flower-supernode",
                *("--root-certificates", superlink.tls.ca.resolve()),
                *("--superlink", superlink.address),
                *("--auth-supernode-private-key", home / "node.key"),
                *("--port", str(find_free_port())),
            ],
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ
            | {
                "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
                "FLWR_HOME": str(home / "flower"),
                "FLWR_TELEMETRY_ENABLED": "0",
                "FLWR_DISABLE_UPDATE_CHECK": "1",
                _MARK: str(folder),
            },
        )


def _bundle() -> bytes:
    code = {f"stock_app/{file.name}": file.read_bytes() for file in sorted(_APP.glob("*.py"))}
    return pack_bundle({"pyproject.toml": _PROJECT.encode(), "stock_app/__init__.py": b"", **code})
