"""Measure the way of a large sum to a site, from the first byte to the opened values, over lines of several speeds.

``python -m benchmarks.fetching [--json] [--sites N ...] [--mbit N ...] [--repeats N]``. Two ways take turns:
the sum is opened when it is here, or it is decrypted while it is fetched (``client/study/opening_ahead.py``). The
coordinator's side is a control server over TLS in a process of its own, which sends no faster than the line. Figures
are medians, in wall-clock seconds; CPU seconds are those of the site's process and of those that decrypt for it, with
TLS and both digests.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import active_children, get_context
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import numpy as np

from benchmarks.one_site import make_federation, make_transfers
from client.connection.transfers import Transfers
from client.study.opening_ahead import OpeningAhead
from privacy.command_line import print_json, print_table, say
from privacy.growing_file import GrowingFile
from privacy.protocol.chunks import CHUNK_BYTES
from privacy.protocol.envelope import BlobNote, note_blob
from privacy.secure_aggregation.aggregate import Aggregate
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.opening import OpenedSum, Opening, open_aggregate
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.seal import seal
from server.control.server import ControlServer
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.superlink.process import find_free_port

PARAMETERS: Final = 12_500_000
_STUDY: Final = "large-00000000"
_CONTEXT: Final = b"benchmark"
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class _Sum:
    """A sum of ``sites`` sites in ``file``, and what opens it."""

    def __init__(self, file: Path, sites: int) -> None:
        self.layout, self.key = Layout(PARAMETERS, 0, 16, sites), StudyKey.generate()
        self.cohort = tuple(f"site{number:02d}" for number in range(sites))
        self.integers = np.random.default_rng(0).integers(0, 1 << 16, PARAMETERS, dtype=np.uint32)
        seeds, total = {name: os.urandom(32) for name in self.cohort}, Aggregate(self.layout)
        for name in self.cohort:
            secrets = {peer: bytes(32) for peer in self.cohort if peer != name}
            blocks = seal(
                self.layout,
                self.integers,
                (),
                site=name,
                cohort=self.cohort,
                context=_CONTEXT,
                study_key=self.key,
                pair_secrets=secrets,
                own_seed=seeds[name],
            )
            total.add(b"".join(blocks))
        total.subtract_masks(seeds, _CONTEXT)
        with file.open("wb") as written:
            written.writelines(total.write())
        self.note = note_blob(file.read_bytes())

    def require(self, opened: OpenedSum) -> None:
        """Refuse another sum than that of the integers."""
        if not np.array_equal(opened.values, len(self.cohort) * self.integers.astype(np.int64)):
            raise RuntimeError("the sum that was opened is wrong")


def _open_when_here(transfers: Transfers, total: _Sum) -> OpenedSum:
    blob = transfers.fetch(_STUDY, 1, total.note)
    _verify(blob, total.note)
    return open_aggregate(total.layout, blob, cohort=total.cohort, context=_CONTEXT, study_key=total.key)


def _open_meanwhile(transfers: Transfers, total: _Sum) -> OpenedSum:
    begun: list[OpeningAhead] = []

    def begin(file: GrowingFile) -> None:
        opening = Opening(total.layout, cohort=total.cohort, context=_CONTEXT, study_key=total.key)
        begun.append(OpeningAhead(opening, _STUDY, total.note, file))

    _verify(transfers.fetch(_STUDY, 1, total.note, begin), total.note)
    opening = begun[0].take(total.layout, total.cohort, _CONTEXT, total.key)
    assert opening is not None
    return opening.accept()


def _verify(blob: memoryview, note: BlobNote) -> None:
    """Read the blob as a site's request handler does before it looks at a message."""
    if note_blob(blob) != note:
        raise RuntimeError("another sum was fetched")


WAYS: Final[dict[str, Callable[[Transfers, _Sum], OpenedSum]]] = {
    "when it is here": _open_when_here,
    "meanwhile": _open_meanwhile,
}


@click.command()
@click.option("--sites", multiple=True, default=(3, 8, 32), show_default=True, type=click.IntRange(3, 64))
@click.option("--mbit", multiple=True, default=(1000, 100), show_default=True, type=click.IntRange(1))
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(sites: tuple[int, ...], mbit: tuple[int, ...], repeats: int, as_json: bool) -> None:
    """Seconds until a large sum is opened at a site, over several lines."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="fetching-") as name:
        folder = Path(name)
        config = CoordinatorConfig(federation="wood", port=find_free_port(), control_port=find_free_port())
        _, home = make_federation(folder, config)
        transfers = make_transfers(home)
        for count in sites:
            say(f"{PARAMETERS:,} parameters, {count} sites ...")
            total = _Sum(folder / "sum.bin", count)
            for speed in mbit:
                rows += _measure(folder, transfers, total, speed, repeats)
    if as_json:
        print_json({"parameters": PARAMETERS, "rows": rows})
    else:
        print_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows])


def _measure(folder: Path, transfers: Transfers, total: _Sum, mbit: int, repeats: int) -> list[dict[str, Any]]:
    server = get_context("spawn").Process(target=_serve, args=(folder, mbit), daemon=True)
    server.start()
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    try:
        for repeat in range(1 + repeats):  # the first connects, and starts the processes
            for way, run in WAYS.items():
                began, spent = time.perf_counter(), _read_cpu(server.pid)
                opened = run(transfers, total)
                figures = time.perf_counter() - began, _read_cpu(server.pid) - spent
                total.require(opened)
                if repeat:
                    seconds[way].append(figures)
    finally:
        transfers.close()
        server.kill()
        server.join()
    return [
        {
            "sites": len(total.cohort),
            "mbit": mbit,
            "way": way,
            "bytes": total.note.length,
            "seconds": round(median(wall for wall, _ in figures), 3),
            "cpu_s": round(median(cpu for _, cpu in figures), 3),
        }
        for way, figures in seconds.items()
    ]


def _read_cpu(without: int | None) -> float:
    """Return the CPU seconds of this process and of its children, those of one child apart."""
    spent = time.process_time()
    for child in active_children():
        if child.pid != without:
            fields = Path(f"/proc/{child.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            spent += sum(map(int, fields[11:13])) / _TICKS
    return spent


def _serve(folder: Path, mbit: int) -> None:
    """Serve ``sum.bin`` at ``mbit`` Mbit/s. Run by a process of its own."""
    data = (folder / "sum.bin").read_bytes()

    def stream(fields: dict[str, Any], _: object) -> Iterator[dict[str, Any]]:
        began = time.perf_counter()
        for start in range(fields["offset"], len(data), CHUNK_BYTES):
            yield {"data": data[start : start + CHUNK_BYTES]}
            sent = start + CHUNK_BYTES - fields["offset"]
            time.sleep(max(0.0, began + 8e-6 * sent / mbit - time.perf_counter()))

    federation = Federation(folder / "wood")
    server = ControlServer(federation, {}, {"FetchAggregate": stream}, federation.config.control, {})
    try:
        time.sleep(86400)
    finally:
        server.close()


if __name__ == "__main__":
    main()
