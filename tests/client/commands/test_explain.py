"""``consilium-site explain``: rows, arrays and pictures of a patient, and the average of all of them."""

import csv
import stat
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from client.cli import cli
from privacy.errors import DataError, ReleaseError
from tests.client.prediction.released import release_of_catalogue, release_table

PNG = b"\x89PNG\r\n\x1a\n"


def explain(*options: str | Path) -> Result:
    return CliRunner().invoke(cli, ["explain", *map(str, options)])


def test_patient_of_a_table_is_explained_by_columns_and_their_words(tmp_path: Path) -> None:
    release, table = release_table(tmp_path)
    out = tmp_path / "why.csv"
    done = explain(release, table, "--patient", " p4 ", "--out", out)
    assert done.exit_code == 0, done.stderr
    rows = {row["input"]: row for row in csv.DictReader(out.read_text().splitlines())}
    assert rows["age"]["value"] == "65"
    assert float(rows["age"]["attribution"]) == pytest.approx(1.0)
    assert rows["sex"]["value"] == "f"
    assert float(rows["sex"]["attribution"]) == pytest.approx(-1.0)
    assert "record 3: logit of a positive label 0.1250; of the baseline 0.1250" in done.stderr
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_missing_value_is_explained_as_missing(tmp_path: Path) -> None:
    release, table = release_table(tmp_path)
    lines = explain(release, table, "--patient", "p3").stdout.splitlines()
    (age,) = (line.split() for line in lines if " age " in line)
    assert age[2:4] == ["missing", "0.5"]


def test_summary_is_the_mean_over_patients_of_the_mean_over_their_records(tmp_path: Path) -> None:
    release, table = release_table(tmp_path)
    out = tmp_path / "all.csv"
    assert explain(release, table, "--summary", "--out", out).exit_code == 0
    rows = {row["input"]: row for row in csv.DictReader(out.read_text().splitlines())}
    age = np.array([0.0, -2.0, 0.5, 1.0])  # of p1 to p4: twice the scaled age, and 0.5 where it is missing
    assert float(rows["age"]["mean size"]) == pytest.approx(np.abs(age).mean(), abs=1e-5)
    assert float(rows["age"]["mean"]) == pytest.approx(age.mean(), abs=1e-5)


@pytest.mark.parametrize("name", ["logistic", "retain", "attentive-chrome", "chest-xray-cnn", "unet", "gru-d"])
def test_picture_and_arrays_of_a_record_are_written(name: str, tmp_path: Path) -> None:
    release, data, contract = release_of_catalogue(tmp_path, name, patients=2, short=True)
    with np.load(data) as arrays:
        patient = str(arrays[contract.data.patient][0])
    picture, kept = tmp_path / "why.png", tmp_path / "why.npz"
    done = explain(release, data, "--patient", patient, "--out", picture)
    assert done.exit_code == 0, (done.stderr, done.exception)
    assert picture.read_bytes().startswith(PNG)
    assert explain(release, data, "--patient", patient, "--out", kept).exit_code == 0
    with np.load(kept, allow_pickle=False) as arrays:
        assert len(arrays["value"]) == 1


def test_summary_of_a_table_is_a_picture(tmp_path: Path) -> None:
    release, table = release_table(tmp_path)
    assert explain(release, table, "--summary", "--out", tmp_path / "all.png").exit_code == 0
    assert (tmp_path / "all.png").read_bytes().startswith(PNG)


def test_unknown_patient_is_refused_without_the_identifier(tmp_path: Path) -> None:
    release, table = release_table(tmp_path)
    done = explain(release, table, "--patient", "nobody-77")
    assert isinstance(done.exception, DataError)
    assert "nobody-77" not in str(done.exception)


@pytest.mark.parametrize(
    "options",
    [[], ["--patient", "p1", "--summary"], ["--patient", "p1", "--out", "x.txt"], ["--summary", "--out", "x.npz"]],
)
def test_options_that_make_no_sense_are_refused(options: list[str], tmp_path: Path) -> None:
    release, table = release_table(tmp_path)
    assert explain(release, table, *options).exit_code == 2


def test_class_that_a_binary_model_does_not_have_is_refused(tmp_path: Path) -> None:
    release, table = release_table(tmp_path)
    done = explain(release, table, "--patient", "p1", "--of", "1")
    assert isinstance(done.exception, ReleaseError)
    assert "the model gives one number of a record; leave out --of" in str(done.exception)


@pytest.mark.parametrize("suffix", ["csv", "npz", "png"])
def test_motif_of_a_class_is_written_without_data(suffix: str, tmp_path: Path) -> None:
    release, _, _ = release_of_catalogue(tmp_path, "deep-motif", "binary", patients=2)
    out = tmp_path / f"motif.{suffix}"
    done = explain(release, "--method", "motif", "--out", out)
    assert done.exit_code == 0, (done.stderr, done.exception)
    assert "logit of a positive label: letters that it grows with most" in done.stderr
    if suffix == "csv":
        rows = list(csv.DictReader(out.read_text().splitlines()))
        assert len(rows) == 4 * 24
        assert sum(float(row["share"]) for row in rows) == pytest.approx(24, abs=1e-3)
    elif suffix == "npz":
        with np.load(out, allow_pickle=False) as arrays:
            assert arrays["share"].shape == (4, 24)
    else:
        assert out.read_bytes().startswith(PNG)


def test_saliency_of_letters_is_shown_for_a_patient_and_for_all(tmp_path: Path) -> None:
    release, data, contract = release_of_catalogue(tmp_path, "deep-motif", "binary", patients=2)
    with np.load(data) as arrays:
        patient = str(arrays[contract.data.patient][0])
    done = explain(release, data, "--method", "saliency", "--patient", patient)
    assert done.exit_code == 0, (done.stderr, done.exception)
    assert "saliency" in done.stdout
    assert explain(release, data, "--method", "saliency", "--summary").exit_code == 0


@pytest.mark.parametrize(
    "options",
    [
        ["--method", "motif", "--summary"],
        ["--method", "temporal", "--summary"],
        ["--method", "max-entropy", "--gc", "1"],
    ],
)
def test_methods_of_letters_with_options_that_make_no_sense_are_refused(options: list[str], tmp_path: Path) -> None:
    release, table = release_table(tmp_path)
    assert explain(release, *([] if "motif" in options else [table]), *options).exit_code == 2
