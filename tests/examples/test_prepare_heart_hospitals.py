"""Four hospitals, each with its data in another form, give the records that plain CSV files of the collection give."""

import csv
import importlib.util
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from client.data.conversion.kept_snapshots import Snapshot, make_snapshot
from client.data.site_data import read_data
from models.tasks.registry import make_task
from privacy.study import Terms, parse_terms, read_terms
from tests.postgresql import PASSWORD, start_postgresql
from tests.protocol.invariants import require_finished
from tests.simulator import Simulator

HOSPITALS = {"cleveland": 303, "budapest": 294, "zurich": 123, "long-beach": 200}
SCRIPT = Path("examples") / "tabular" / "prepare_heart_hospitals.py"


@pytest.fixture(scope="module")
def source(repository: Path) -> Path:
    folder = repository.parent / "shared" / "data" / "heart"
    if not folder.is_dir():
        pytest.skip("shared/data/heart is not here")
    return folder


@pytest.fixture(scope="module")
def hospitals(repository: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("heart")
    subprocess.run([sys.executable, repository / SCRIPT, source, target], check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def terms(repository: Path) -> Terms:
    return read_terms(repository / "examples" / "tabular" / "logistic.yaml")


def load_script(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare_heart_hospitals", repository / SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def collect(terms: Terms, *files: Path) -> dict[str, tuple[Any, int]]:
    """The features and the label of each patient."""
    found = dict[str, tuple[Any, int]]()
    for path in files:
        data = read_data(terms.data, path)
        for place, name in enumerate(data.ids):
            row = np.flatnonzero(data.patients.patient == place)
            assert len(row) == 1
            features = data.patients.inputs["features"][row][0]
            found[name] = (features.tolist(), int(data.patients.targets["label"][row][0]))
    return found


def write_plain(repository: Path, source: Path, hospital: str, path: Path) -> Path:
    """The collection's own file with a column of patients, as a table that keeps the contract."""
    script = load_script(repository)
    rows = script.read_patients(source / script.HOSPITALS[hospital], hospital)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def convert(terms: Terms, folder: Path, target: Path) -> Snapshot:
    return make_snapshot(terms.data, folder / "mapping.yaml", target, 0.0)


@pytest.mark.parametrize("hospital", HOSPITALS)
def test_hospital_in_its_own_form_gives_exactly_the_records_of_a_plain_file(
    repository: Path, source: Path, hospitals: Path, terms: Terms, tmp_path: Path, hospital: str
) -> None:
    snapshot = convert(terms, hospitals / hospital, tmp_path / "data")
    assert snapshot.report.quarantined == ()
    found = collect(terms, snapshot.train, snapshot.test)
    assert len(found) == HOSPITALS[hospital]
    assert found == collect(terms, write_plain(repository, source, hospital, tmp_path / "plain.csv"))


def test_budapest_in_postgresql_gives_exactly_its_records(
    repository: Path,
    source: Path,
    hospitals: Path,
    terms: Terms,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = sqlite3.connect(hospitals / "budapest" / "clinic.sqlite")
    script = "\n".join(database.iterdump()).replace("BEGIN TRANSACTION;", "").replace("COMMIT;", "")
    database.close()
    # tables come by their names, and the values are written as numbers
    script = script.replace("REFERENCES person", "").replace("BOOLEAN", "REAL")
    for column in ("sugar", "angina", "narrowed"):
        script += f"\nALTER TABLE examination ALTER COLUMN {column} TYPE boolean USING {column} = 1;"
    with start_postgresql() as server:
        server.run(script)
        mapping = yaml.safe_load((hospitals / "budapest" / "mapping.yaml").read_text())
        mapping["source"] |= {"url": server.url, "password_env": "CLINIC_PASSWORD"}
        (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(mapping))
        monkeypatch.setenv("CLINIC_PASSWORD", PASSWORD)
        snapshot = convert(terms, tmp_path, tmp_path / "data")
    found = collect(terms, snapshot.train, snapshot.test)
    assert found == collect(terms, write_plain(repository, source, "budapest", tmp_path / "plain.csv"))


def test_four_forms_learn_together(hospitals: Path, terms: Terms, tmp_path: Path) -> None:
    """As with plain files (``test_heart_example_learns_at_epsilon_3``), but for four rounds of ten."""
    short: dict[str, dict[str, Any]] = {"training": {"rounds": 4}, "evaluation": {"rounds": [4]}}
    value = terms.model_dump(mode="json")
    terms = parse_terms({**value, **{part: {**value[part], **changed} for part, changed in short.items()}})
    names = tuple(HOSPITALS)

    def write_files(folder: Path, name: str, _: int) -> tuple[Path, Path]:
        shutil.copytree(hospitals / name, folder / "own")
        snapshot = convert(terms, folder / "own", folder / "data")
        return snapshot.train, snapshot.test

    simulator = Simulator(tmp_path / "wood", terms, names, write_files)
    try:
        simulator.launch()
        simulator.run()
        require_finished(simulator)
        totals = simulator.conductor.machine.evaluations[terms.training.rounds]
    finally:
        simulator.close()
    figures = make_task(terms.task, terms.data).compute_figures(list(totals), terms.evaluation.bins)
    assert figures["auroc"] is not None
    assert figures["auroc"] > 0.7
