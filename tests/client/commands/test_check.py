"""``consilium-site check`` at the command line: every line of a new site, and of one in which something is wrong."""

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from client.cli import cli
from client.site.folder import SiteFolder
from privacy.backup import NOTE, LastBackup
from privacy.consortium import Revocation, SignedRevocation
from privacy.errors import SiteHealthError
from privacy.keys import SigningKey
from tests.client.commands.terminal import script, site, with_data


def check(folder: Path) -> dict[str, Any]:
    """The lines of a check, by name."""
    result = CliRunner().invoke(cli, ["--dir", str(folder), "check", "--json"])
    assert result.exception is None or isinstance(result.exception, SiteHealthError)
    return {line["check"]: line for line in json.loads(result.stdout)["lines"]}


def test_new_site_is_told_what_it_needs_and_the_command_ends_with_34(folder: Path) -> None:
    said = script("check", folder=folder)
    assert said.returncode == 34
    assert "Traceback" not in said.stderr
    assert "the site has not joined a coordinator yet" in said.stdout
    assert said.stderr == "consilium-site: 1 of 13 checks are red: network; each names its next step\n"


def test_check_changes_nothing(folder: Path) -> None:
    with_data(folder)

    def contents() -> dict[str, bytes]:
        skipped = ("-wal", "-shm", ".lock")
        files = [each for each in folder.rglob("*") if each.is_file() and not each.name.endswith(skipped)]
        return {str(each): each.read_bytes() for each in files}

    before = contents()
    check(folder)
    assert contents() == before


def test_registered_data_are_green_until_they_change_or_go(folder: Path) -> None:
    assert check(folder)["data"]["light"] == "amber"
    with_data(folder)
    assert check(folder)["data"]["light"] == "green"
    train = folder.parent / "train.csv"
    train.write_text(train.read_text() + "\n")
    line = check(folder)["data"]
    assert (line["light"], "changed since it was registered" in line["found"]) == ("red", True)
    train.unlink()
    assert check(folder)["data"]["light"] == "red"


def test_peers_are_amber_until_a_whole_cohort_is_believed_and_when_one_is_revoked(folder: Path) -> None:
    assert "believed: none; a study has at least 3 sites" in check(folder)["peers"]["found"]
    for name in ("birch", "cedar"):
        assert check(folder)["peers"]["light"] == "amber"
        site(folder, "peer", "trust", name, SigningKey.generate().public.typed)
    assert check(folder)["peers"] == {
        "check": "peers",
        "light": "green",
        "found": "believed: birch, cedar",
        "step": "",
    }
    consortium, gone = SigningKey.generate(), SigningKey.generate()
    site(folder, "peer", "trust", "dogwood", gone.public.typed)
    site(folder, "peer", "trust-consortium", "trees", consortium.public.typed)
    revocation = Revocation(
        consortium="trees",
        identity=gone.public.text,
        name="dogwood",
        day="2026-01-02",
        reason="its machine was stolen",
    )
    file = folder.parent / "revoked.json"
    file.write_bytes(SignedRevocation.sign(consortium, revocation).to_bytes())
    site(folder, "peer", "import", str(file))
    line = check(folder)["peers"]
    assert (line["light"], "its machine was stolen" in line["found"]) == ("amber", True)


def test_ledger_that_was_altered_or_is_of_a_newer_program_is_red(folder: Path) -> None:
    assert check(folder)["ledger"]["light"] == "green"
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 9")
    line = check(folder)["ledger"]
    assert (line["light"], "install a newer one" in line["found"]) == ("red", True)
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection, connection:
        connection.execute("PRAGMA user_version = 1")
        connection.execute("DROP TRIGGER entry_unchanged")
        connection.execute("UPDATE entry SET bytes = x'7b7d'")
    assert check(folder)["ledger"]["light"] == "red"


@pytest.mark.parametrize(("days", "light"), [(0, "green"), (8, "amber"), (40, "red")])
def test_backup_gets_old(folder: Path, days: int, light: str) -> None:
    site(folder, "backup", str(folder.parent / "b.tar"))
    last = LastBackup.model_validate_json((folder / NOTE).read_bytes())
    (folder / NOTE).write_bytes(last.model_copy(update={"time": time.time() - days * 86400}).to_bytes())
    assert check(folder)["backup"]["light"] == light


def test_key_that_others_may_read_is_red_and_so_is_a_policy_with_a_mistake(folder: Path) -> None:
    os.chmod(folder / "identity.key", 0o644)
    (folder / "policy.yaml").write_text("persons: none\n")
    found = check(folder)
    assert found["keys"]["light"] == found["policy"]["light"] == "red"
    assert found["version"]["light"] == "green"


def test_folder_that_is_no_site_is_one_sentence(tmp_path: Path) -> None:
    said = script("--dir", str(tmp_path), "check")
    assert (said.returncode, said.stdout) == (21, "")


def test_backup_restores_a_site_that_verifies_and_says_what_comes_next(folder: Path) -> None:
    with_data(folder)
    new = folder.parent / "new"
    assert "it holds this site's keys" in site(folder, "backup", str(folder.parent / "b.tar")).stderr
    said = site(folder, "restore", str(folder.parent / "b.tar"), str(new)).stderr
    assert "consilium testimony head ash" in said
    before, after = SiteFolder(folder), SiteFolder(new)
    assert after.load_identity().public == before.load_identity().public
    with before.open_ledger() as one, after.open_ledger() as other:
        assert one.head == other.head
    assert after.load_registry() == before.load_registry()
    assert (new / "patients" / "secret").read_bytes() == (folder / "patients" / "secret").read_bytes()


def test_backup_while_the_key_is_being_changed_is_refused(folder: Path) -> None:
    (folder / "identity.key.next").write_bytes((folder / "identity.key").read_bytes())
    said = script("backup", str(folder.parent / "b.tar"), folder=folder)
    assert said.returncode == 21
    assert "was interrupted; finish it" in said.stderr
    assert not (folder.parent / "b.tar").exists()
