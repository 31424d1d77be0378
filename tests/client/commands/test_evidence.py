"""``consilium-site evidence``: the whole pack verifies, and what was planted in the site does not get into it."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import privacy.audit.cli
from client.site.folder import SiteFolder
from privacy.canonical import compute_sha256
from privacy.errors import LedgerError, SiteConfigError, WireError
from privacy.keys import SigningKey
from privacy.ledger.evidence import read_evidence
from privacy.program import read_program
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members
from tests.client.commands.terminal import SCRIPTS, grant, script, site, with_data
from tests.client.commands.test_doctor import PATIENT, plant
from tests.client.training import without_calls
from tests.client.training.without_calls import LANDLOCK_CREATE, SECCOMP


def test_pack_has_what_is_installed_allowed_trusted_and_in_force_and_the_auditor_believes_it(folder: Path) -> None:
    grant(with_data(folder))
    home = SiteFolder(folder)
    federation = Federation.create(
        folder.parent / "wood", CoordinatorConfig(federation="wood", host="localhost", port=9092)
    )
    home.accept_admission(Members(federation).enrol(home.make_join_request()))
    peer = SigningKey.generate().public
    home.pin_peer("birch", peer)
    file = folder.parent / "ash.json"
    assert site(folder, "evidence", str(file)).stdout.strip() == home.load_identity().public.typed
    site(folder, "ledger", "export", str(folder.parent / "ash.jsonl"))

    pack, said = read_evidence(file, home.load_identity().public)
    assert said.program == read_program()
    assert said.policy == home.policy.model_dump(mode="json")
    assert said.policy_digest == home.policy.digest
    assert said.pins.peers == {"birch": peer.typed}
    assert said.coordinator is not None
    assert said.coordinator.authority == compute_sha256(home.ca_path.read_bytes())
    assert said.ledger.statement.number == 3
    assert {each.check for each in said.checks} >= {"keys", "ledger", "confinement", "backup", "policy"}
    assert "torch" in {each.name for each in pack.sbom.components}
    assert file.stat().st_mode & 0o777 == 0o600
    shown = CliRunner().invoke(
        privacy.audit.cli.cli,
        ["verify-evidence", str(file), "--ledger", str(folder.parent / "ash.jsonl")],
        catch_exceptions=False,
    )
    assert "in the ledger, the newest" in shown.stdout
    assert "wood at " in shown.stdout


def test_planted_secrets_records_and_figures_do_not_get_in(folder: Path) -> None:
    with_data(folder)
    planted = [each for each in plant(folder) if each != "Jane Roe"]  # whom the coordinator calls: in the policy
    (folder / "invitation.json").write_text('{"token":"planted-token-of-an-invitation"}\n')
    (folder / "studies" / "small-1f").mkdir()
    (folder / "studies" / "small-1f" / "draw-00001.key").write_text("planted-draw-of-a-round\n")
    records = (folder.parent / "train.csv").read_text().splitlines()[1:]
    (folder.parent / "train.csv").rename(folder.parent / f"{PATIENT}.csv")
    site(folder, "evidence", str(folder.parent / "ash.json"))
    everything = (folder.parent / "ash.json").read_text()
    assert len(planted) > 9
    found = [each for each in [*planted, *records, "planted-", "train.csv", "test.csv"] if each in everything]
    assert found == []
    said = read_evidence(folder.parent / "ash.json")[1]
    assert [each.found for each in said.checks if each.check == "data"] == ["left out"]
    assert said.hooks == ("incident",)
    assert said.proxy


def test_secret_that_a_person_wrote_into_the_policy_keeps_the_pack_from_being_written(folder: Path) -> None:
    fields = yaml.safe_load((folder / "site.yaml").read_text())
    password = folder / "proxy-password"
    password.write_text("correct horse\n")
    password.chmod(0o600)
    fields["proxy"] = {"url": "http://proxy.example:3128", "user": "ada", "password_file": str(password)}
    (folder / "site.yaml").write_text(yaml.safe_dump(fields))
    (folder / "policy.yaml").write_text('contact: "the proxy wants correct horse"\n')
    with pytest.raises(SiteConfigError, match="the evidence would hold a secret of proxy-password"):
        site(folder, "evidence", str(folder.parent / "ash.json"))
    assert not (folder.parent / "ash.json").exists()


def test_evidence_changes_nothing_and_replaces_no_file(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    site(folder, "evidence", str(folder.parent / "ash.json"))
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path in before}
    assert after == before
    with pytest.raises(SiteConfigError, match=r"ash\.json: cannot be written: File exists; name another file"):
        site(folder, "evidence", str(folder.parent / "ash.json"))


def test_site_whose_ledger_was_altered_signs_no_evidence(folder: Path) -> None:
    data = bytearray((folder / "ledger.sqlite").read_bytes())
    place = bytes(data).index(b'"site":"ash"')
    data[place + 9 : place + 10] = b"u"
    (folder / "ledger.sqlite").write_bytes(data)
    with pytest.raises(LedgerError):
        site(folder, "evidence", str(folder.parent / "ash.json"))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="these calls have other numbers here")
def test_confinement_that_is_required_and_does_not_work_is_in_the_pack(folder: Path) -> None:
    fields = yaml.safe_load((folder / "site.yaml").read_text())
    fields["launcher"] = {"kind": "process", "confinement": "required"}
    (folder / "site.yaml").write_text(yaml.safe_dump(fields))
    empty = folder.parent / "empty"
    empty.mkdir()
    done = subprocess.run(
        [
            *(sys.executable, without_calls.__file__, f"{LANDLOCK_CREATE},{SECCOMP}"),
            *(SCRIPTS / "consilium-site", "--dir", folder, "evidence", folder.parent / "ash.json"),
        ],
        env={**os.environ, "PATH": str(empty)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said = read_evidence(folder.parent / "ash.json")[1]
    assert (said.launcher.asked, said.launcher.in_force[:18]) == ("required", "nothing is trained")
    assert "confinement" in [each.check for each in said.checks if each.light == "red"]


def test_certificate_that_cannot_be_used_is_in_the_pack_as_a_red_check(folder: Path) -> None:
    home = SiteFolder(folder)
    federation = Federation.create(
        folder.parent / "wood", CoordinatorConfig(federation="wood", host="localhost", port=9092)
    )
    home.accept_admission(Members(federation).enrol(home.make_join_request()))
    (folder / "tls.pem").chmod(0o644)
    site(folder, "evidence", str(folder.parent / "ash.json"))
    said = read_evidence(folder.parent / "ash.json")[1]
    assert said.coordinator is not None
    assert said.coordinator.certificate_ends is None
    assert "own certificate" in [each.check for each in said.checks if each.light == "red"]


def test_scripts_end_with_their_exit_codes_and_no_traceback(folder: Path) -> None:
    file = folder.parent / "ash.json"
    assert script("evidence", str(file), folder=folder).returncode == 0
    value = json.loads(file.read_text())
    value["evidence"]["statement"]["proxy"] = True
    file.write_text(json.dumps(value))
    done = subprocess.run(
        [SCRIPTS / "consilium-audit", "verify-evidence", file], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (WireError.exit_code, "")
    assert done.stderr.startswith(f"consilium-audit: {file}: it was changed after it was signed")
    assert script("evidence", str(file), folder=folder.parent).returncode == SiteConfigError.exit_code
