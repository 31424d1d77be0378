"""Records on the device that trains: placed there, or read from their file lot by lot: it may exceed the memory."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.large_data import make_terms, write_images
from client.data.site_data import read_data
from client.training import device_records
from client.training.device_records import DeviceRecords

CPU = torch.device("cpu")
RECORDS = 80_000  # of 4096 bytes: a file of 313 MiB, and four times as much as float32
MOST_MB = 160

PROGRAM = """
    import sys
    from pathlib import Path

    import numpy as np
    import torch

    from benchmarks.large_data import make_terms
    from benchmarks.memory import read_status_mb
    from client.data.site_data import read_data
    from client.training.device_records import DeviceRecords
    from client.training.local_steps import make_loss
    from models.fit import build_study_module
    from privacy.dpsgd import DpSgd, Mechanism
    from privacy.randomness import KeyStream

    terms = make_terms(int(sys.argv[2]))
    module, loss = build_study_module(terms), make_loss(terms)
    engine = DpSgd(module, loss, Mechanism(1.0, 32, 1.0, 1.0), KeyStream(bytes(32)))
    before = read_status_mb("VmRSS")
    records = DeviceRecords(read_data(terms.data, Path(sys.argv[1])).patients, terms, torch.device("cpu"))
    total = engine.sum_lot(records, np.arange(0, records.patients, records.patients // 32))
    assert torch.isfinite(total).all()
    assert total.any()
    print(read_status_mb("VmHWM") - before)
"""


def test_step_on_a_large_file_takes_a_part_of_its_size_in_memory(tmp_path: Path, repository: Path) -> None:
    path = tmp_path / "images.npz"
    write_images(path, RECORDS)
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(path), str(RECORDS)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < MOST_MB


def test_records_of_a_file_are_those_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, terms = tmp_path / "images.npz", make_terms(1000)
    write_images(path, 1000)
    placed = DeviceRecords(read_data(terms.data, path).patients, terms, CPU)
    monkeypatch.setattr("client.data.site_data.MAX_LOADED", 0)
    monkeypatch.setattr(device_records, "RESIDENT_BYTES", 0)
    in_parts = DeviceRecords(read_data(terms.data, path).patients, terms, CPU)
    rows = np.array([7, 999, 0, 500])
    for ours, theirs in zip(in_parts.select(rows), placed.select(rows), strict=True):
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=0)
