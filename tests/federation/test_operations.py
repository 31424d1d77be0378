"""What the people who run sites and coordinators do, with real processes: check, measure, back up, restore, move.

One federation is used by all tests, in their order: a study, a site that moves in the middle of it, an old copy of a
ledger, another machine for the coordinator.
"""

import contextlib
import io
import json
import random
import socket
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmarks.running_federation import COORDINATOR, Running, Said, command, running, wait_for
from benchmarks.small_study import small_terms

pytestmark = pytest.mark.federation

SITES = ("ash", "birch", "cedar")
RESTORED_S = 240.0
"""Restored programs start on machines that are busy."""
TERMS = small_terms(training={"rounds": 6}, evaluation={"rounds": [6]}, privacy={"epsilon": 1})


def ok(said: Said) -> Said:
    """The command has ended well."""
    assert said.code == 0, said.err
    return said


def lights(said: Said) -> dict[str, str]:
    """The light of each line of a check."""
    return {line["check"]: line["light"] for line in said.json["lines"]}


def find_lasting_port() -> int:
    """Find a port that no connection of this machine gets while its server is down: below Linux's own choice."""
    for port in random.sample(range(20_000, 32_000), 100):
        with contextlib.suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            return port
    raise AssertionError("no port is free")


def set_metrics_port(path: Path) -> int:
    fields = yaml.safe_load(path.read_text())
    fields["metrics_port"] = port = find_lasting_port()
    path.write_text(yaml.safe_dump(fields))
    return port


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text: str = answer.read().decode()
    return text


def put_in_place(new: Path, old: Path) -> Path:
    """Another machine, where the new folder has the old one's path; where the old one is kept."""
    kept = old.with_name(f"{old.name}-stopped")
    old.rename(kept)
    new.rename(old)
    return kept


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {}


