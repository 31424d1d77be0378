"""A study over sites and a coordinator that come back from a backup, in the middle of it."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.small_study import small_terms
from client.cli import cli as site_cli
from client.commands.backup import SITE_BACKUP
from client.study.waiting_studies import WaitingStudies
from privacy.backup import write_backup
from privacy.errors import FederationError, SiteConfigError
from privacy.restore import restore_backup
from server.commands.backup import COORDINATOR_BACKUP
from server.study.sites import SiteStatus
from tests.protocol.conftest import Found
from tests.simulator import Simulator, change_policy


@pytest.fixture
def simulator(found: Found) -> Simulator:
    """A study of six rounds over four sites."""
    return found(small_terms(training={"rounds": 6}, evaluation={"rounds": [6]}))


def committed(simulator: Simulator) -> set[int]:
    return set(simulator.journal.read_history().committed)


def back_up_site(simulator: Simulator, name: str, archive: Path) -> Path:
    """A backup of a site that runs."""
    write_backup(simulator.homes[name].folder, archive, SITE_BACKUP, name, "0", SiteConfigError)
    return archive


def restore_site(simulator: Simulator, name: str, archive: Path) -> None:
    """The site's machine is another one, with the folder of the backup."""
    simulator.sites[name].close()
    shutil.rmtree(simulator.homes[name].folder)
    restore_backup(archive, simulator.homes[name].folder, "site", SiteConfigError, ask=str)
    simulator.sites[name] = simulator._start(name)
    simulator.transport.restarted.append(name)


def test_site_moved_between_any_two_steps_of_a_round_finishes_the_study(
    simulator: Simulator, tmp_path: Path
) -> None:
    """At its old place it does nothing after the backup: a move, at the worst moments too."""
    moves = 0
    for number in range(1, 40):
        if not simulator.conductor.running:
            break
        simulator.step()
        if number % 3 == 0:
            restore_site(simulator, "ash", back_up_site(simulator, "ash", tmp_path / f"{number}.tar"))
            moves += 1
    simulator.run(seconds=5)
    history = simulator.journal.read_history()
    assert moves > 3
    assert history.finished, history.stopped
    assert "ash" not in history.out
    assert not [entry for entry in simulator.entries("ash", "incident") if "rollback" in str(entry.body)]


def test_site_with_a_restored_policy_admits_nothing_until_somebody_confirms_it(
    found: Found, tmp_path: Path
) -> None:
    """Attack: an older backup brings back a rule that people have taken out, and the coordinator launches at once."""
    simulator = found(small_terms(), launch=False)
    archive = back_up_site(simulator, "elm", tmp_path / "lax.tar")
    change_policy(simulator.homes["elm"], automatic=[])
    home = simulator.homes["elm"]
    simulator.sites["elm"].close()
    shutil.rmtree(home.folder)
    restored = CliRunner().invoke(site_cli, ["restore", str(archive), str(home.folder)])
    assert restored.exit_code == 0, restored.output
    simulator.sites["elm"] = simulator._start("elm")
    assert home.policy.automatic
    simulator.launch()
    simulator.run(lambda: simulator.now > 3600, seconds=60)
    assert [entry.kind for entry in simulator.entries("elm")] == ["open", "population", "grant"]
    assert not simulator.trained
    (site,) = [each for each in simulator.conductor.machine.sites.values() if each.name == "elm"]
    assert site.standing is SiteStatus.DECIDING
    waiting = WaitingStudies(home).list_all()
    assert [each.study for each in waiting] == [simulator.study]
    approved = CliRunner().invoke(
        site_cli, ["--dir", str(home.folder), "approve", simulator.study, "--by", "Ada", "--yes"]
    )
    assert "no study is admitted before somebody confirms it: consilium-site confirm-policy" in str(
        approved.exception
    )
    confirmed = CliRunner().invoke(site_cli, ["--dir", str(home.folder), "confirm-policy", "--yes"])
    assert confirmed.exit_code == 0, confirmed.output
    simulator.run()
    assert simulator.journal.read_history().finished
    assert not WaitingStudies(home).list_all()


def test_backup_of_a_site_holds_no_secret_of_a_round_in_progress(simulator: Simulator, tmp_path: Path) -> None:
    seen = set()
    for number in range(12):
        simulator.step()
        folder = simulator.homes["ash"].folder
        secrets = [
            path for pattern in ("draw-*.key", "totals-*.key", "attempt.sealed") for path in folder.rglob(pattern)
        ]
        data = back_up_site(simulator, "ash", tmp_path / f"{number}.tar").read_bytes()
        for path in secrets:
            seen.add(path.name.split("-")[0])
            assert path.name.encode() not in data
            assert path.read_bytes() not in data
    assert "attempt.sealed" in seen


def test_study_of_a_coordinator_restored_behind_its_sites_waits_and_the_next_one_runs(
    simulator: Simulator, tmp_path: Path
) -> None:
    simulator.run(lambda: 1 in committed(simulator))
    folder = simulator.federation.folder
    write_backup(folder, tmp_path / "c.tar", COORDINATOR_BACKUP, "wood", "0", FederationError)
    simulator.run(lambda: 3 in committed(simulator))
    simulator.journal.close()
    shutil.rmtree(folder)
    restore_backup(tmp_path / "c.tar", folder, "coordinator", FederationError, ask=str)
    simulator.transport.forget()
    simulator.start_coordinator()
    assert 2 not in committed(simulator)
    for _ in range(300):
        if not simulator.conductor.running:
            break
        simulator.step(5)
    history = simulator.journal.read_history()
    assert not history.finished
    for name in simulator.names:  # nothing was paid twice, and nobody was led to an earlier model
        rounds = [getattr(entry.body, "round", None) for entry in simulator.entries(name, "reserve")]
        assert len(rounds) == len(set(rounds))
    assert "0 sites are here" in (history.waiting or "")
    simulator.launch()
    simulator.run(lambda: 1 in committed(simulator), seconds=5)
