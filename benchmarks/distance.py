"""Measure transfers between a site and its coordinator over lines on which bytes take their time, through the gateway.

``python -m benchmarks.distance [--json] [--ms N ...] [--mbytes N] [--repeats N]``: a site sends an update, and fetches
a sum, as it does in a round. Between them is the project's gateway, a real nginx, and before it a line that delivers
every byte half a round trip later and carries as much as comes. So what is slow waits for somebody's permission to
send more. The windows of TCP are not in it: kernels let them grow.
"""

import asyncio
import contextlib
import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Final

import click

from benchmarks.one_site import make_federation, make_transfers
from benchmarks.running_federation import wait_for
from client.connection.transfers import Transfers
from client.site.folder import SiteFolder
from privacy.command_line import print_json, print_table, say
from privacy.protocol.chunks import CHUNK_BYTES
from privacy.protocol.envelope import BlobNote, note_blob
from server.control.server import ControlServer
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.superlink.process import find_free_port

_GATEWAY: Final = Path(__file__).parents[1] / "deploy" / "gateway" / "start"
_STUDY: Final = "large-00000000"
_MASK: Final = "0" * 64


@click.command()
@click.option("--ms", multiple=True, default=(0, 10, 30, 100), show_default=True, type=click.IntRange(0, 1000))
@click.option("--mbytes", default=20, show_default=True, type=click.IntRange(1, 1000), help="Length of a transfer.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(ms: tuple[int, ...], mbytes: int, repeats: int, as_json: bool) -> None:
    """Seconds of an upload and of a download over lines with several round trips."""
    with tempfile.TemporaryDirectory(prefix="distance-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # nginx started by root works as another user
        blob = os.urandom(mbytes * 1_000_000)
        (folder / "blob").write_bytes(blob)
        rows = []
        with _start_parties(folder, listening := find_free_port(), beyond := find_free_port()) as home:
            for round_trip in ms:
                say(f"a round trip of {round_trip} ms ...")
                with _start(_delay, listening, beyond, round_trip / 2000):
                    rows.append({"ms": round_trip, **_measure(home, blob, repeats)})
    if as_json:
        print_json({"mbytes": mbytes, "rows": rows})
    else:
        print_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows])


def _measure(home: SiteFolder, blob: bytes, repeats: int) -> dict[str, float]:
    transfers = make_transfers(home)
    note = note_blob(blob)
    up, down = [], []
    try:
        for repeat in range(1 + repeats):  # the first connects
            up.append(_time_upload(transfers, note, blob))
            began = time.perf_counter()
            transfers.fetch(_STUDY, repeat, note)
            down.append(time.perf_counter() - began)
    finally:
        transfers.close()
    seconds = median(up[1:]), median(down[1:])
    megabits = 8e-6 * len(blob)
    return {
        "up_s": round(seconds[0], 2),
        "down_s": round(seconds[1], 2),
        "up_mbit": round(megabits / seconds[0]),
        "down_mbit": round(megabits / seconds[1]),
    }


def _time_upload(transfers: Transfers, note: BlobNote, blob: bytes) -> float:
    began = time.perf_counter()
    transfers.send(_STUDY, _MASK, note, blob)
    return time.perf_counter() - began


@contextlib.contextmanager
def _start_parties(folder: Path, listening: int, beyond: int) -> Iterator[SiteFolder]:
    """Start a coordinator's control server, and the gateway at port ``beyond``; the site calls ``listening``."""
    config = CoordinatorConfig(
        federation="wood",
        host="localhost",
        port=listening,
        superlink_port=find_free_port(),
        control_port=find_free_port(),
        gateway=True,
    )
    federation, home = make_federation(folder, config)
    federation.write_gateway_files()
    settings = {
        "CONSILIUM_HOST": "localhost",
        "CONSILIUM_SUPERLINK": f"localhost:{config.superlink_port}",
        "CONSILIUM_CONTROL": f"localhost:{config.control_port}",
        "CONSILIUM_FILES": str(federation.folder / "gateway"),
        "CONSILIUM_LISTEN": f"127.0.0.1:{beyond}",
        "CONSILIUM_RUN": str(folder / "nginx"),
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
    }
    with _start(_serve, folder), (folder / "gateway.log").open("wb") as log:
        gateway = subprocess.Popen([str(_GATEWAY)], env=settings, stderr=log, start_new_session=True)
        try:
            wait_for("the gateway", (folder / "nginx" / "nginx.pid").exists, 30)
            yield home
        finally:
            gateway.terminate()
            gateway.wait(20)


@contextlib.contextmanager
def _start(program: Any, *arguments: Any) -> Iterator[None]:
    """Run a program of this module in a process of its own."""
    process = get_context("spawn").Process(target=program, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _serve(folder: Path) -> None:
    """Serve the file ``blob``, and take what is sent, as the coordinator does but for its disk."""
    data = (folder / "blob").read_bytes()

    def find(_: dict[str, Any], __: object) -> dict[str, Any]:
        return {"stored": 0}

    def stream(fields: dict[str, Any], _: object) -> Iterator[dict[str, Any]]:
        for start in range(fields["offset"], len(data), CHUNK_BYTES):
            yield {"data": data[start : start + CHUNK_BYTES]}

    def receive(parts: Iterator[dict[str, Any]], _: object) -> dict[str, Any]:
        stored, digest = 0, hashlib.sha256()
        for each in parts:
            digest.update(each["data"])
            stored += len(each["data"])
        return {"stored": stored, "sha256": digest.hexdigest()}

    federation = Federation(folder / "wood")
    server = ControlServer(
        federation, {"FindUpload": find}, {"FetchAggregate": stream}, federation.config.control, {"Upload": receive}
    )
    try:
        time.sleep(86400)
    finally:
        server.close()


def _delay(listening: int, beyond: int, seconds: float) -> None:
    """Pass the bytes of every connection on, both ways, ``seconds`` after they came."""

    async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(due - time.monotonic())
                target.write(data)
                if not data:
                    target.write_eof()
                    return
                await target.drain()

        delivering = asyncio.create_task(deliver())
        data = b"begun"
        while data:
            data = await source.read(1 << 18)
            waiting.put_nowait((time.monotonic() + seconds, data))
        await delivering

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", beyond)
        with contextlib.suppress(OSError):
            await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))

    async def serve() -> None:
        server = await asyncio.start_server(connect, "127.0.0.1", listening)
        await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
