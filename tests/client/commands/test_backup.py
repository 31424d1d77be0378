"""``consilium-site backup --encrypt`` and ``restore``: the passphrase from a file, and from a person at a terminal."""

import contextlib
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from client.health.records import check_policy
from client.site.folder import SiteFolder
from privacy.errors import SiteConfigError
from privacy.health import Light
from tests.client.commands.terminal import SCRIPTS, site
from tests.privacy.launch_makers import key_number
from tests.simulator import change_policy

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def secret(folder: Path) -> Path:
    path = folder.parent / "passphrase"
    path.write_text(f"{PASSPHRASE}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def archive(folder: Path, secret: Path) -> Path:
    path = folder.parent / "ash.backup"
    said = site(folder, "backup", str(path), "--passphrase-file", str(secret)).stderr
    assert "encrypted: keep the passphrase elsewhere" in said
    return path


def test_encrypted_backup_holds_no_key_in_clear_and_is_restored_with_its_passphrase(
    folder: Path, archive: Path, secret: Path
) -> None:
    (key, *_) = [line for line in (folder / "identity.key").read_text().splitlines() if "-----" not in line]
    data = archive.read_bytes()
    assert key.encode() not in data
    assert b"manifest.json" not in data
    assert archive.stat().st_mode & 0o777 == 0o600
    site(folder, "restore", str(archive), str(folder.parent / "new"), "--passphrase-file", str(secret))
    restored = SiteFolder(folder.parent / "new").load_identity().public
    assert restored == SiteFolder(folder).load_identity().public


def type_when_asked(folder: Path, questions: tuple[str, ...], *words: str, typed: str = PASSPHRASE) -> str:
    """What the console script shows a person who types ``typed`` once each question stands there."""
    here, there = pty.openpty()
    command = [str(SCRIPTS / "consilium-site"), "--dir", str(folder), *words]
    with subprocess.Popen(command, stdin=there, stdout=there, stderr=there, start_new_session=True) as process:
        os.close(there)
        shown, waiting = b"", list(questions)
        with contextlib.suppress(OSError):  # EIO: the program has ended
            while part := os.read(here, 4096):
                shown += part
                if waiting and waiting[0].encode() in shown:
                    waiting.pop(0)
                    os.write(here, f"{typed}\n".encode())
        process.wait(timeout=60)
    os.close(here)
    assert not waiting, shown.decode()
    return shown.decode()


def test_person_at_the_terminal_is_asked_for_the_passphrase_which_is_not_shown(folder: Path, archive: Path) -> None:
    shown = type_when_asked(folder, ("Passphrase:",), "restore", str(archive), str(folder.parent / "new"))
    assert "restored the site 'ash'" in shown
    assert PASSPHRASE not in shown
    other = folder.parent / "other.backup"
    shown = type_when_asked(folder, ("Passphrase:", "Repeat for confirmation:"), "backup", str(other), "--encrypt")
    assert PASSPHRASE not in shown
    assert other.read_bytes().startswith(b"consilium encrypted backup 1\n")


def test_nobody_at_a_terminal_and_no_file_is_a_sentence(folder: Path, archive: Path) -> None:
    for words in (
        ("restore", str(archive), str(folder.parent / "new")),
        ("backup", str(folder.parent / "c"), "--encrypt"),
    ):
        with pytest.raises(SiteConfigError, match=r"nobody is here to be asked .* --passphrase-file"):
            site(folder, *words)
    assert not (folder.parent / "c").exists()
    assert not (folder.parent / "new").exists()


def test_wrong_passphrase_restores_nothing(folder: Path, archive: Path, secret: Path) -> None:
    secret.write_text("correct horse battery stable")
    with pytest.raises(SiteConfigError, match="the passphrase is another one"):
        site(folder, "restore", str(archive), str(folder.parent / "new"), "--passphrase-file", str(secret))
    assert not (folder.parent / "new").exists()


def test_encrypted_backup_that_was_cut_or_changed_restores_nothing(
    folder: Path, archive: Path, secret: Path
) -> None:
    data = archive.read_bytes()
    for wrong in (data[:-1], data[: len(data) // 2], data[:-30] + bytes([data[-30] ^ 1]) + data[-29:]):
        archive.write_bytes(wrong)
        with pytest.raises(SiteConfigError, match=r"ash\.backup: "):
            site(folder, "restore", str(archive), str(folder.parent / "new"), "--passphrase-file", str(secret))
        assert not (folder.parent / "new").exists()


def test_passphrase_that_everybody_reads_or_that_is_short_is_refused(folder: Path, secret: Path) -> None:
    archive = folder.parent / "c"
    secret.chmod(0o604)
    with pytest.raises(SiteConfigError, match="everybody on this machine may read the passphrase; run: chmod 600"):
        site(folder, "backup", str(archive), "--passphrase-file", str(secret))
    secret.chmod(0o600)
    for text, why in (("short\n", "has 5 characters, expected at least 12"), ("", "has 0 characters")):
        secret.write_text(text)
        with pytest.raises(SiteConfigError, match=why):
            site(folder, "backup", str(archive), "--passphrase-file", str(secret))
    with pytest.raises(SiteConfigError, match="cannot be read: No such file"):
        site(folder, "backup", str(archive), "--passphrase-file", str(folder / "none"))
    assert not archive.exists()


def test_passphrase_file_may_be_named_by_the_environment(
    folder: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSILIUM_PASSPHRASE_FILE", str(secret))
    site(folder, "backup", str(folder.parent / "c"))
    assert (folder.parent / "c").read_bytes().startswith(b"consilium encrypted backup 1\n")


def test_restore_lists_what_it_trusts_again_that_people_have_changed_since(folder: Path, secret: Path) -> None:
    """An older copy takes back a tightened policy, a forgotten key and a revocation, all without a mistake in it."""
    home, archive, new = SiteFolder(folder), folder.parent / "old.backup", folder.parent / "new"
    change_policy(home, automatic=[{"name": "all", "epsilon_at_most": 3}])
    home.pin_peer("birch", key_number(3).public)
    home.trust_consortium("trees", key_number(7).public)
    site(folder, "backup", str(archive))
    old = home.policy.digest
    change_policy(home, automatic=[])
    home.forget_peer("birch")
    done = site(folder, "restore", str(archive), str(new))
    said = " ".join(done.stderr.split())
    for words in (
        "what people here changed since is undone",
        f"policy.yaml (SHA-256 {old[:16]}): the policy holds: without a person it admits 'all' (epsilon at most 3)",
        "operators: anybody",
        "pinned peers: birch;",
        "objections: of 0 patients",
        "consortium 'trees': no list, 0 revoked keys; import its newest list",
    ):
        assert words in said
    assert SiteFolder(new).policy.digest == old != home.policy.digest


def test_restored_policy_is_shown_and_confirmed_by_a_person(folder: Path) -> None:
    archive, new = folder.parent / "a.backup", folder.parent / "new"
    with pytest.raises(SiteConfigError, match="nothing waits to be confirmed; its policy is in force"):
        site(folder, "confirm-policy", "--yes")
    site(folder, "backup", str(archive))
    assert (
        "no study is admitted before somebody has confirmed it"
        in site(folder, "restore", str(archive), str(new)).stderr
    )
    home = SiteFolder(new)
    written = home.describe_unconfirmed()
    assert written is not None
    assert re.search(r"restored from a backup of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", written)
    assert (new / "restored").stat().st_mode & 0o777 == 0o600
    (line,) = check_policy(home)
    assert (line.light, line.step) == (Light.AMBER, "consilium-site confirm-policy")
    with pytest.raises(
        SiteConfigError, match="nobody is here to look at the policy; once somebody has, say so with"
    ):
        site(new, "confirm-policy")
    assert home.describe_unconfirmed() is not None
    shown = type_when_asked(new, ("allows and trusts today?",), "confirm-policy", typed="y")
    assert home.policy.digest[:16] in shown
    assert home.describe_unconfirmed() is None


def test_backup_of_an_unconfirmed_site_is_restored_unconfirmed(folder: Path) -> None:
    """Restoring twice is no way around the person."""
    SiteFolder(folder).mark_restored("2026-01-01 00:00:00 UTC")
    site(folder, "backup", str(folder.parent / "a"))
    site(folder, "restore", str(folder.parent / "a"), str(folder.parent / "new"))
    assert "2026-01-01" not in (SiteFolder(folder.parent / "new").describe_unconfirmed() or "2026-01-01")
