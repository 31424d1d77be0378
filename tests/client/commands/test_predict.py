"""``consilium-site predict`` with labels, a calibration and figures; what makes no sense is refused."""

import csv
import json
import stat
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sklearn import metrics

from benchmarks.small_study import write_csv, write_patients
from client.cli import cli
from privacy.errors import ReleaseError
from tests.client.prediction.released import release_of_catalogue, release_table


def predict(*options: str | Path) -> Result:
    return CliRunner().invoke(cli, ["predict", *map(str, options)])


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return release_table(tmp_path)[0]


def test_figures_are_those_of_scikit_learn_and_predictions_are_private(release: Path, tmp_path: Path) -> None:
    table, out = write_patients(tmp_path / "own.csv", 50, "a", seed=3), tmp_path / "scores.csv"
    done = predict(release, table, "--figures", "--out", out)
    assert done.exit_code == 0, done.stderr
    scores = [float(row["probability"]) for row in csv.DictReader(out.read_text().splitlines())]
    labels = [row["ill"] == "yes" for row in csv.DictReader(table.read_text().splitlines())]
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("AUROC"))
    assert row.split()[1] == f"{metrics.roc_auc_score(labels, scores):.3f}"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_calibration_is_fitted_kept_and_applied_beside_the_models_own_scores(release: Path, tmp_path: Path) -> None:
    own, new = (
        write_patients(tmp_path / "own.csv", 80, "a", seed=3),
        write_csv(tmp_path / "fresh.csv", ["a,50,f", "b,20,m"], header="id,age,sex"),
    )
    kept = tmp_path / "calibration.json"
    done = predict(release, "--calibrate", own, "--calibration", kept)
    assert done.exit_code == 0, done.stderr
    assert "calibrated on 80 patients: mean log loss" in done.stderr
    (line,) = json.loads(kept.read_bytes())["lines"]
    rows = list(csv.DictReader(predict(release, new, "--calibration", kept).stdout.splitlines()))
    assert list(rows[0]) == ["id", "probability", "calibrated", "class"]
    for row in rows:
        odds = float(row["probability"])
        logit = line["slope"] * np.log(odds / (1 - odds)) + line["intercept"]
        assert float(row["calibrated"]) == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


def test_figures_on_the_patients_of_the_calibration_come_with_a_warning(release: Path, tmp_path: Path) -> None:
    own, kept = write_patients(tmp_path / "own.csv", 80, "a", seed=3), tmp_path / "calibration.json"
    done = predict(
        release, own, "--calibrate", own, "--calibration", kept, "--figures", "--out", tmp_path / "o.csv"
    )
    assert "warning: the calibration was fitted to this file" in done.stderr
    assert "Brier score, calibrated" in done.stdout


def test_calibration_of_several_classes_has_a_column_for_each(tmp_path: Path) -> None:
    release, data, _ = release_of_catalogue(tmp_path, "logistic", "multiclass", patients=120)
    done = predict(release, data, "--calibrate", data, "--calibration", tmp_path / "c.json")
    assert done.exit_code == 0, done.stderr
    (first, *_) = csv.DictReader(done.stdout.splitlines())
    assert sum(float(first[f"calibrated {place}"]) for place in range(3)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "name the file of the records"),
        (["new.csv", "--figures"], "needs DATA with labels, and --out"),
        (["--calibrate", "new.csv"], "--calibrate needs the new file to write"),
        (["new.csv", "--watch", "."], "--watch FOLDER takes its data from the folder"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(options: list[str], sentence: str, release: Path) -> None:
    done = predict(release, *options)
    assert done.exit_code == 2
    assert sentence in done.stderr


def test_model_without_probabilities_is_not_calibrated(tmp_path: Path) -> None:
    release, data, _ = release_of_catalogue(tmp_path, "logistic", "regression", patients=12)
    done = predict(release, "--calibrate", data, "--calibration", tmp_path / "c.json")
    assert isinstance(done.exception, ReleaseError)
    assert not (tmp_path / "c.json").exists()
