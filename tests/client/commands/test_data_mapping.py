"""``consilium-site data`` with a mapping: one pass tells everything, snapshots come and go, sources are compared."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from benchmarks.small_study import write_csv
from client.cli import cli
from client.commands.data_sources import make_conversion
from client.site.folder import SiteFolder
from client.site.launcher import Confinement
from client.training.confined_conversion import ConfinedConversion
from privacy.errors import DataError
from privacy.invisible import is_invisible
from tests.client.commands.terminal import at_terminal, script, site
from tests.client.data.conversion.small_source import add_rows, write_mapping, write_source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The site 'ash', and beside it the folder ``source`` with an export of 300 patients and a mapping."""
    SiteFolder.create(tmp_path / "ash", "ash")
    write_source(tmp_path / "source")
    return tmp_path / "source"


def run(source: Path, command: str, *options: str) -> Result:
    """``data COMMAND`` of the study; expected failures are in its result."""
    home = str(source.parent / "ash")
    return CliRunner().invoke(cli, ["--dir", home, "data", command, str(source / "study.yaml"), *options])


def with_mapping(source: Path) -> tuple[str, str]:
    """The option that names the mapping."""
    return ("--mapping", str(source / "mapping.yaml"))


def list_snapshots(source: Path) -> list[str]:
    """The names of the site's snapshots."""
    return [each.parent.name for each in (source.parent / "ash" / "data").glob("*/snapshot.json")]


def read_line(source: Path, name: str) -> dict[str, Any] | None:
    """The line ``name`` of ``consilium-site check``."""
    said = CliRunner().invoke(cli, ["--dir", str(source.parent / "ash"), "check", "--json"]).stdout
    return next((line for line in json.loads(said)["lines"] if line["check"] == name), None)


def test_check_makes_the_snapshot_that_add_registers(source: Path) -> None:
    checked = run(source, "check", *with_mapping(source))
    assert checked.exit_code == 0
    assert "sources: 1 read; 249 records for training, 51 held out" in checked.stdout
    (name,) = list_snapshots(source)
    train = source.parent / "ash" / "data" / name / "train.npz"
    made = train.stat().st_mtime_ns
    assert run(source, "add", *with_mapping(source)).exit_code == 0
    assert train.stat().st_mtime_ns == made
    (registered,) = SiteFolder(source.parent / "ash").load_registry().registrations.values()
    assert (registered.train, registered.mapping) == (str(train), str(source / "mapping.yaml"))


def test_check_tells_every_problem_with_its_place_in_one_pass(source: Path) -> None:
    lines = (source / "export.csv").read_text().splitlines()
    lines[3] = "a2,secret,f,no"
    lines[5] = ",40,f,no"
    lines[8] = "a7,40,f,hidden"
    lines[9] = "a8,40,f"
    (source / "export.csv").write_text("\n".join(lines) + "\n")
    found = run(source, "check", *with_mapping(source))
    for told in ("row 4, column age", "row 6, column id", "row 9, column ill", "row 10"):
        assert told in found.stdout
    assert "mistake: sources: 4 of 300 items (1.33%) cannot be used" in found.stdout
    assert isinstance(found.exception, DataError)
    report = json.loads(run(source, "check", *with_mapping(source), "--json").stdout)
    assert (report["training"], report["conversion"]["files"]) == (None, {})
    places = [place["row"] for each in report["conversion"]["quarantined"] for place in each["places"]]
    assert sorted(places) == [4, 6, 9, 10]
    assert [each["level"] for each in report["findings"]] == ["mistake"]
    for word in ("secret", "hidden"):
        assert word not in found.stdout + str(found.exception) + json.dumps(report)
    assert SiteFolder(source.parent / "ash").load_registry().registrations == {}
    assert (
        script(
            "data", "check", str(source / "study.yaml"), *with_mapping(source), folder=source.parent / "ash"
        ).returncode
        == 23
    )


