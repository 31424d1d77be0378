"""The check on a machine with a CUDA device: what was carried there is found, and does not hide the tree."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOAD = f"""
import importlib.machinery, importlib.util, json, sys
loader = importlib.machinery.SourceFileLoader("gpu_check", {str(ROOT / "scripts" / "gpu-check")!r})
check = importlib.util.module_from_spec(importlib.util.spec_from_loader("gpu_check", loader))
loader.exec_module(check)
program = "import benchmarks, carried_wheel, os; print(benchmarks.__file__, os.environ['CONSILIUM_TEST_DEVICE'])"
print(json.dumps(check._run([sys.executable, "-c", program], "cpu", 60, 10)))
"""


def test_programs_find_the_wheels_and_the_tree_before_them(tmp_path: Path) -> None:
    # the wheel of Opacus has a package of this name
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    (tmp_path / "carried_wheel.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["ended"] == 0, found["stderr"]
    assert found["stdout"].split() == [str(ROOT / "benchmarks" / "__init__.py"), "cpu"]


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
