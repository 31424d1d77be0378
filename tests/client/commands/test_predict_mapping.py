"""``consilium-site predict --mapping``: the hospital's own data, without a file that keeps the contract."""

import csv
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks.small_study import small_terms, write_csv, write_patients
from client.cli import cli
from privacy.files import hold_lock
from tests.client.data.conversion.small_source import write_mapping
from tests.client.prediction.released import release_first_values

COLUMNS = {"id": "Nr", "age": "Alter", "sex": {"from": "Geschlecht", "values": {"w": "f"}}}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release of the small study; beside it ``new.csv``, and the same patients in the hospital's own words."""
    rows = write_patients(tmp_path / "new.csv", 40, "a", seed=5).read_text().splitlines()[1:]
    cells = [row.split(",") for row in rows]
    own = [
        f"{number};{age.replace('.', ',')};{'w' if sex == 'f' else sex};{ill}" for number, age, sex, ill in cells
    ]
    write_csv(tmp_path / "export.csv", own, header="Nr;Alter;Geschlecht;ill")
    write_own_mapping(tmp_path)
    return release_first_values(tmp_path, small_terms())


def write_own_mapping(folder: Path, **changes: object) -> Path:
    source = {"kind": "csv", "path": "export.csv", "delimiter": ";", "decimal": ","}
    return write_mapping(folder, source=source, columns=COLUMNS, **changes)


def predict(release: Path, *options: str) -> Result:
    """What the command says; expected failures are in its result."""
    return CliRunner().invoke(cli, ["predict", str(release), *options])


def test_prediction_by_a_mapping_is_that_of_the_same_patients_in_a_file(release: Path, tmp_path: Path) -> None:
    mapped = predict(release, "--mapping", str(tmp_path / "mapping.yaml"))
    plain = predict(release, str(tmp_path / "new.csv"))
    assert mapped.exit_code == 0
    assert mapped.stdout == plain.stdout
    assert len(list(csv.DictReader(mapped.stdout.splitlines()))) == 40


def test_prediction_by_a_mapping_needs_neither_labels_nor_the_column_of_the_split(
    release: Path, tmp_path: Path
) -> None:
    rows = [row.rsplit(";", 1)[0] for row in (tmp_path / "export.csv").read_text().splitlines()]
    write_csv(tmp_path / "export.csv", rows[1:], header=rows[0])
    split = {"by": "column", "name": "fold", "training": ["a"], "test": ["b"]}
    write_own_mapping(tmp_path, split=split)
    assert predict(release, "--mapping", str(tmp_path / "mapping.yaml")).exit_code == 0


def test_prediction_by_a_mapping_says_what_it_leaves_out_and_leaves_nothing_behind(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    rows = (tmp_path / "export.csv").read_text().splitlines()
    rows[3] = rows[3].replace(";m;", ";x;").replace(";w;", ";x;")
    write_csv(tmp_path / "export.csv", rows[1:], header=rows[0])
    said = predict(release, "--mapping", str(tmp_path / "mapping.yaml"))
    assert "left out: 1: column 'sex': has a word" in said.stderr
    assert "export.csv, row 4, column Geschlecht" in said.stderr
    assert len(said.stdout.splitlines()) == 40
    assert list((tmp_path / "temporary").iterdir()) == []


def test_figures_by_a_mapping_are_those_of_the_file(release: Path, tmp_path: Path) -> None:
    mapped = predict(
        release, "--mapping", str(tmp_path / "mapping.yaml"), "--figures", "--out", str(tmp_path / "1.csv")
    )
    plain = predict(release, str(tmp_path / "new.csv"), "--figures", "--out", str(tmp_path / "2.csv"))
    assert mapped.stdout == plain.stdout
    assert "AUROC" in mapped.stdout or "auroc" in mapped.stdout.lower()


def test_mapping_beside_data_is_refused(release: Path, tmp_path: Path) -> None:
    said = predict(release, str(tmp_path / "new.csv"), "--mapping", str(tmp_path / "mapping.yaml"))
    assert (said.exit_code, "leave out DATA and --watch" in said.output) == (2, True)


def test_records_that_a_killed_prediction_has_left_are_removed_by_the_next(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    names = ("consilium-records-left", "consilium-records-held", "consilium-records-new", "another")
    for name in names:
        (tmp_path / "temporary" / name).mkdir(parents=True)
        (tmp_path / "temporary" / name / "train.npz").write_bytes(b"records")
        if name != "consilium-records-new":
            os.utime(tmp_path / "temporary" / name, (0, 0))
    with hold_lock(tmp_path / "temporary" / "consilium-records-held" / ".lock"):
        os.utime(tmp_path / "temporary" / "consilium-records-held", (0, 0))
        assert predict(release, "--mapping", str(tmp_path / "mapping.yaml")).exit_code == 0
    assert sorted(each.name for each in (tmp_path / "temporary").iterdir()) == sorted(names[1:])
