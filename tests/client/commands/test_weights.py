"""``consilium-site weights``, and what an approval says of weights that are not here."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from benchmarks.small_study import small_terms, write_study
from privacy.canonical import compute_sha256
from privacy.errors import RefusedError, SiteConfigError, TermsError
from tests.client.commands.terminal import site, with_data

DATA = save({"layers.0.weight": np.zeros((1, 5), dtype=np.float32), "layers.0.bias": np.zeros(1, np.float32)})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "public.safetensors"
    path.write_bytes(DATA)
    return path


def test_weights_are_added_and_listed(folder: Path, file: Path) -> None:
    assert site(folder, "weights", "add", str(file)).stdout == f"{compute_sha256(DATA)}\n"
    listed = site(folder, "weights", "list").stdout.split()
    assert listed == ["SHA-256", "bytes", compute_sha256(DATA), str(len(DATA))]
    found = json.loads(site(folder, "weights", "list", "--json").stdout)
    assert found == {"weights": [{"sha256": compute_sha256(DATA), "bytes": len(DATA)}]}


def test_weights_for_a_study_are_added_if_they_are_its_own_and_fit(folder: Path, file: Path) -> None:
    study = write_study(folder.parent / "started.yaml", small_terms(model={"start": compute_sha256(DATA)}))
    assert site(folder, "weights", "add", str(file), "--study", str(study)).stdout == f"{compute_sha256(DATA)}\n"


@pytest.mark.parametrize(
    ("model", "error", "sentence"),
    [
        ({"start": "0" * 64}, RefusedError, "this is not the file that the terms name"),
        ({}, SiteConfigError, "the study 'small' begins with no public weights"),
        (
            {"start": compute_sha256(DATA), "name": "mlp", "options": {"hidden": [2]}},
            RefusedError,
            "tensor 'layers.0.bias' has shape",
        ),
        ({"start": compute_sha256(DATA), "trained": ["body"]}, TermsError, "the model has no layer 'body'"),
    ],
)
def test_weights_that_a_study_cannot_use_are_not_added(
    folder: Path, file: Path, model: dict[str, object], error: type[Exception], sentence: str
) -> None:
    study = write_study(folder.parent / "started.yaml", small_terms(model=model))
    with pytest.raises(error, match=sentence):
        site(folder, "weights", "add", str(file), "--study", str(study))
    assert site(folder, "weights", "list", "--json").stdout.strip() == '{"weights":[]}'


def test_approval_says_that_the_weights_are_not_here(folder: Path) -> None:
    study = write_study(folder.parent / "started.yaml", small_terms(model={"start": compute_sha256(DATA)}))
    with_data(folder)
    said = site(folder, "approve", str(study), "--by", "nobody")
    assert f"weights: the study begins with public weights of SHA-256 {compute_sha256(DATA)}" in " ".join(
        said.stdout.split()
    )


def test_study_is_simulated_with_its_weights(folder: Path, file: Path) -> None:
    model = {"start": compute_sha256(DATA), "name": "logistic"}
    study = write_study(folder.parent / "started.yaml", small_terms(model=model))
    tables = [
        "--train",
        str(folder.parent / "train.csv"),
        "--test",
        str(folder.parent / "test.csv"),
        "--not-private",
    ]
    with pytest.raises(RefusedError, match="not here"):
        site(folder, "simulate", str(study), *tables)
    found = json.loads(site(folder, "simulate", str(study), *tables, "--weights", str(file), "--json").stdout)
    assert found["runs"][0]["patients"] == 30
