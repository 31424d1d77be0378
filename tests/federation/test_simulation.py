"""The benchmark of simulated sites: how they are divided among studies, and a small federation where Ray is there."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulation import divide_sites
from privacy.study import MAX_SITES
from tests.docs.pages import ROOT

HAS_RAY = importlib.util.find_spec("ray") is not None


@given(st.integers(3, 2000))
def test_sites_are_divided_among_as_few_studies_as_can_be(sites: int) -> None:
    groups = divide_sites(sites)
    sizes = [len(each) for each in groups]
    assert sum(sizes) == len({name for group in groups for name in group}) == sites
    assert max(sizes) <= MAX_SITES
    assert max(sizes) - min(sizes) <= 1
    assert (len(groups) - 1) * MAX_SITES < sites
    assert all(group == sorted(group) for group in groups)


def simulate(folder: Path) -> subprocess.CompletedProcess[str]:
    options = ["--sites", "5", "--rounds", "2", "--json", "--folder", str(folder)]
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.simulation", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_simulation_without_ray_says_how_to_get_it(memory: Path) -> None:
    done = simulate(memory)
    assert done.returncode == 1
    assert "Ray is not installed; get it with: pip install -e '.[simulation]'" in done.stderr


@pytest.mark.federation
@pytest.mark.skipif(not HAS_RAY, reason="needs Ray: pip install -e '.[simulation]'")
def test_simulated_sites_commit_every_round(memory: Path) -> None:
    """``measure`` raises unless every round was committed with all sites."""
    done = simulate(memory)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["sites"], found["studies"], found["rounds"]) == (5, 1, 2)
    assert list(memory.iterdir()) == []
