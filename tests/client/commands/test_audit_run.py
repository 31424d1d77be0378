"""``consilium-site audit-run`` and ``consilium audit-run``: what people and programs are told."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.small_study import small_terms, write_study
from client.cli import cli as site_cli
from client.commands.audit_run import audit_run
from privacy.audit.empirical.guesses import Bounds
from privacy.errors import RefutedError
from server.cli import cli as coordinator_cli

FEW = ["--canaries", "20", "--patients", "20"]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    terms = small_terms(training={"rounds": 1, "local_steps": 1, "sampling_rate": 1.0}, evaluation={"rounds": []})
    return write_study(tmp_path / "study.yaml", terms)


def test_audit_prints_the_bounds_beside_the_claim(study: Path) -> None:
    done = CliRunner().invoke(site_cli, ["audit-run", str(study), *FEW], catch_exceptions=False)
    lines = done.output.splitlines()
    assert any(line.startswith("claimed") and "3.00" in line for line in lines)
    assert any(line.startswith("at least, by guesses in one run") for line in lines)
    assert "not refuted" in done.output


def test_audit_as_json_has_every_bound(study: Path) -> None:
    done = CliRunner().invoke(site_cli, ["audit-run", str(study), *FEW, "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    assert found["epsilon"] == 3
    assert set(found["at_least"]) == {"one_run", "trade_off", "gaussian", "independent"}
    assert found["verdict"] == "not-refuted"


def test_refuted_claim_fails_the_command(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.audit.audit_study.compute_bounds", lambda *_, **__: Bounds(9.0, 9.0, 9.0, None))
    done = CliRunner().invoke(audit_run, [str(study), *FEW])
    assert isinstance(done.exception, RefutedError)
    assert done.exception.exit_code == 35
    assert "REFUTED" in done.output


def test_coordinators_command_ends_as_the_sites_does(study: Path) -> None:
    words = ["audit-run", str(study), "--colour"]
    assert CliRunner().invoke(coordinator_cli, words, standalone_mode=False).return_value == 2
