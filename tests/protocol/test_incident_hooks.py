"""What a site's own people are told by their hook when an incident comes into the ledger, whoever caused it."""

import json
from pathlib import Path

import pytest
import yaml

from benchmarks.small_study import small_terms
from client.site.folder import SITE_FILE
from tests.loopback import wait_for
from tests.protocol.conftest import Found
from tests.protocol.moments import THREE, committed, make_void
from tests.simulator import Simulator


@pytest.fixture
def told(tmp_path: Path) -> Path:
    return tmp_path / "told"


def with_hook(simulator: Simulator, name: str, told: Path) -> Simulator:
    """The site ``name`` starts again with a hook that adds a line to ``told``."""
    path = simulator.homes[name].folder / SITE_FILE
    fields = yaml.safe_load(path.read_text())
    program = {"program": ["/bin/sh", "-c", f"cat >> {told}; echo >> {told}"]}
    path.write_text(yaml.safe_dump({**fields, "hooks": {"incident": program}}))
    simulator.restart_site(name)
    return simulator


def read_told(told: Path) -> list[str]:
    """The sentences that the hook was told."""
    lines = told.read_text().splitlines() if told.exists() else []
    return [json.loads(line)["statement"]["sentence"] for line in lines if line]


def test_hook_is_told_of_a_void_round_once(found: Found, told: Path) -> None:
    simulator = with_hook(found(small_terms(training={"rounds": 4}, evaluation={"rounds": []})), "ash", told)
    make_void(simulator, 2)
    simulator.run(seconds=5)
    wait_for("the hook", lambda: read_told(told))
    assert read_told(told) == ["round 2 is void: it was begun and yielded nothing; what it cost is spent"]
    assert len(simulator.entries("ash", "incident")) == 1


def test_hook_is_told_of_a_ledger_that_was_put_back(found: Found, told: Path) -> None:
    simulator = with_hook(found(small_terms(training={"rounds": 4}), names=THREE), "ash", told)
    simulator.run(lambda: 1 in committed(simulator))
    copy = simulator.snapshot("ash")
    simulator.run(lambda: 2 in committed(simulator), seconds=5)
    simulator.put_back("ash", copy)
    simulator.run(seconds=5)
    wait_for("the hook", lambda: read_told(told))
    assert {each.partition(" of ")[2][:18] for each in read_told(told)} == {"this site's ledger"}
    assert "was rolled back or replaced" in read_told(told)[0]
