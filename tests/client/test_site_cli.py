"""``consilium-site`` as its users type it: in this process where that is quick, as a script where it counts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from client.cli import cli
from client.home import SiteHome
from privacy.console import run
from privacy.errors import BudgetError, DataError, LedgerError, RefusedError, SiteConfigError, TermsError
from tests.client.small_study import small_terms, write_patients
from tests.privacy.launch_makers import key_number

SCRIPTS = Path(sys.executable).parent
KEY = key_number(3).public.text


def site(folder: Path, *arguments: str) -> Result:
    """The command in this process; expected failures are raised."""
    return CliRunner().invoke(cli, ["--dir", str(folder), *arguments], catch_exceptions=False)


def script(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The console script."""
    environment = {**os.environ, **({"CONSILIUM_SITE": str(folder)} if folder else {})}
    return subprocess.run(
        [SCRIPTS / "consilium-site", *arguments], capture_output=True, text=True, env=environment, timeout=60
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A site's folder, with a study file and two CSV files beside it."""
    SiteHome.init(tmp_path / "ash", "ash")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(small_terms().model_dump(mode="json")))
    write_patients(tmp_path / "train.csv", 64, "a", seed=1)
    write_patients(tmp_path / "test.csv", 30, "b", seed=2)
    return tmp_path / "ash"


def with_data(folder: Path) -> Path:
    beside = folder.parent
    site(
        folder, "data", "add", str(beside / "study.yaml"),
        "--train", str(beside / "train.csv"), "--test", str(beside / "test.csv"),
    )  # fmt: skip
    return folder


def with_grant(folder: Path, epsilon: str = "6", delta: str = "1e-3") -> Result:
    study = str(folder.parent / "study.yaml")
    return site(folder, "budget", "grant", "small", "--epsilon", epsilon, "--delta", delta, "--typical", study)


# Data on stdout, talk on stderr ----------------------------------------------------------------------------


def test_init_prints_the_identity_and_nothing_else_on_stdout(tmp_path: Path) -> None:
    done = script("init", str(tmp_path / "ash"), "--name", "ash")
    assert done.returncode == 0
    assert done.stdout == SiteHome(tmp_path / "ash").identity().public.text + "\n"
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
        (["init", ".", "--name", "A B"], 21, "name: string should match pattern"),
        (["nothing"], 2, "No such command 'nothing'"),
        (["init", "x"], 2, "Missing option '--name'"),
        (["join"], 2, "give either --request FILE"),
        (["peer", "trust", "birch", "short"], 21, "expected a public key of 43 base64url characters, got 5"),
        (["peer", "forget", "birch"], 21, "'birch' is not pinned; pinned peers: none"),
        (["data", "check", "none.yaml"], 11, "none.yaml: cannot be read: No such file or directory"),
        (["join", "--admission", "none"], 21, "none: cannot be read: No such file or directory"),
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
    heavy = ("torch", "flwr", "opacus", "tenseal", "pandas", "sklearn", "dp_accounting", "grpc")
    check = f"import sys, client.cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", check], text=True).strip() == "[]"


# Joining and peers -----------------------------------------------------------------------------------------


def test_join_request_is_written_once(folder: Path) -> None:
    path = folder.parent / "ash.request"
    assert "public keys only" in site(folder, "join", "--request", str(path)).stderr
    assert b"PRIVATE" not in path.read_bytes()
    with pytest.raises(SiteConfigError, match=r"ash\.request: cannot be written: File exists"):
        site(folder, "join", "--request", str(path))


def test_peers_are_trusted_listed_and_forgotten(folder: Path) -> None:
    site(folder, "peer", "trust", "birch", KEY)
    assert site(folder, "peer", "list").stdout == f"peer   key\nbirch  {KEY}\n"
    assert json.loads(site(folder, "peer", "list", "--json").stdout) == {"peers": [{"name": "birch", "key": KEY}]}
    site(folder, "peer", "forget", "birch")
    assert json.loads(site(folder, "peer", "list", "--json").stdout) == {"peers": []}


def test_peer_with_another_key_is_refused(folder: Path) -> None:
    site(folder, "peer", "trust", "birch", KEY)
    with pytest.raises(SiteConfigError, match="consilium-site peer forget birch"):
        site(folder, "peer", "trust", "birch", key_number(4).public.text)


# Data ------------------------------------------------------------------------------------------------------


def test_data_are_registered_with_a_rounded_count(folder: Path) -> None:
    with_data(folder)
    registered = SiteHome(folder).registry().contracts["small"]
    assert registered.public_patients == 60
    with SiteHome(folder).open_ledger() as ledger:
        assert ledger.population("small").patients == 60


def test_data_registered_again_change_nothing(folder: Path) -> None:
    with_data(folder)
    with SiteHome(folder).open_ledger() as ledger:
        head = ledger.head
    with_data(folder)
    with SiteHome(folder).open_ledger() as ledger:
        assert ledger.head == head


