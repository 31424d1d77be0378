"""``consilium-site`` as its users type it: in this process where that is quick, as a script where it counts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from client.cli import cli
from client.site.folder import SiteFolder
from privacy.command_line import run
from privacy.errors import LedgerError, SiteConfigError
from tests.client.commands.terminal import script, site, with_data
from tests.privacy.launch_makers import key_number

KEY = key_number(3).public.typed


# Data on stdout, talk on stderr ----------------------------------------------------------------------------


def test_init_prints_the_identity_and_nothing_else_on_stdout(tmp_path: Path) -> None:
    done = script("init", str(tmp_path / "ash"), "--name", "ash")
    assert done.returncode == 0
    assert done.stdout == SiteFolder(tmp_path / "ash").load_identity().public.typed + "\n"
    assert "set its policy" in done.stderr


def test_folder_is_taken_from_the_environment(folder: Path) -> None:
    done = script("status", "--json", folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["site"] == "ash"


def test_mistake_is_a_sentence_on_stderr_with_its_exit_code(tmp_path: Path) -> None:
    done = script("--dir", str(tmp_path / "none"), "budget")
    assert (done.returncode, done.stdout) == (21, "")
    assert done.stderr == (
        f"consilium-site: {tmp_path}/none: no site.yaml here; make a site with: consilium-site init DIR\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["init", ".", "--name", "A B"], 21, "name: expected a name: a small letter"),
        (["nothing"], 2, "No such command 'nothing'"),
        (["init", "x"], 2, "Missing option '--name'"),
        (["join"], 2, "give the INVITATION that the coordinator's operator has sent, or --request FILE"),
        (
            ["peer", "trust", "birch", "short"],
            21,
            "expected a key of 60 characters in groups of five (k1...), got 5",
        ),
        (["peer", "forget", "birch"], 21, "'birch' is not pinned; pinned peers: none"),
        (["data", "check", "none.yaml"], 11, "none.yaml: cannot be read: No such file or directory"),
        (["join", "--admission", "none"], 21, "none: cannot be read: No such file or directory"),
        (["ledger", "recover"], 21, "this site has kept no head that its coordinator has countersigned"),
        (["ledger", "recover", "none"], 26, "none: cannot be read: No such file or directory"),
        (["ledger", "list", "--kind", "x"], 2, "'x' is not one of 'open'"),
        (["budget", "explain", "none.yaml"], 11, "none.yaml: cannot be read"),
        (["approve", "study.yaml"], 2, "Missing option '--by'"),
        (["data", "object"], 2, "no patient is named: give identifiers"),
        (["up"], 21, "the site has not joined a coordinator yet"),
    ],
)
def test_mistake_ends_the_script_without_a_traceback(
    folder: Path, arguments: list[str], code: int, sentence: str, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The console script's own ending, in this process."""
    monkeypatch.setattr(sys, "argv", ["consilium-site", *arguments])
    monkeypatch.setenv("CONSILIUM_SITE", str(folder))
    monkeypatch.chdir(folder.parent)
    with pytest.raises(SystemExit) as caught:
        run(cli, "consilium-site")
    output = capfd.readouterr()
    assert caught.value.code == code
    assert sentence in output.err
    assert output.out == ""
    assert "Traceback" not in output.err


def test_command_line_starts_without_the_heavy_libraries() -> None:
    heavy = (
        "torch",
        "flwr",
        "opacus",
        "tenseal",
        "pandas",
        "sklearn",
        "dp_accounting",
        "grpc",
        "httpx",
        "rich",
        "scipy",
    )
    check = f"import sys, client.cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", check], text=True).strip() == "[]"


# Joining -----------------------------------------------------------------------------------------


def test_join_request_is_written_once(folder: Path) -> None:
    path = folder.parent / "ash.request"
    assert "public keys only" in site(folder, "join", "--request", str(path)).stderr
    assert b"PRIVATE" not in path.read_bytes()
    with pytest.raises(SiteConfigError, match=r"ash\.request: cannot be written: File exists"):
        site(folder, "join", "--request", str(path))


# Status ----------------------------------------------------------------------------------------------------


def test_status_tells_what_the_site_is(folder: Path) -> None:
    with_data(folder)
    site(folder, "peer", "trust", "birch", KEY)
    facts = json.loads(site(folder, "status", "--json").stdout)
    home = SiteFolder(folder)
    with home.open_ledger() as ledger:
        head: dict[str, Any] = {"number": ledger.head.number, "hash": ledger.head.hash}
    assert facts == {
        "site": "ash",
        "identity": home.load_identity().public.typed,
        "coordinator": None,
        "peers": ["birch"],
        "populations": ["small"],
        "ledger": head,
        "rolled_back": None,
        "running": None,
        "waiting": [],
        "studies": [],
        "alone": [],
    }
    shown = site(folder, "status").stdout
    for word in (
        "does not run; start it with",
        "not joined",
        "birch",
        "small",
        home.load_identity().public.typed,
        head["hash"],
    ):
        assert word in shown


def test_status_of_an_altered_ledger_is_refused(folder: Path) -> None:
    with_data(folder)
    (folder / "ledger.sqlite").write_bytes(b"not a ledger")
    with pytest.raises(LedgerError):
        site(folder, "status")


@pytest.mark.parametrize(
    "command", [["--help"], ["peer", "--help"], ["budget", "grant", "--help"], ["up", "--help"]]
)
def test_help_needs_no_site(tmp_path: Path, command: list[str]) -> None:
    done = site(tmp_path / "none", *command)
    assert done.exit_code == 0
    assert "Usage" in done.stdout


def test_every_command_says_what_it_does() -> None:
    waiting: list[Any] = [cli]
    while waiting:
        command = waiting.pop()
        assert command.help, command.name
        waiting += getattr(command, "commands", {}).values()