def test_check_without_options_says_whether_sources_or_mapping_have_changed(source: Path) -> None:
    run(source, "add", *with_mapping(source))
    assert "note: sources: as they were when registered" in run(source, "check").stdout
    add_rows(source, "late,40,f,no")
    assert (
        "warning: sources: since they were registered: export.csv changed; register" in run(source, "check").stdout
    )
    write_mapping(source, split={"by": "fraction", "test": 0.4})
    said = run(source, "check")
    assert "since they were registered: the mapping file changed, export.csv changed" in said.stdout
    assert said.exit_code == 0
    assert json.loads(run(source, "check", "--json").stdout)["training"]["records"] == 249  # what studies use


def test_check_without_options_goes_on_where_the_source_is_gone(source: Path) -> None:
    run(source, "add", *with_mapping(source))
    (source / "export.csv").unlink()
    said = run(source, "check")
    assert said.exit_code == 0
    assert "studies use the registered snapshot; a new one cannot be made" in said.stdout
    assert "training: train.npz: 249 records" in said.stdout


def test_add_without_options_registers_what_the_sources_are_now_and_removes_the_old_snapshot(source: Path) -> None:
    run(source, "add", *with_mapping(source))
    (old,) = list_snapshots(source)
    add_rows(source, "late,40,f,no")
    said = run(source, "add")
    assert said.exit_code == 0
    assert "removed 1 snapshot that nobody uses any more" in said.stderr
    (new,) = list_snapshots(source)
    assert new != old
    again = run(source, "add")
    assert (again.exit_code, list_snapshots(source)) == (0, [new])


def test_mapping_beside_files_is_refused(source: Path) -> None:
    said = run(source, "add", *with_mapping(source), "--train", "x.csv", "--test", "y.csv")
    assert "--mapping makes both files; leave out --train and --test" in str(said.exception)
    assert "name both files (--train and --test), or a mapping" in str(run(source, "add").exception)


def test_health_has_a_line_for_sources_only_with_a_mapping(source: Path) -> None:
    assert read_line(source, "sources") is None
    run(source, "add", *with_mapping(source))
    line = read_line(source, "sources")
    assert line is not None
    assert (line["light"], line["found"][:9]) == ("green", "1 mapped;")
    (source / "export.csv").rename(source / "away.csv")
    line = read_line(source, "sources")
    assert line is not None
    assert line["light"] == "amber"
    assert "export.csv cannot be found; studies use the registered ones" in line["found"]
    (source / "mapping.yaml").unlink()
    line = read_line(source, "sources")
    assert line is not None
    assert (line["light"], "mapping.yaml: cannot be" in line["found"]) == ("amber", True)


def test_snapshots_are_in_no_backup_and_are_made_again_from_the_same_source(source: Path) -> None:
    run(source, "add", *with_mapping(source))
    home = source.parent / "ash"
    (name,) = list_snapshots(source)
    site(home, "backup", str(source.parent / "backup.tar"))
    shutil.rmtree(home)
    said = script("restore", str(source.parent / "backup.tar"), str(home))
    assert "snapshots of data are in no backup: make 1 of them again: consilium-site data add" in said.stderr
    assert list((home / "data").iterdir()) == []
    line = read_line(source, "data")
    assert line is not None
    assert line["light"] == "red"
    with SiteFolder(home).open_ledger() as ledger:
        head = ledger.head
    assert run(source, "add").exit_code == 0
    assert list_snapshots(source) == [name]
    with SiteFolder(home).open_ledger() as ledger:
        assert ledger.head == head  # the same data: nothing to record
    line = read_line(source, "data")
    assert line is not None
    assert line["light"] == "green"


def test_contract_that_changed_is_converted_anew_by_the_registered_mapping(source: Path) -> None:
    run(source, "add", *with_mapping(source))
    study = source / "study.yaml"
    study.write_text(study.read_text().replace("high: 80.0", "high: 90.0"))
    said = run(source, "check")
    assert "sources: 1 read" in said.stdout
    assert said.exit_code == 0
    assert len(list_snapshots(source)) == 2


def test_source_with_too_few_patients_is_a_mistake_of_the_files(source: Path) -> None:
    write_csv(source / "export.csv", [f"p{number},40,f,no" for number in range(6)])
    said = run(source, "check", *with_mapping(source))
    assert "mistake: training file: expected at least 10 training patients" in said.stdout


