"""Measure what a site needs to train on a data set that is larger than its memory.

``python -m benchmarks.large_data [--json] [--records N] [--limit-mb MB] [--folder FOLDER]``. A ``.npz`` file of images
is written in blocks, one patient a record. A process of its own, which may take no more than the limit, checks it
against its contract and trains the local steps of one round on it, as a site does. Then the file is removed.

* images are (1, 64, 64), one byte a value: a million records are 4.1 GB, and 16.4 GB as float32.
* ``limit_mb``: of the process's own data, which the system enforces (RLIMIT_DATA). Files that it reads are in the
  system's cache, which is no memory of the process.
* ``before_mb``: its resident size in MiB with all libraries, before the file is opened; ``read_peak_mb``,
  ``peak_mb``: its largest resident size, after reading and at the end.
* ``read_s``: checksum, contract and patients; ``train_s``: all local steps, the self-test and the loss for the log.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from benchmarks.memory import read_status_mb
from client.data.site_data import read_data
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.local_steps import train
from client.training.study_model import make_first_model
from models.generated.study import write_generated_study
from privacy.command_line import print_json, print_table, say
from privacy.study import Terms, parse_terms

_SIZES: Final = {"channels": 1, "height": 64, "width": 64}
_SHAPE: Final = (1, 64, 64)
_BLOCK: Final = 10_000  # records written at a time
_LOT: Final = 256  # patients in a step, on average
_NOISE: Final = 1.0


@click.command()
@click.option("--records", default=1_000_000, show_default=True, type=click.IntRange(1000))
@click.option("--limit-mb", default=1536, show_default=True, help="Memory that the process may take, in MiB.")
@click.option("--folder", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Of the file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--use", hidden=True, type=click.Path(path_type=Path), help="A file that is there, in this process.")
def main(records: int, limit_mb: int, folder: Path | None, as_json: bool, use: Path | None) -> None:
    """Measure a site whose data set is larger than its memory."""
    if use is not None:
        print_json(train_within(use, records, limit_mb))
        return
    with tempfile.TemporaryDirectory(dir=folder) as made:
        path = Path(made) / "images.npz"
        say(f"writing {records} records ...")
        write_images(path, records)
        say("reading and training ...")
        command = [sys.executable, "-m", "benchmarks.large_data", "--use", str(path)]
        command += ["--records", str(records), "--limit-mb", str(limit_mb)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = {"file_mb": path.stat().st_size >> 20, **json.loads(done.stdout)}
    if as_json:
        print_json(found)
        return
    print_table(("", ""), [(name, str(value)) for name, value in found.items()])


def write_images(path: Path, records: int) -> None:
    """Write ``records`` images, brighter where the label is 1, with the arrays ``image``, ``label`` and ``patient``."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, records, dtype=np.uint8)

    def draw_blocks() -> Iterator[NDArray[np.uint8]]:
        for start in range(0, records, _BLOCK):
            some = labels[start : start + _BLOCK]
            noise = np.frombuffer(random.bytes(len(some) * 64 * 64), np.uint8).reshape(-1, *_SHAPE)
            yield noise // 2 + 64 * some[:, None, None, None]

    with zipfile.ZipFile(path, "w") as archive:
        patients = np.array([f"patient-{number:07d}" for number in range(records)])
        _write_array(archive, "patient", patients.shape, patients.dtype, [patients])
        _write_array(archive, "label", labels.shape, labels.dtype, [labels])
        _write_array(archive, "image", (records, *_SHAPE), labels.dtype, draw_blocks())


def train_within(path: Path, records: int, limit_mb: int) -> dict[str, Any]:
    """Read the file and train one round in this process, which may take ``limit_mb`` MiB of data."""
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (limit_mb << 20, limit_mb << 20))
    terms = make_terms(records)
    before = read_status_mb("VmRSS")
    began = time.perf_counter()
    patients = read_data(terms.data, path).patients
    read_s, read_peak = time.perf_counter() - began, read_status_mb("VmHWM")
    began = time.perf_counter()
    held = DeviceRecords(patients, terms, CPU.device)
    trained = train(make_first_model(terms), terms, held, records, _NOISE, CPU)
    return {
        "records": held.records,
        "limit_mb": limit_mb,
        "before_mb": round(before),
        "read_peak_mb": round(read_peak),
        "peak_mb": round(read_status_mb("VmHWM")),
        "read_s": round(read_s, 1),
        "train_s": round(time.perf_counter() - began, 1),
        "steps": terms.training.local_steps,
        "loss": round(trained.log["loss"], 3),
    }


def make_terms(records: int) -> Terms:
    """Make the terms of a study of images of one byte a value."""
    written = write_generated_study("chest-xray-cnn", "binary", sizes=_SIZES)
    written["data"]["inputs"][0]["high"] = 255
    written["training"]["sampling_rate"] = _LOT / records
    return parse_terms(written)


def _write_array(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    blocks: Iterator[NDArray[Any]] | list[NDArray[Any]],
) -> None:
    """Write an array in the npy format, block by block, uncompressed."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_2_0(member, header)
        for block in blocks:
            member.write(np.ascontiguousarray(block).data)


if __name__ == "__main__":
    main()
