"""``explain`` and ``report`` with ``--mapping``: the hospital's own data, without a file that keeps the contract."""

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from benchmarks.small_study import small_terms, write_csv, write_patients, write_study
from client.cli import cli
from client.site.folder import SiteFolder
from privacy.errors import DataError
from tests.client.data.conversion.small_source import write_mapping
from tests.client.prediction.released import release_first_values

COLUMNS = {"id": "Nr", "age": "Alter", "sex": {"from": "Geschlecht", "values": {"w": "f"}}}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release of the small study; beside it ``new.csv``, and the same patients in the hospital's own words."""
    rows = write_patients(tmp_path / "new.csv", 60, "a", seed=5).read_text().splitlines()[1:]
    cells = [row.split(",") for row in rows]
    own = [f"{number};{age};{'w' if sex == 'f' else sex};{ill}" for number, age, sex, ill in cells]
    write_csv(tmp_path / "export.csv", own, header="Nr;Alter;Geschlecht;ill")
    write_mapping(tmp_path, source={"kind": "csv", "path": "export.csv", "delimiter": ";"}, columns=COLUMNS)
    return release_first_values(tmp_path, small_terms())


def run(tmp_path: Path, *words: str | Path) -> Result:
    """What the command says; expected failures are in its result."""
    return CliRunner().invoke(cli, ["--dir", str(tmp_path / "ash"), *map(str, words)])


def test_explanation_by_a_mapping_is_that_of_the_same_patient_in_a_file(release: Path, tmp_path: Path) -> None:
    patient = next(csv.DictReader((tmp_path / "new.csv").read_text().splitlines()))["id"]
    mapped = run(tmp_path, "explain", release, "--mapping", tmp_path / "mapping.yaml", "--patient", patient)
    plain = run(tmp_path, "explain", release, tmp_path / "new.csv", "--patient", patient)
    assert (mapped.exit_code, mapped.stdout) == (0, plain.stdout)
    assert "age" in mapped.stdout


@pytest.mark.parametrize("command", ["explain", "report"])
def test_mapping_beside_data_is_refused(command: str, release: Path, tmp_path: Path) -> None:
    rest = ("--summary",) if command == "explain" else ("--out", tmp_path / "p.html")
    said = run(tmp_path, command, release, tmp_path / "new.csv", "--mapping", tmp_path / "mapping.yaml", *rest)
    assert (said.exit_code, "mapping" in said.output) == (2, True)


def test_explanation_of_nothing_is_refused(release: Path, tmp_path: Path) -> None:
    said = run(tmp_path, "explain", release, "--summary")
    assert (said.exit_code, "name DATA, a file of the contract, or --mapping" in said.output) == (2, True)


def test_page_by_a_mapping_is_that_of_the_same_patients_in_a_file(release: Path, tmp_path: Path) -> None:
    pages = tmp_path / "mapped.html", tmp_path / "plain.html"
    mapped = run(tmp_path, "report", release, "--mapping", tmp_path / "mapping.yaml", "--out", pages[0])
    plain = run(tmp_path, "report", release, tmp_path / "new.csv", "--out", pages[1])
    assert (mapped.exit_code, plain.exit_code) == (0, 0)
    assert pages[0].read_text() == pages[1].read_text()
    assert "sex: f" in pages[0].read_text()


def test_patients_whom_the_site_trained_on_are_left_out_of_the_page(release: Path, tmp_path: Path) -> None:
    SiteFolder.create(tmp_path / "ash", "ash")
    write_study(tmp_path / "study.yaml", small_terms())
    mapping = ("--mapping", tmp_path / "mapping.yaml")
    added = run(tmp_path, "data", "add", tmp_path / "study.yaml", *mapping)
    assert added.exit_code == 0, added.output
    (registered,) = SiteFolder(tmp_path / "ash").load_registry().registrations.values()
    with np.load(registered.train) as train:
        trained = len(set(train["id"].tolist()))
    assert 0 < trained < 60
    said = run(tmp_path, "report", release, *mapping, "--out", tmp_path / "p.html")
    assert f"{trained} patients are left out: the model was trained on them here" in said.stderr
    assert f"on {60 - trained} patients" in said.stderr
    kept = [row for row in (tmp_path / "export.csv").read_text().splitlines()[1:] if row]
    with np.load(registered.train) as train:
        names = {name.decode() for name in train["id"].tolist()}
    own = [row for row in kept if row.split(";")[0] in names]
    write_csv(tmp_path / "export.csv", own, header="Nr;Alter;Geschlecht;ill")
    said = run(tmp_path, "report", release, *mapping, "--out", tmp_path / "q.html")
    assert isinstance(said.exception, DataError)
    assert "no patient is left: all of them object or were trained on" in str(said.exception)
