"""``consilium check``, ``backup``, ``restore`` and ``doctor`` at the command line; the coordinator does not run."""

import datetime
import json
import os
import sqlite3
import tarfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from privacy.client_certificate import Role
from privacy.errors import CoordinatorHealthError, FederationError
from privacy.keys import PublicKey
from server.cli import cli
from server.federation.certificates import issue_server_certificate
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members
from server.superlink.process import find_free_port
from tests.server.federation.test_members import answer


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    config = CoordinatorConfig(
        federation="wood", port=find_free_port(), control_port=find_free_port(), contact="Jane Roe"
    )
    return Federation.create(tmp_path / "wood", config)


@pytest.fixture
def behind_gateway(tmp_path: Path) -> Federation:
    config = CoordinatorConfig(
        federation="wood", host="localhost", port=find_free_port(), gateway=True, control_port=find_free_port()
    )
    return Federation.create(tmp_path / "gated", config)


def check(federation: Federation) -> dict[str, Any]:
    """The lines of a check, by name."""
    result = CliRunner().invoke(cli, ["--dir", str(federation.folder), "check", "--json"])
    assert isinstance(result.exception, CoordinatorHealthError)
    return {line["check"]: line for line in json.loads(result.stdout)["lines"]}


def command(federation: Federation, *words: str | Path) -> str:
    """What a command says on stderr."""
    return (
        CliRunner().invoke(cli, ["--dir", str(federation.folder), *map(str, words)], catch_exceptions=False).stderr
    )


def test_coordinator_that_does_not_run_is_red_and_its_files_are_green(federation: Federation) -> None:
    found = check(federation)
    assert {name for name, line in found.items() if line["light"] == "red"} == {"service", "port"}
    assert found["service"]["step"] == "start it: consilium up"
    for name in ("keys", "authority", "server certificate", "studies", "records", "version"):
        assert found[name]["light"] == "green", name


def test_public_address_that_is_not_reached_from_inside_is_amber_behind_a_gateway(
    behind_gateway: Federation,
) -> None:
    found = check(behind_gateway)
    assert found["port"]["light"] == "amber"
    assert "from this machine" in found["port"]["found"]
    assert found["gateway certificate"]["light"] == found["revoked certificates"]["light"] == "green"


@pytest.mark.parametrize(("days", "light"), [(1, "green"), (5, "amber"), (31, "red")])
def test_list_of_revoked_certificates_gets_old(behind_gateway: Federation, days: int, light: str) -> None:
    path = behind_gateway.folder / "gateway" / "crl.pem"
    then = time.time() - days * 86400 - 60
    os.utime(path, (then, then))
    assert check(behind_gateway)["revoked certificates"]["light"] == light


@pytest.mark.parametrize(("days", "light"), [(0, "green"), (800, "amber"), (900, "red")])
def test_server_certificate_runs_out(federation: Federation, days: int, light: str) -> None:
    begins = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
    issue_server_certificate(federation.tls, [], begins)
    assert check(federation)["server certificate"]["light"] == light


def test_audit_log_that_was_changed_is_red(federation: Federation) -> None:
    log = federation.open_audit_log()
    for name in ("a", "b"):
        log.append(
            time=time.time(), role="operator", name=name, account="", call="Invite", about="", request="0" * 64,
            outcome="done", order="",
        )  # fmt: skip
    assert check(federation)["records"]["light"] == "green"
    with closing(sqlite3.connect(federation.folder / "audit.sqlite")) as connection, connection:
        connection.execute("DROP TRIGGER entry_kept")
        connection.execute("DELETE FROM entry WHERE number = 1")
    assert check(federation)["records"]["light"] == "red"


def test_clock_that_went_back_is_red(federation: Federation) -> None:
    federation.open_audit_log().append(
        time=time.time() + 3600, role="operator", name="a", account="", call="Invite", about="", request="0" * 64,
        outcome="done", order="",
    )  # fmt: skip
    line = check(federation)["time"]
    assert (line["light"], "ahead of this clock" in line["found"]) == ("red", True)


