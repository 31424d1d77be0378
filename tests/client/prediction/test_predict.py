"""A released model is used by somebody who has the release folder and a table, and nothing else."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save

from benchmarks.small_study import small_terms, write_csv
from client.cli import cli
from client.prediction.release_contract import make_contract, name_inputs
from privacy.canonical import compute_sha256
from privacy.errors import DataError, ReleaseError

WEIGHTS = np.array(
    [[2.0, 0.5, -1.0, 1.0, 0.25]], dtype=np.float32
)  # age, age is missing, sex is f, is m, is missing
BIAS = np.array([0.125], dtype=np.float32)
ROWS = ["a,50,f", "b,20,m", " c ,?,m", "a,65,?"]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release folder of a logistic regression with known weights."""
    folder = tmp_path / "release"
    folder.mkdir()
    model = save({"layers.0.weight": WEIGHTS, "layers.0.bias": BIAS})
    (folder / "model.safetensors").write_bytes(model)
    (folder / "contract.json").write_bytes(
        make_contract("small-1234", small_terms(), compute_sha256(model)).to_bytes()
    )
    return folder


def test_prediction_of_a_model_whose_scores_are_no_probabilities_says_so(release: Path) -> None:
    terms = small_terms(training={"positive_weight": 5})
    digest = compute_sha256((release / "model.safetensors").read_bytes())
    (release / "contract.json").write_bytes(make_contract("small-1234", terms, digest).to_bytes())
    assert "trained with a positive_weight of 5" in predicted(release, ["a,50,f"], "--out", str(release / "p.csv"))


def predicted(release: Path, rows: list[str], *options: str) -> str:
    table = write_csv(release.parent / "new.csv", rows, header="id,age,sex")
    done = CliRunner().invoke(cli, ["predict", str(release), str(table), *options], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout + done.stderr if "--out" in options else done.stdout


def test_inputs_are_named_in_the_order_of_the_numbers() -> None:
    contract = small_terms().data
    assert name_inputs(contract) == ("age", "age is missing", "sex is f", "sex is m", "sex is missing")
    assert len(name_inputs(contract)) == contract.inputs


def test_prediction_is_what_the_weights_say_row_by_row(release: Path) -> None:
    inputs = np.array([[0, 0, 1, 0, 0], [-1, 0, 0, 1, 0], [0, 1, 0, 1, 0], [0.5, 0, 0, 0, 1]])
    expected = 1 / (1 + np.exp(-(inputs @ WEIGHTS[0] + BIAS[0])))
    rows = list(csv.DictReader(io.StringIO(predicted(release, ROWS))))
    assert [row["id"] for row in rows] == ["a", "b", "c", "a"]
    assert [float(row["probability"]) for row in rows] == pytest.approx(expected.tolist(), abs=1e-6)
    assert [row["class"] for row in rows] == ["yes" if each >= 0.5 else "no" for each in expected]


def test_prediction_says_what_was_missing_and_clipped_and_that_it_is_research(release: Path) -> None:
    table = write_csv(release.parent / "new.csv", ["a,900,f", "b,?,m", "c,50,f"], header="id,age,sex")
    out = release.parent / "predictions.csv"
    done = CliRunner().invoke(cli, ["predict", str(release), str(table), "--out", str(out)])
    assert "column 'age': 1 of 3 missing, 1 clipped to the range" in done.stderr
    assert (
        "class at the threshold 0.5 (fixed before training; no patient was looked at to choose it)" in done.stderr
    )
    assert "Research output: not a medical device" in done.stderr
    assert done.stdout == ""
    assert out.read_text().splitlines()[0] == "id,probability,class"
    with pytest.raises(ReleaseError, match="cannot be written: File exists; name a new file"):
        predicted(release, ["a,50,f"], "--out", str(out))


def test_prediction_on_a_table_that_breaks_the_contract_names_line_and_word_at_the_terminal_only(
    release: Path,
) -> None:
    table = write_csv(release.parent / "new.csv", ["a,50,f", "b,NA,x"], header="id,age,sex")
    done = CliRunner().invoke(cli, ["predict", str(release), str(table)])
    assert "    line 3: 'NA'" in done.stderr
    assert "the contract knows 'f', 'm'" in done.stderr
    assert done.stdout == ""
    assert isinstance(done.exception, DataError)
    assert "column 'age': 1 rows are not a number" in str(done.exception)
    assert "NA" not in str(done.exception)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            "no folder",
            r"contract\.json: cannot be read: No such file or directory; name a folder that a study released",
        ),
        ("no JSON", "not a release's contract"),
        ("another version", "contract"),
        ("no model", r"model\.safetensors: cannot be read"),
        ("another model", r"model\.safetensors: expected the file of SHA-256"),
        ("other weights", "not the weights of a 'logistic'"),
    ],
)
def test_release_that_was_touched_is_refused(release: Path, damage: str, sentence: str) -> None:
    contract, model = release / "contract.json", release / "model.safetensors"
    if damage == "no folder":
        contract.unlink()
    elif damage == "no JSON":
        contract.write_text("{")
    elif damage == "another version":
        contract.write_text(json.dumps({**json.loads(contract.read_bytes()), "contract": 2}))
    elif damage == "no model":
        model.unlink()
    elif damage == "another model":
        model.write_bytes(model.read_bytes() + b" ")
    else:
        other = save({"layers.0.weight": WEIGHTS[:, :4], "layers.0.bias": BIAS})
        model.write_bytes(other)
        contract.write_bytes(make_contract("small-1234", small_terms(), compute_sha256(other)).to_bytes())
    with pytest.raises(ReleaseError, match=sentence):
        predicted(release, ["a,50,f"])


def test_model_that_has_diverged_is_refused(release: Path) -> None:
    model = save({"layers.0.weight": np.full_like(WEIGHTS, np.inf), "layers.0.bias": BIAS})
    (release / "model.safetensors").write_bytes(model)
    (release / "contract.json").write_bytes(
        make_contract("small-1234", small_terms(), compute_sha256(model)).to_bytes()
    )
    with pytest.raises(ReleaseError, match="the model gives no number for 1 records"):
        predicted(release, ["a,50,f"])
