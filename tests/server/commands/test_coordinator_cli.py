"""``consilium`` as its operator types it, and the whole enrolment by files between three people."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from safetensors.numpy import save_file

from benchmarks.small_study import small_terms, without_privacy, write_patients
from client.site.folder import SiteFolder
from privacy.canonical import compute_sha256
from privacy.errors import BudgetError, Error, FederationError, StoppedError, TermsError
from privacy.keys import PublicKey
from server.cli import cli
from server.control.caller import Caller
from server.control.server import ControlServer
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members

SCRIPTS = Path(sys.executable).parent


def coordinator(folder: Path, *arguments: str) -> Result:
    """The command in this process; expected failures are raised."""
    return CliRunner().invoke(cli, ["--dir", str(folder), *arguments], catch_exceptions=False)


def script(name: str, *arguments: str | Path, code: int = 0) -> str:
    """What a console script prints on stdout; it must end with ``code``."""
    done = subprocess.run([SCRIPTS / name, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Federation.create(tmp_path / "wood", CoordinatorConfig(federation="wood", port=9092)).folder


def study_file(folder: Path, value: Any) -> str:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(value.model_dump(mode="json")), encoding="utf-8")
    return str(path)


# Making a federation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("https://fl.example.org", "type --host fl.example.org"),
        ("fl.example.org:9092", "type --host fl.example.org --port 9092"),
        ("a b", "a host has no blanks"),
        ("a" * 64 + ".example.org", "too long for a host name"),
    ],
)
@pytest.mark.parametrize("existing", [False, True], ids=["new folder", "empty folder"])
def test_init_with_a_host_that_is_none_says_what_to_type_and_leaves_nothing(
    tmp_path: Path, host: str, sentence: str, existing: bool
) -> None:
    if existing:
        (tmp_path / "wood").mkdir()
    said = script("consilium", "init", tmp_path / "wood", "--name", "wood", "--host", host, code=41)
    assert f"federation: host: {host[:40]!r}" in said
    assert sentence in said
    assert list(tmp_path.rglob("*")) == ([tmp_path / "wood"] if existing else [])


@pytest.mark.parametrize(
    ("host", "said", "address"),
    [
        ("::1", "", "[::1]:9092"),
        ("localhost", "", "localhost:9092"),
        ("192.0.2.2", "sites reach it at 192.0.2.2:443 through a gateway", "192.0.2.2:443"),
    ],
)
def test_init_says_who_reaches_the_coordinator_and_sites_are_told_the_address(
    tmp_path: Path, host: str, said: str, address: str
) -> None:
    made = CliRunner().invoke(cli, ["init", str(tmp_path / "wood"), "--name", "wood", "--host", host])
    assert made.exit_code == 0
    assert said in made.stderr
    assert ("through a gateway" in made.stderr) == bool(said)
    assert (tmp_path / "wood" / "gateway" / "crl.pem").exists() == bool(said)
    home = SiteFolder.create(tmp_path / "ash", "ash")
    admission = Members(Federation(tmp_path / "wood")).enrol(home.make_join_request())
    assert home.accept_admission(admission).address == address


def test_up_on_an_address_of_another_machine_says_that_only_this_one_reaches_it(tmp_path: Path) -> None:
    config = CoordinatorConfig(federation="wood", host="192.0.2.2", port=9)
    federation = Federation.create(tmp_path / "wood", config)
    lock = (federation.folder / "superlink" / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # as another coordinator holds it: this one ends at once
    with lock:
        said = script("consilium", "--dir", federation.folder, "up", code=42)
    assert "coordinating 'wood' at 192.0.2.2:9\nonly this machine reaches it" in said


# Enrolment, by the real commands ---------------------------------------------------------------------------


def test_two_sites_are_enrolled_by_files_passed_by_hand(tmp_path: Path) -> None:
    """Coordinator and sites are made; requests out, admissions back; sites pin each other, register, are granted."""
    wood, study = tmp_path / "wood", study_file(tmp_path, small_terms())
    key = script("consilium", "init", wood, "--name", "wood", "--port", "9177", "--control-port", "9178").strip()
    identities = {}
    for number, name in enumerate(("ash", "birch")):
        home, request, admission = tmp_path / name, tmp_path / f"{name}.request", tmp_path / f"{name}.admission"
        identities[name] = script("consilium-site", "init", home, "--name", name).strip()
        script("consilium-site", "--dir", home, "join", "--request", request)
        done = script("consilium", "--dir", wood, "admit", request, "--out", admission, "--yes")
        assert done.strip() == identities[name]
        assert script("consilium-site", "--dir", home, "join", "--admission", admission).strip() == key
        train = write_patients(tmp_path / f"{name}-train.csv", 60, f"{name}-a", seed=number)
        test = write_patients(tmp_path / f"{name}-test.csv", 30, f"{name}-b", seed=10 + number)
        script("consilium-site", "--dir", home, "data", "add", study, "--train", train, "--test", test)
        script(
            "consilium-site", "--dir", home, "budget", "grant", "small",
            "--epsilon", "6", "--delta", "1e-3", "--typical", study,
        )  # fmt: skip
    script("consilium-site", "--dir", tmp_path / "ash", "peer", "trust", "birch", identities["birch"])

    facts = json.loads(script("consilium-site", "--dir", tmp_path / "ash", "status", "--json"))
    assert (facts["coordinator"], facts["peers"], facts["populations"]) == (key, ["birch"], ["small"])
    found = json.loads(script("consilium-site", "--dir", tmp_path / "ash", "budget", "--json"))
    assert [each["epsilon_left"] for each in found["populations"]] == [6]
    enrolled = {name: PublicKey.from_text(site.identity) for name, site in Federation(wood).read_sites().items()}
    assert {name: key.typed for name, key in enrolled.items()} == identities

    sentence = script(
        "consilium-site", "--dir", tmp_path / "ash", "join", "--admission", tmp_path / "birch.admission", code=21
    )
    assert sentence.startswith("consilium-site: the admission is for 'birch'")
    sentence = script(
        "consilium", "--dir", wood, "admit", tmp_path / "ash.admission", "--out", tmp_path / "x", code=41
    )
    assert "ash.admission: " in sentence


def test_admission_given_where_a_request_is_expected_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "request").write_text("{}")
    with pytest.raises(FederationError, match="statement: missing"):
        coordinator(folder, "admit", str(tmp_path / "request"), "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_init_prints_the_identity_and_nothing_else_on_stdout(tmp_path: Path) -> None:
    done = coordinator(tmp_path, "init", str(tmp_path / "wood"), "--name", "wood")
    assert done.stdout == Federation(tmp_path / "wood").load_identity().public.typed + "\n"
    assert "made the federation 'wood'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--name", "A Wood"], "federation: expected a name: a small letter"),
        (["--name", "w", "--port", "0"], "port: expected"),
    ],
)
def test_init_with_a_mistake_makes_nothing(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    with pytest.raises(FederationError, match=sentence):
        coordinator(tmp_path, "init", str(tmp_path / "wood"), *arguments)
    assert not (tmp_path / "wood").exists()


# study check -----------------------------------------------------------------------------------------------


def test_study_check_explains_to_people(folder: Path) -> None:
    shown = coordinator(folder, "study", "check", study_file(folder, small_terms())).stdout
    for words in ("epsilon 3, delta 0.001, for each patient", "2, in 3 exchanges", "bytes up", "NOT protected"):
        assert words in shown


def test_study_check_explains_to_programs(folder: Path) -> None:
    found = json.loads(coordinator(folder, "study", "check", study_file(folder, small_terms()), "--json").stdout)
    assert found["digest"] == small_terms().digest
    assert found["privacy"]["private"]


def test_study_check_prices_several_runs_together(folder: Path) -> None:
    path = study_file(folder, small_terms(evaluation={"epsilon": 1.0}))
    shown = coordinator(folder, "study", "check", path, "--runs", "4").stdout
    found = json.loads(coordinator(folder, "study", "check", path, "--runs", "4", "--json").stdout)
    together = found["privacy"]["runs"]
    assert 3 < together["training"] < 12
    assert 1 < together["evaluation"] < 4
    assert f"together epsilon {together['training']:.3f} for each training patient, " in shown
    assert "the best of 4 costs as much; each site's ledger charges every launch" in shown
    assert "runs" not in coordinator(folder, "study", "check", path).stdout


def test_study_check_warns_of_a_study_without_privacy(folder: Path) -> None:
    path = study_file(folder, without_privacy())
    assert "NONE: the model may reveal its patients" in coordinator(folder, "study", "check", path).stdout
    assert json.loads(coordinator(folder, "study", "check", path, "--json").stdout)["privacy"] == {"private": False}


def test_study_check_tells_what_is_trained_personal_and_frozen(folder: Path) -> None:
    file = folder / "public.safetensors"
    shapes = {"layers.0.weight": (4, 5), "layers.0.bias": (4,), "layers.2.weight": (3, 4), "layers.2.bias": (3,)}
    save_file({name: np.ones(shape, dtype=np.float32) for name, shape in shapes.items()}, file)
    choices = {"start": compute_sha256(file.read_bytes()), "trained": ["layers.2"], "personal": ["head"]}
    path = study_file(folder, small_terms(model={"name": "mlp", "options": {"hidden": [4, 3]}, **choices}))
    shown = coordinator(folder, "study", "check", path).stdout
    for words in ("15 parameters", "4 personal ones", "24 frozen ones", "check it with --weights FILE"):
        assert words in shown
    assert "checked, fits" in coordinator(folder, "study", "check", path, "--weights", str(file)).stdout
    with pytest.raises(TermsError, match=r"study\.yaml: this is not the file that the terms name"):
        coordinator(folder, "study", "check", path, "--weights", path)


def test_study_check_of_whole_sites_says_when_it_is_mostly_noise(folder: Path) -> None:
    few = small_terms(
        training={"weights": "uniform"},
        privacy={"unit": "site", "placement": "distributed"},
        cohort={"maximum": 3},
        secure_aggregation={"value_range": "auto", "bits": 20},
    )
    shown = coordinator(folder, "study", "check", study_file(folder, few)).stdout
    for words in (
        "for each patient",
        "clipped is the whole update of each site",
        "for each site, all its patients together",
        "each counts in a round with chance 1",
        "MOSTLY NOISE: more sites",
    ):
        assert words in shown
    many = few.model_copy(update={"cohort": few.cohort.model_copy(update={"maximum": 40})})
    assert "MOSTLY NOISE" not in coordinator(folder, "study", "check", study_file(folder, many)).stdout


def narrow(value_range: float) -> Any:
    return small_terms(
        training={"local_steps": 1},
        privacy={"placement": "distributed"},
        secure_aggregation={"value_range": value_range, "bits": 20},
    )


def test_study_check_with_a_problem_ends_with_11_and_names_what_to_write(folder: Path) -> None:
    path = study_file(folder, narrow(8))
    said = script("consilium", "--dir", folder, "study", "check", path, code=11)
    assert "secure_aggregation.value_range is 8 clipping norms, the noise alone needs" in said
    assert "write secure_aggregation.value_range: auto, or at least" in said
    with pytest.raises(TermsError, match="sites would refuse it; --despite launches it all the same"):
        coordinator(folder, "study", "launch", path)


def test_study_check_judges_a_range_by_the_patients_that_are_named(folder: Path) -> None:
    path = study_file(folder, narrow(60))
    shown = coordinator(folder, "study", "check", path).stdout
    assert "PROBLEM" not in shown
    held = int(shown.split("lots of up to ")[1].split(" ")[0])
    assert coordinator(folder, "study", "check", path, "--patients", str(held)).exit_code == 0
    with pytest.raises(TermsError, match="the noise and the sum need"):
        coordinator(folder, "study", "check", path, "--patients", str(held + 4))
    auto = small_terms(
        training={"local_steps": 1},
        privacy={"placement": "distributed"},
        secure_aggregation={"value_range": "auto"},
    )
    shown = coordinator(folder, "study", "check", study_file(folder, auto), "--patients", "7280").stdout
    assert "clipping norms for the noise and the lots of 7,280 patients" in shown


def test_study_launched_despite_a_problem_reaches_the_coordinator(folder: Path) -> None:
    path = study_file(folder, narrow(8))
    server = ControlServer(
        Federation(folder), {"Launch": lambda asked, _: {"study": f"small-{len(asked['sites'])}"}}, {}
    )
    try:
        assert coordinator(folder, "study", "launch", path, "--despite").stdout == "small-0\n"
    finally:
        server.close()


def test_study_check_needs_no_federation(tmp_path: Path) -> None:
    path = study_file(tmp_path, small_terms())
    assert coordinator(tmp_path / "none", "study", "check", path).exit_code == 0


def test_study_check_of_a_wrong_study_is_refused(folder: Path) -> None:
    (folder / "study.yaml").write_text("consilium: 1\nnam: small\n")
    with pytest.raises(TermsError, match="nam: unknown key; did you mean 'name'"):
        coordinator(folder, "study", "check", str(folder / "study.yaml"))
    with pytest.raises(TermsError, match="there is no model 'transformer'; known models: logistic, mlp"):
        coordinator(folder, "study", "check", study_file(folder, small_terms(model={"name": "transformer"})))
    with pytest.raises(BudgetError, match="no noise reaches"):
        coordinator(
            folder, "study", "check", study_file(folder, small_terms(privacy={"epsilon": 0.02, "delta": 1e-300}))
        )


# What talks to the coordinator's process -------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["study", "stop", "x"], ["study", "resume", "x"], ["study", "watch", "x"]],
)
def test_command_without_a_coordinator_says_how_to_start_it(folder: Path, arguments: list[str]) -> None:
    with pytest.raises(FederationError, match="the coordinator does not run; start it with: consilium up"):
        coordinator(folder, *arguments)


def test_sites_without_a_coordinator_are_listed_and_who_is_online_is_not_known(folder: Path) -> None:
    home = SiteFolder.create(folder.parent / "ash", "ash")
    Members(Federation(folder)).enrol(home.make_join_request())
    key = home.load_identity().public.typed
    listed = json.loads(coordinator(folder, "sites", "--json").stdout)
    site = {"name": "ash", "identity": key, "online": None, "program": None, "contact": ""}
    assert listed == {"sites": [site]}
    said = coordinator(folder, "sites")
    assert f"ash   ?  {key}" in said.stdout
    assert "the coordinator does not run; start it with: consilium up" in said.stderr


@pytest.mark.parametrize("arguments", [["sites"], ["study", "list"], ["study", "stop", "x"]])
def test_command_in_a_folder_that_is_no_federation_says_so(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(
        FederationError, match=r"no coordinator\.yaml here; make a federation with: consilium init DIR"
    ):
        coordinator(tmp_path, *arguments)


def test_lists_are_tables_for_people_and_json_for_programs(folder: Path) -> None:
    home = SiteFolder.create(folder.parent / "ash", "ash")
    Members(Federation(folder)).enrol(home.make_join_request())
    key = home.load_identity().public.typed
    sites = {"items": [{"name": "ash", "online": True, "identity": key, "program": None, "contact": ""}]}
    studies = {
        "items": [
            {
                "study": "small-00000000",
                "standing": "open",
                "rounds": {
                    "planned": 10,
                    "applied": 3,
                    "void": 1,
                    "left": 6,
                    "evaluated": 1,
                    "evaluations_planned": 2,
                },
                "sites": ["ash"],
                "out": {},
                "epsilon": None,
                "figure": {
                    "name": "mae",
                    "title": "mean error",
                    "figure": {"value": 0.75, "noise": 0.125, "chance": None},
                },
                "why": "",
                "deciding": {},
            }
        ]
    }
    server = ControlServer(
        Federation(folder), {"ListSites": lambda _, __: sites, "ListStudies": lambda _, __: studies}, {}
    )
    try:
        listed = json.loads(coordinator(folder, "sites", "--json").stdout)
        assert listed == {"sites": sites["items"]}
        assert f"ash   online  {key}" in coordinator(folder, "sites").stdout
        assert json.loads(coordinator(folder, "study", "list", "--json").stdout) == {"studies": studies["items"]}
        assert (
            "small-00000000  open  3 of 10, 1 void, 6 left  NONE     mean error 0.750 ± 0.125"
            in coordinator(folder, "study", "list").stdout
        )
    finally:
        server.close()


def test_launch_sends_the_terms_and_prints_the_study(folder: Path) -> None:
    taken: list[dict[str, Any]] = []

    def launch(arguments: dict[str, Any], _: Caller) -> dict[str, Any]:
        taken.append(arguments)
        return {"study": "small-00000000"}

    server = ControlServer(Federation(folder), {"Launch": launch}, {})
    try:
        path = study_file(folder, small_terms())
        assert (
            coordinator(folder, "study", "launch", path, "--site", "ash", "--site", "elm").stdout
            == "small-00000000\n"
        )
        assert json.loads(coordinator(folder, "study", "launch", path, "--json").stdout) == {
            "study": "small-00000000"
        }
    finally:
        server.close()
    assert [each["sites"] for each in taken] == [["ash", "elm"], []]
    assert taken[0]["terms"] == small_terms().model_dump(mode="json")
    assert taken[0]["parameters"] == (1 + 1) + (2 + 1) + 1  # each column with its indicator, and the bias


def test_watch_of_a_study_that_stands_still_ends_with_its_reason(folder: Path) -> None:
    notes: list[dict[str, Any]] = [
        {"kind": "beat", "time": 1.0},
        {"kind": "note", "site": None, "text": "begun", "number": 1},
        {"kind": "end", "standing": "stopped", "why": "2 sites left"},
    ]
    server = ControlServer(
        Federation(folder), {}, {"WatchStudy": lambda _, __: iter([{"document": note} for note in notes])}
    )
    try:
        with pytest.raises(StoppedError, match="the study 'small' is stopped: 2 sites left"):
            coordinator(folder, "study", "watch", "small")
        done = CliRunner().invoke(cli, ["--dir", str(folder), "study", "watch", "small", "--json"])
    finally:
        server.close()
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == ["note", "end"]
    assert isinstance(done.exception, Error)


# The command itself ----------------------------------------------------------------------------------------


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
    check = f"import sys, server.cli, privacy.audit.cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", check], text=True).strip() == "[]"


def test_help_of_the_audit_is_that_of_the_sites_program_and_opens_no_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [SCRIPTS / "consilium", "--dir", tmp_path / "nowhere", "audit-run", "--help"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: consilium-site audit-run")
    assert "--canaries" in done.stdout


def test_mistake_is_a_sentence_on_stderr_with_its_exit_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [SCRIPTS / "consilium", "up"],
        capture_output=True, text=True, timeout=60, env={**os.environ, "CONSILIUM_DIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (41, "")
    assert (
        done.stderr
        == f"consilium: {tmp_path}: no coordinator.yaml here; make a federation with: consilium init DIR\n"
    )


@pytest.mark.parametrize(
    "command", [["--help"], ["study", "--help"], ["study", "launch", "--help"], ["up", "--help"]]
)
def test_help_needs_no_federation(tmp_path: Path, command: list[str]) -> None:
    done = coordinator(tmp_path / "none", *command)
    assert done.exit_code == 0
    assert "Usage" in done.stdout


def test_every_command_says_what_it_does() -> None:
    waiting: list[Any] = [cli]
    while waiting:
        command = waiting.pop()
        assert command.help, command.name
        waiting += getattr(command, "commands", {}).values()