def test_backup_restores_a_federation_with_the_same_keys(behind_gateway: Federation, tmp_path: Path) -> None:
    (behind_gateway.folder / "superlink" / "state.sqlite").write_bytes(b"flower")
    command(behind_gateway, "backup", tmp_path / "b.tar")
    said = command(behind_gateway, "restore", tmp_path / "b.tar", tmp_path / "new")
    new = Federation(tmp_path / "new")
    assert new.load_identity().public == behind_gateway.load_identity().public
    assert new.tls.ca_key.read_bytes() == behind_gateway.tls.ca_key.read_bytes()
    assert new.config == behind_gateway.config
    assert list((new.folder / "superlink").iterdir()) == []
    assert "gateway" in said
    with pytest.raises(FederationError, match="not empty"):
        command(behind_gateway, "restore", tmp_path / "b.tar", tmp_path / "new")


def test_restored_federation_does_not_run_until_somebody_has_looked_at_its_members(
    behind_gateway: Federation, tmp_path: Path
) -> None:
    """Attack: an operator who was removed comes back with a backup that was written before."""
    members = Members(behind_gateway)
    members.enrol(answer(members.invite("eve", Role.OPERATOR, "Eve 7", 1), tmp_path / "eve", contact="Eve 7"))
    command(behind_gateway, "backup", tmp_path / "b.tar")
    members.remove("eve")
    said = command(behind_gateway, "restore", tmp_path / "b.tar", tmp_path / "new")
    assert "who was removed after the backup is a member again" in said
    new = Federation(tmp_path / "new")
    with pytest.raises(
        FederationError, match=r"restored from a backup of .* UTC: who was removed since is a member"
    ):
        command(new, "up")
    with pytest.raises(FederationError, match="nobody is here to look at the members"):
        command(new, "confirm-members")
    shown = CliRunner().invoke(cli, ["--dir", str(new.folder), "confirm-members", "--yes"])
    key = PublicKey.from_text(new.read_enrolment().people["eve"].identity).typed
    assert f"eve   operator  {key}  Eve 7\n" in shown.stdout
    new.require_confirmed()
    assert [entry.call for entry in new.open_audit_log().read()][-2:] == ["ConfirmMembers", "ConfirmMembers"]
    new.write_gateway_files()
    assert {path.stat().st_mode & 0o777 for path in (new.folder / "gateway").iterdir()} == {0o640}


def test_encrypted_backup_of_a_federation_is_restored_with_its_passphrase_alone(
    federation: Federation, tmp_path: Path
) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery staple")
    secret.chmod(0o600)
    assert "encrypted" in command(federation, "backup", tmp_path / "b", "--passphrase-file", secret)
    with pytest.raises(FederationError, match="nobody is here to be asked"):
        command(federation, "restore", tmp_path / "b", tmp_path / "new")
    command(federation, "restore", tmp_path / "b", tmp_path / "new", "--passphrase-file", secret)
    assert (tmp_path / "new" / "ca.key").read_bytes() == (federation.folder / "ca.key").read_bytes()


def test_backup_of_a_site_is_not_restored_as_a_coordinator(federation: Federation, tmp_path: Path) -> None:
    from client.commands.backup import SITE_BACKUP
    from privacy.backup import write_backup

    write_backup(federation.folder, tmp_path / "b.tar", SITE_BACKUP, "ash", "0", FederationError)
    with pytest.raises(FederationError, match="restore it with: consilium-site restore"):
        command(federation, "restore", tmp_path / "b.tar", tmp_path / "new")


def test_doctor_holds_no_key_and_no_contact(federation: Federation, tmp_path: Path) -> None:
    secrets = [
        line
        for name in ("identity.key", "operator.key", "ca.key", "server.key")
        for line in (federation.folder / name).read_text().splitlines()
        if "-----" not in line
    ]
    (federation.folder / "coordinator.log").write_text(
        f"2026-01-02 03:04:05,678 INFO server.control.runs: key {secrets[0]}\n"
    )
    command(federation, "doctor", tmp_path / "d.tgz")
    with tarfile.open(tmp_path / "d.tgz") as tar:
        parts = [tar.extractfile(member) for member in tar.getmembers()]
        everything = "".join(part.read().decode() for part in parts if part is not None)
    assert [each for each in [*secrets, "Jane Roe"] if each in everything] == []
    assert "server.control.runs key [removed]" in everything