@pytest.fixture(scope="module")
def wood(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("w")
    with running(folder, SITES, TERMS) as federation:
        for name in ("ash", COORDINATOR):
            federation.stop(name)
            file = "site.yaml" if name == "ash" else "coordinator.yaml"
            ports[name] = set_metrics_port(folder / name / file)
            federation.start(name)
        with socket.socket() as taken:
            federation.stop("birch")
            ports["birch"] = set_metrics_port(folder / "birch" / "site.yaml")
            taken.bind(("127.0.0.1", ports["birch"]))
            taken.listen()
            federation.start("birch")
            federation.wait_until_online(RESTORED_S)
        yield federation


@pytest.fixture(scope="module")
def study(wood: Running) -> str:
    ok(wood.site("ash", "backup", wood.folder / "before.tar"))
    return wood.launch(TERMS)


def test_check_of_a_running_federation_is_not_red(wood: Running) -> None:
    site = ok(wood.site("ash", "check", "--json"))
    found = lights(site)
    assert {name for name, light in found.items() if light == "green"} >= {
        "keys", "proxy", "name", "port", "certificate", "coordinator", "clock", "own certificate", "service", "data",
        "ledger", "version", "device",
    }  # fmt: skip
    assert found["backup"] == "amber"
    coordinator = ok(wood.consilium("check", "--json"))
    assert lights(coordinator)["service"] == lights(coordinator)["members"] == "green"
    assert "Traceback" not in site.err + coordinator.err


def test_site_whose_metrics_port_is_taken_warns_and_runs_without_metrics(
    wood: Running, ports: dict[str, int]
) -> None:
    log = (wood.folder / "birch" / "log" / "site.log").read_text()
    assert f"there are no metrics: metrics_port {ports['birch']} cannot be listened on" in log
    assert lights(ok(wood.site("birch", "check", "--json")))["service"] == "green"


def test_site_moves_to_another_machine_in_the_middle_of_a_study(wood: Running, study: str) -> None:
    wood.wait_for_round(study, 2, 240)
    wood.stop("ash")
    said = ok(wood.site("ash", "backup", wood.folder / "move.tar"))
    assert "it holds this site's keys" in said.err
    said = ok(command("consilium-site", "restore", wood.folder / "move.tar", wood.folder / "moved"))
    assert "never run it beside the site" in said.err
    put_in_place(wood.folder / "moved", wood.folder / "ash")
    wood.start("ash")
    wood.finish(study, 240)
    wood.released(study)  # all sites, the one that moved too, hold the same model
    assert wood.audited("ash")
    assert lights(ok(wood.site("ash", "check", "--json")))["ledger"] == "green"


def test_metrics_of_both_sides_are_prometheus_text_and_say_what_happened(
    wood: Running, study: str, ports: dict[str, int]
) -> None:
    texts = {name: scrape(ports[name]) for name in ("ash", COORDINATOR)}
    for name, text in texts.items():
        linted = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        assert linted.returncode == 0, (name, linted.stdout, linted.stderr)
    site, coordinator = texts["ash"], texts[COORDINATOR]
    assert "consilium_site_connected 1\n" in site
    assert 'consilium_site_epsilon_left{population="small"}' in site
    assert 'consilium_site_bytes_total{direction="out"}' in site
    assert 'consilium_coordinator_site_online{site="ash"} 1\n' in coordinator
    assert 'consilium_coordinator_studies{status="finished"} 1\n' in coordinator
    assert 'consilium_coordinator_certificate_remaining_seconds{certificate="server"}' in coordinator


def test_doctor_of_both_sides_holds_no_secret_and_no_record(wood: Running, study: str) -> None:
    secret = (wood.folder / "ash" / "identity.key").read_text().splitlines()[-1]
    records = (wood.folder / "ash" / "train.csv").read_text().splitlines()[1:]
    ok(wood.site("ash", "doctor", wood.folder / "ash.tgz"))
    ok(wood.consilium("doctor", wood.folder / "coordinator.tgz"))
    for name in ("ash.tgz", "coordinator.tgz"):
        with tarfile.open(wood.folder / name) as tar:
            parts = {each.name: tar.extractfile(each) or io.BytesIO() for each in tar.getmembers()}
            texts = {part: file.read().decode() for part, file in parts.items()}
        everything = "".join(texts.values())
        assert json.loads(texts["check.json"])["lines"]
        assert secret not in everything
        assert not [record for record in records if record in everything or record.split(",")[0] in everything]
        assert "seconds" not in texts.get("site.log", "")  # as training.log has it
    with tarfile.open(wood.folder / "ash.tgz") as tar:
        log = (tar.extractfile("site.log") or io.BytesIO()).read().decode()
    assert f"{study}: " in log


def test_ledger_of_an_old_backup_is_taken_up_by_recovery_and_the_site_takes_part_again(
    wood: Running, study: str
) -> None:
    entries = len(wood.ledger("ash", "reserve"))
    wood.stop("ash")
    ok(command("consilium-site", "restore", wood.folder / "before.tar", wood.folder / "old"))
    (wood.folder / "ash-stopped").rename(wood.folder / "ash-first")
    put_in_place(wood.folder / "old", wood.folder / "ash")
    assert len(wood.ledger("ash", "reserve")) < entries
    ok(wood.consilium("testimony", "head", "ash", wood.folder / "ash.head"))
    ok(wood.site("ash", "ledger", "recover", wood.folder / "ash.head", "--yes"))
    ok(wood.site("ash", "confirm-policy", "--yes"))
    wood.start("ash")
    wood.wait_until_online(RESTORED_S)
    second = wood.launch(small_terms(privacy={"epsilon": 1}))
    history = wood.finish(second, 240)
    assert "ash" not in history.out
    wood.released(second)


def test_old_copy_without_a_recovery_trains_nothing_and_check_is_red(wood: Running) -> None:
    wood.stop("ash")
    ok(command("consilium-site", "restore", wood.folder / "before.tar", wood.folder / "older"))
    kept = wood.folder / "ash-recovered"
    (wood.folder / "ash").rename(kept)
    (wood.folder / "older").rename(wood.folder / "ash")
    wood.start("ash")
    wood.wait_until_online(RESTORED_S)
    third = wood.launch(small_terms(privacy={"epsilon": 1}))
    wait_for("the rollback to be noticed", lambda: wood.ledger("ash", "incident"), 240)
    said = wood.site("ash", "check", "--json")
    assert said.code == 34
    assert lights(said)["ledger"] == "red"
    assert not wood.paid("ash", third)[0]
    wood.stop("ash")
    (wood.folder / "ash").rename(wood.folder / "ash-behind")
    kept.rename(wood.folder / "ash")
    wood.start("ash")


def test_coordinator_moves_to_another_machine_and_studies_go_on(wood: Running) -> None:
    wood.stop(COORDINATOR)
    said = wood.consilium("check", "--json")
    assert said.code == 45
    assert lights(said)["service"] == lights(said)["port"] == "red"
    ok(wood.consilium("backup", wood.folder / "c.tar"))
    said = ok(command("consilium", "restore", wood.folder / "c.tar", wood.folder / "new"))
    assert "sites look for it at 127.0.0.1:" in said.err
    put_in_place(wood.folder / "new", wood.folder / COORDINATOR)
    ok(command("consilium", "--dir", wood.folder / COORDINATOR, "confirm-members", "--yes"))
    wood.start(COORDINATOR)
    wood.wait_until_online(RESTORED_S)
    fourth = wood.launch(small_terms(privacy={"epsilon": 1}))
    wood.finish(fourth, 240)
    wood.released(fourth)
    assert lights(ok(wood.consilium("check", "--json")))["backup"] in ("amber", "green")
