"""The check on a machine with a CUDA device: its programs find what was carried there, and say how far they came."""

import os
import subprocess
import sys
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from models.catalogue import NAMES

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "import benchmarks, carried_wheel, os; print(benchmarks.__file__, os.environ['CONSILIUM_TEST_DEVICE'])"


def load() -> Any:
    """The script as a module; its file has no ending."""
    loader = SourceFileLoader("gpu_check", str(ROOT / "scripts" / "gpu-check"))
    spec = spec_from_loader("gpu_check", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_programs_find_the_wheels_and_the_tree_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the wheel of Opacus has a package of this name
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    (tmp_path / "carried_wheel.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = load()._run([sys.executable, "-c", PROGRAM], "cpu", 60, 10)
    assert done["ended"] == 0, done["stderr"]
    assert done["stdout"].split() == [str(ROOT / "benchmarks" / "__init__.py"), "cpu"]


def test_suite_that_runs_out_of_time_says_what_had_failed(tmp_path: Path) -> None:
    suite = tmp_path / "test_two.py"
    suite.write_text(
        "import time\n\ndef test_that_fails(): assert False\n\ndef test_that_hangs():\n    time.sleep(120)\n"
    )
    done = load().run_suite(str(suite), "cpu", 15.0)
    assert done["ended"] == "ran out of time"
    assert "FAILED" in done["stdout"]
    assert "test_that_fails" in done["stdout"]


def test_program_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    check = load()
    monkeypatch.setattr(check, "_SUMMARY_S", 1.0)
    stubborn = "import signal, time; signal.signal(2, signal.SIG_IGN); print('here', flush=True); time.sleep(90)"
    done = check._run([sys.executable, "-c", stubborn], "cpu", 3.0, 10)
    assert (done["ended"], done["stdout"]) == ("ran out of time", "here")
    assert done["seconds"] < 60


def test_model_benchmarks_that_have_no_time_left_are_named() -> None:
    found = dict(load().run_model_benchmarks("cpu", time.monotonic()))
    assert set(found) == {f"{name}:{preset}" for name in NAMES for preset in ("small", "paper")}
    assert all(done["ended"] == "not begun" for done in found.values())


def test_machine_without_a_cuda_device_is_told_so() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "gpu-check"],
        env={"CUDA_VISIBLE_DEVICES": "", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "gpu-check: there is no CUDA device here; --device cpu tries the script itself\n"