def test_database_is_read_again_to_say_whether_it_has_changed(source: Path) -> None:
    rows = [line.split(",") for line in (source / "export.csv").read_text().splitlines()[1:]]
    with closing(sqlite3.connect(source / "clinic.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE patients (id TEXT, age REAL, sex TEXT, ill TEXT)")
        connection.executemany("INSERT INTO patients VALUES (?, ?, ?, ?)", rows)
    write_mapping(source, source={"kind": "sql", "url": "sqlite:///clinic.sqlite", "table": "patients"})
    assert run(source, "add", *with_mapping(source)).exit_code == 0
    (registered,) = list_snapshots(source)
    assert "note: sources: as they were when registered" in run(source, "check").stdout
    assert list_snapshots(source) == [registered]
    with closing(sqlite3.connect(source / "clinic.sqlite")) as connection, connection:
        connection.execute("UPDATE patients SET age = 33 WHERE id = 'a1'")
    assert "since they were registered: patients changed; register" in run(source, "check").stdout
    assert run(source, "add").exit_code == 0
    assert registered not in list_snapshots(source)


def test_progress_is_shown_on_one_line_of_a_terminal_and_wiped(source: Path) -> None:
    arguments = ("data", "check", str(source / "study.yaml"), *with_mapping(source))
    shown = at_terminal(source.parent / "ash", "", *arguments)
    assert "\r\x1b[Kexport.csv: 300" in shown
    assert "\r\x1b[Ksources: 1 read" in shown
    assert "export.csv: 300" not in script(*arguments, folder=source.parent / "ash").stderr


STEERING = "\x1b[2J\x1b]0;owned\x07\u202e\x9b31m"


@pytest.mark.parametrize("where", ["header", "word", "file", "sheet"])
def test_names_of_a_file_that_steer_a_terminal_are_shown_and_not_obeyed(source: Path, where: str) -> None:
    export = source / "export.csv"
    header, first, *rest = export.read_text(encoding="utf-8").splitlines()
    if where == "header":
        header = header.replace("age", f"age{STEERING}")
    if where == "word":
        first = first.rpartition(",")[0] + f",{STEERING}"
    export.write_text("\n".join([header, first, *rest]) + "\n", encoding="utf-8")
    if where == "file":
        write_mapping(source, source={"kind": "csv", "path": f"{STEERING.replace('/', '')}.csv"})
    if where == "sheet":
        write_mapping(source, source={"kind": "csv", "path": "export.csv"}, columns={f"age{STEERING}": "age"})
    said = [
        script("--dir", str(source.parent / "ash"), "data", "check", str(source / "study.yaml"), *options)
        for options in (
            with_mapping(source),
            (*with_mapping(source), "--json"),
            ("--train", str(export), "--test", str(export)),
        )
    ]
    page = source / "page.html"
    said.append(
        script(
            "--dir",
            str(source.parent / "ash"),
            "data",
            "show",
            str(source / "study.yaml"),
            *with_mapping(source),
            "--out",
            str(page),
        )
    )
    texts = [each.stdout + each.stderr for each in said] + (
        [page.read_text(encoding="utf-8")] if page.exists() else []
    )
    assert all("Traceback" not in text for text in texts)
    for text in texts:
        assert not [each for each in text if each != "\n" and is_invisible(each)], text
    if where == "file":
        assert "[U+001B][2J" in texts[0]


def test_conversion_is_confined_as_the_sites_own_configuration_says(source: Path) -> None:
    home = SiteFolder(source.parent / "ash")
    assert make_conversion(home) == ConfinedConversion(Confinement.AVAILABLE, home.folder)
    site_yaml = home.folder / "site.yaml"
    config = yaml.safe_load(site_yaml.read_text(encoding="utf-8"))
    config["launcher"] = {"kind": "process", "confinement": "none"}
    site_yaml.write_text(yaml.safe_dump(config), encoding="utf-8")
    assert make_conversion(home) == ConfinedConversion(Confinement.NONE, home.folder)
    assert make_conversion(SiteFolder(source)) == ConfinedConversion()  # 'predict' needs no site