def test_data_registered_under_another_name_are_refused(folder: Path) -> None:
    """The same patients would have two budgets."""
    with_data(folder)
    terms = small_terms(data={"name": "other"})
    (folder.parent / "study.yaml").write_text(yaml.safe_dump(terms.model_dump(mode="json")))
    with pytest.raises(RefusedError, match="small"):
        with_data(folder)
    assert set(SiteHome(folder).registry().contracts) == {"small"}


def test_data_that_break_the_contract_are_refused_without_a_value(folder: Path) -> None:
    path = folder.parent / "train.csv"
    path.write_text(path.read_text() + "a99,forty,f,yes\n")
    with pytest.raises(DataError, match="column 'age': 1 rows are not a number") as caught:
        with_data(folder)
    assert "forty" not in str(caught.value)
    assert SiteHome(folder).registry().contracts == {}


def test_data_check_registers_nothing(folder: Path) -> None:
    beside = folder.parent
    done = site(
        folder, "data", "check", str(beside / "study.yaml"),
        "--train", str(beside / "train.csv"), "--test", str(beside / "test.csv"),
    )  # fmt: skip
    assert "the public patient count would be 60" in done.stderr
    assert SiteHome(folder).registry().contracts == {}


def test_data_check_takes_the_registered_files(folder: Path) -> None:
    with pytest.raises(
        SiteConfigError, match="no data are registered as 'small'; name both files: --train and --test"
    ):
        site(folder, "data", "check", str(folder.parent / "study.yaml"))
    with_data(folder)
    assert "keep the contract 'small'" in site(folder, "data", "check", str(folder.parent / "study.yaml")).stderr


# Budget and status -----------------------------------------------------------------------------------------


def test_budget_before_a_grant_is_nothing(folder: Path) -> None:
    with_data(folder)
    lines = site(folder, "budget").stdout.splitlines()
    assert lines[0].split() == ["population", "epsilon", "delta", "spent", "set", "aside", "left"]
    assert lines[1].split() == ["small", "-", "-", "0.000", "0.000", "0.000"]


def test_grant_shows_in_the_budget(folder: Path) -> None:
    with_data(folder)
    assert "granted 'small' epsilon 6 at delta 0.001, kept at Renyi order" in with_grant(folder).stderr
    assert site(folder, "budget").stdout.splitlines()[1].split() == [
        "small",
        "6",
        "0.001",
        "0.000",
        "0.000",
        "6.000",
    ]
    (found,) = json.loads(site(folder, "budget", "--json").stdout)["populations"]
    assert (found["population"], found["epsilon_granted"], found["epsilon_left"]) == ("small", 6, 6)


def test_grant_is_not_enlarged(folder: Path) -> None:
    with_data(folder)
    with_grant(folder)
    with pytest.raises(BudgetError, match="a grant is not enlarged, since results have been seen"):
        with_grant(folder, epsilon="60")


@pytest.mark.parametrize(
    ("epsilon", "delta"), [("0", "1e-3"), ("-1", "1e-3"), ("nan", "1e-3"), ("6", "0"), ("6", "1")]
)
def test_grant_of_an_impossible_budget_is_refused(folder: Path, epsilon: str, delta: str) -> None:
    with_data(folder)
    with pytest.raises(BudgetError, match=r"expected|room"):
        with_grant(folder, epsilon, delta)


def test_grant_of_a_population_that_is_not_registered_is_refused(folder: Path) -> None:
    with pytest.raises(LedgerError, match="small"):
        with_grant(folder)


def test_grant_needs_a_typical_study_with_privacy(folder: Path) -> None:
    with_data(folder)
    study = folder.parent / "study.yaml"
    value = yaml.safe_load(study.read_text())
    value["privacy"] = {"epsilon": "none"}
    study.write_text(yaml.safe_dump(value))
    with pytest.raises(TermsError, match=r"this study has no privacy \(epsilon: none\); name one that has"):
        with_grant(folder)
    study.write_text("consilium: 1")
    with pytest.raises(TermsError, match="missing"):
        with_grant(folder)


def test_status_tells_what_the_site_is(folder: Path) -> None:
    with_data(folder)
    site(folder, "peer", "trust", "birch", KEY)
    facts = json.loads(site(folder, "status", "--json").stdout)
    home = SiteHome(folder)
    with home.open_ledger() as ledger:
        head: dict[str, Any] = {"number": ledger.head.number, "hash": ledger.head.hash}
    assert facts == {
        "site": "ash",
        "identity": home.identity().public.text,
        "coordinator": None,
        "peers": ["birch"],
        "populations": ["small"],
        "ledger": head,
        "studies": [],
    }
    shown = site(folder, "status").stdout
    for word in ("not joined", "birch", "small", home.identity().public.text, head["hash"]):
        assert word in shown


def test_status_of_an_altered_book_is_refused(folder: Path) -> None:
    with_data(folder)
    (folder / "ledger.sqlite").write_bytes(b"not a book")
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
