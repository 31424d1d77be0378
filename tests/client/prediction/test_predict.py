"""A released model is used by somebody who has the release folder and a table, and nothing else."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import save
from safetensors.torch import save as save_tensors

from benchmarks.small_study import small_terms, write_csv
from client.cli import cli
from client.prediction.release_contract import make_contract, name_features
from models.catalogue import find_model
from models.fit import build_module
from privacy.canonical import compute_sha256
from privacy.errors import DataError, ReleaseError
from privacy.study import TableContract, Terms, parse_terms
from tests.client.data.named_arrays import write_arrays

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
    terms = small_terms(task={"kind": "binary", "positive_weight": 5})
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
    assert isinstance(contract, TableContract)
    assert name_features(contract) == ("age", "age is missing", "sex is f", "sex is m", "sex is missing")
    assert len(name_features(contract)) == contract.width


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


def test_release_of_another_version_of_the_model_is_refused(release: Path) -> None:
    """The same weights would give other predictions."""
    contract = release / "contract.json"
    fields = json.loads(contract.read_bytes())
    assert fields["model"]["version"] == find_model("logistic").version
    fields["model"]["version"] += 1
    contract.write_text(json.dumps(fields, separators=(",", ":"), sort_keys=True))
    with pytest.raises(ReleaseError, match=r"cannot build the model: .* 'logistic' is version 1 in this program"):
        predicted(release, ["a,50,f"])


def test_model_that_has_diverged_is_refused(release: Path) -> None:
    model = save({"layers.0.weight": np.full_like(WEIGHTS, np.inf), "layers.0.bias": BIAS})
    (release / "model.safetensors").write_bytes(model)
    (release / "contract.json").write_bytes(
        make_contract("small-1234", small_terms(), compute_sha256(model)).to_bytes()
    )
    with pytest.raises(ReleaseError, match="the model gives no number for 1 records"):
        predicted(release, ["a,50,f"])


# Other labels, other data ----------------------------------------------------------------------------------


def released(folder: Path, terms: Terms, weights: dict[str, Any] | None = None) -> Path:
    """A release folder of a model of ``terms``; without ``weights`` its first, random ones."""
    release = folder / "release"
    release.mkdir()
    torch.manual_seed(0)
    module = build_module(terms.model, terms.data, terms.task)
    model = save(weights) if weights is not None else save_tensors(dict(module.state_dict()))
    (release / "model.safetensors").write_bytes(model)
    (release / "contract.json").write_bytes(make_contract("x-1234", terms, compute_sha256(model)).to_bytes())
    return release


def with_data(contract: dict[str, Any], **changes: Any) -> Terms:
    """The terms of the small study with another contract."""
    value = {**small_terms().model_dump(mode="json"), "data": contract, **changes}
    if "task" not in changes:
        del value["task"]
    return parse_terms(value)


def read_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_prediction_of_classes_has_a_column_for_each_by_its_first_word(tmp_path: Path) -> None:
    label = {"kind": "class", "name": "grade", "classes": [["low", "little"], ["mid"], ["high"]]}
    terms = with_data({**small_terms().data.model_dump(mode="json"), "label": label})
    weights = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    release = released(tmp_path, terms, {"layers.0.weight": weights, "layers.0.bias": np.zeros(3, np.float32)})
    inputs = np.array([[0, 0, 1, 0, 0], [-1, 0, 0, 1, 0], [0, 1, 0, 1, 0], [0.5, 0, 0, 0, 1]])
    scores = np.exp(inputs @ weights.T)
    rows = read_rows(predicted(release, ROWS))
    assert list(rows[0]) == ["id", "class", "probabilities low", "probabilities mid", "probabilities high"]
    for row, expected in zip(rows, scores / scores.sum(axis=1, keepdims=True), strict=True):
        found = [float(row[f"probabilities {word}"]) for word in ("low", "mid", "high")]
        assert found == pytest.approx(expected.tolist(), abs=1e-5)
        assert row["class"] == ("low", "mid", "high")[int(expected.argmax())]


def test_prediction_of_a_number_is_in_its_own_unit(tmp_path: Path) -> None:
    label = {"kind": "number", "name": "score", "low": 100, "high": 300}
    terms = with_data({**small_terms().data.model_dump(mode="json"), "label": label})
    weights = {"layers.0.weight": np.zeros((1, 5), np.float32), "layers.0.bias": np.array([0.25], np.float32)}
    assert [row["value"] for row in read_rows(predicted(released(tmp_path, terms, weights), ROWS))] == [
        "150.000000"
    ] * 4


SPECTRA = {
    "kind": "arrays", "name": "spectra", "patient": "who", "ranges_from": "invented",
    "inputs": [{"type": "number", "name": "spectrum", "shape": [5], "low": 0, "high": 4, "scaled": "signed"}],
    "targets": [{"type": "id", "name": "label", "values": 2}],
}  # fmt: skip


def predicted_arrays(release: Path, *options: str, **arrays: Any) -> str:
    path = write_arrays(release.parent / "new.npz", **arrays)
    done = CliRunner().invoke(cli, ["predict", str(release), str(path), *options], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_prediction_of_arrays_is_what_the_weights_say_without_a_label(tmp_path: Path) -> None:
    terms = with_data(SPECTRA, task={"kind": "binary"})
    weights = {"layers.0.weight": WEIGHTS, "layers.0.bias": BIAS}
    spectrum = np.random.default_rng(0).uniform(0, 5, (7, 5))
    release = released(tmp_path, terms, weights)
    rows = read_rows(predicted_arrays(release, spectrum=spectrum, who=np.arange(7) // 2))
    expected = 1 / (1 + np.exp(-((np.clip(spectrum, 0, 4) / 2 - 1) @ WEIGHTS[0] + BIAS[0])))
    assert [row["who"] for row in rows] == ["0", "0", "1", "1", "2", "2", "3"]
    assert [float(row["probability"]) for row in rows] == pytest.approx(expected.tolist(), abs=1e-5)
    assert [row["class"] for row in rows] == [str(int(each >= 0.5)) for each in expected]
    assert json.loads((release / "contract.json").read_bytes())["model"]["inputs"] == {"features": "spectrum"}


def test_prediction_of_arrays_that_break_the_contract_names_record_and_value_at_the_terminal_only(
    tmp_path: Path,
) -> None:
    release = released(tmp_path, with_data(SPECTRA, task={"kind": "binary"}))
    spectrum = np.ones((3, 5))
    spectrum[1, 4] = np.nan
    path = write_arrays(tmp_path / "new.npz", spectrum=spectrum, who=np.arange(3))
    done = CliRunner().invoke(cli, ["predict", str(release), str(path)])
    assert "    record 1: 'nan'" in done.stderr
    assert isinstance(done.exception, DataError)
    assert "array 'spectrum': 1 values in 1 records are no finite number" in str(done.exception)


def test_prediction_of_masks_is_a_file_of_arrays(tmp_path: Path) -> None:
    contract = {
        **SPECTRA,
        "inputs": [{"type": "number", "name": "image", "shape": [1, 16, 16], "low": 0, "high": 255}],
        "targets": [{"type": "flag", "name": "mask", "shape": [16, 16]}],
    }
    terms = with_data(
        contract, task={"kind": "segmentation"}, model={"name": "unet", "options": {"preset": "small"}}
    )
    release = released(tmp_path, terms)
    image = np.random.default_rng(0).integers(0, 256, (5, 1, 16, 16), dtype=np.uint8)
    out = tmp_path / "masks.npz"
    with pytest.raises(ReleaseError, match=r"of shape \(16, 16\) for each record, .* name a file of arrays: --out"):
        predicted_arrays(release, image=image, who=np.arange(5))
    assert predicted_arrays(release, "--out", str(out), image=image, who=np.arange(5)) == ""
    masks = np.load(out, allow_pickle=False)
    torch.manual_seed(0)
    module = build_module(terms.model, terms.data, terms.task).eval()
    with torch.no_grad():
        expected = torch.sigmoid(module({"image": torch.from_numpy(image / np.float32(255))})).numpy()
    np.testing.assert_allclose(masks["probability"], expected, atol=1e-5)
    np.testing.assert_array_equal(masks["class"], expected >= 0.5)
    assert masks["patient"].tolist() == ["0", "1", "2", "3", "4"]
