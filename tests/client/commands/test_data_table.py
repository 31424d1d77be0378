"""``consilium-site data`` with a hospital's own table: warnings are asked about, nothing that is told holds a value."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from client.cli import cli
from client.data.site_data import read_data
from client.site.folder import SiteFolder
from privacy.errors import RefusedError

STUDY = {
    "consilium": 1,
    "name": "ward-deaths",
    "purpose": "Who dies.",
    "model": {"name": "logistic"},
    "data": {
        "name": "ward",
        "patient": "patient",
        "ranges_from": "made up",
        "features": [
            {"kind": "number", "name": "glucose", "low": 0, "high": 30},
            {"kind": "category", "name": "sex", "values": ["f", "m"]},
        ],
        "label": {"name": "died", "positive": ["1"], "negative": ["0"]},
    },
    "training": {"rounds": 8, "local_steps": 4, "sampling_rate": 0.1, "learning_rate": 0.5},
    "privacy": {"epsilon": 3, "delta": 0.001, "clipping_norm": 1.0},
    "cohort": {"minimum": 3, "maximum": 8},
    "secure_aggregation": {"value_range": "auto"},
    "evaluation": {"rounds": [8], "epsilon": "none"},
}
SECRET = "Geheimrat-4711"


@pytest.fixture
def hospital(folder: Path) -> Path:
    """A site, with a study, an export in a dialect and its mapping beside it; glucose is in other units."""
    beside = folder.parent
    (beside / "ward.yaml").write_text(yaml.safe_dump(STUDY))
    with (beside / "export.csv").open("w", encoding="cp1252", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["Nr", "Größe", "Geschlecht", "tot"])
        for number in range(200):
            writer.writerow([f"{number:05}", f"{100 + number},5", "wm"[number % 2], number % 2])
        writer.writerow([SECRET, "100", SECRET, 1])
    mapping = {
        "mapping": 1,
        "contract": "ward",
        "source": {"kind": "csv", "path": "export.csv", "encoding": "cp1252", "decimal": ","},
        "columns": {
            "patient": "Nr",
            "glucose": "Größe",
            "sex": {"from": "Geschlecht", "values": {"w": "f"}},
            "died": "tot",
        },
    }
    (beside / "mapping.yaml").write_text(yaml.safe_dump(mapping, allow_unicode=True), encoding="utf-8")
    return folder


def run(folder: Path, *words: str, answer: str = "") -> Result:
    beside = folder.parent
    command = ["--dir", str(folder), "data", words[0], str(beside / "ward.yaml"), *words[1:]]
    return CliRunner().invoke(cli, command, input=answer)


def test_warning_about_a_source_is_asked_about_before_it_is_registered(hospital: Path) -> None:
    mapping = str(hospital.parent / "mapping.yaml")
    refused = run(hospital, "add", "--mapping", mapping, answer="n\n")
    assert isinstance(refused.exception, RefusedError)
    assert "column 'glucose': 200 of 200 beyond the range, clipped" in refused.stderr
    assert SiteFolder(hospital).load_registry().registrations == {}
    done = run(hospital, "add", "--mapping", mapping, "--despite")
    assert done.exit_code == 0
    (registration,) = SiteFolder(hospital).load_registry().registrations.values()
    patients = len(read_data(registration.contract, Path(registration.train)).ids)
    assert 120 < patients < 200
    assert registration.public_patients == patients // 10 * 10


def test_units_in_the_mapping_mend_what_the_check_has_found(hospital: Path) -> None:
    mapping = hospital.parent / "mapping.yaml"
    value = yaml.safe_load(mapping.read_text(encoding="utf-8"))
    value["columns"]["glucose"] = {"from": "Größe", "unit": "mg/dL", "to_unit": "mmol/L", "molar_mass": 180.156}
    mapping.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
    done = run(hospital, "check", "--mapping", str(mapping))
    assert done.exit_code == 0
    assert "warning" not in done.output
    rows = {
        line.split()[0]: line.split()[1:]
        for line in done.stdout.splitlines()
        if line.startswith(("glucose", "sex"))
    }
    assert rows == {"glucose": ["0", "0", "0"], "sex": ["0", "0", "0"]}
    assert run(hospital, "add", "--mapping", str(mapping)).exit_code == 0
    (registration,) = SiteFolder(hospital).load_registry().registrations.values()
    data = read_data(registration.contract, Path(registration.train))
    of = {name: place for place, name in enumerate(data.ids)}
    features = data.patients.inputs["features"]
    for name in list(of)[:20]:
        expected = (100 + int(name) + 0.5) * 10 / 180.156 / 15 - 1
        assert features[of[name] : of[name] + 1][0][0] == pytest.approx(expected, abs=1e-6)


def test_row_that_is_left_out_is_told_by_its_place_and_nowhere_by_its_words(
    hospital: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mapping = str(hospital.parent / "mapping.yaml")
    shown = run(hospital, "check", "--mapping", mapping)
    document = run(hospital, "check", "--mapping", mapping, "--json")
    report = json.loads(document.stdout)
    (left_out,) = report["conversion"]["quarantined"]
    assert left_out["reason"] == "column 'sex': has a word that is none of 'f', 'm'"
    assert left_out["places"] == [{"source": "export.csv", "row": 202, "column": "Geschlecht"}]
    told = [shown.output, document.output, caplog.text]
    told += [path.read_text() for path in (hospital / "data").rglob("*.csv")]
    told += [path.read_text() for path in (hospital / "data").rglob("*.json")]
    assert not any(SECRET in each for each in told)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (hospital / "data").rglob("*"))
