"""``consilium demo``: what it prints, a stranger finds again in the folder it keeps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, brier_score_loss, roc_auc_score

from benchmarks.running_federation import Running, Said, command, processes_with, wait_for
from client.data.site_data import read_data
from models.fit import build_study_module
from privacy.study import read_terms
from server.study.journal import Journal
from server.study.notes import ReplyReceived, RequestSent

pytestmark = pytest.mark.federation

HOSPITALS = ("screening", "county", "clinic", "referral")
KEYS = {
    *("study", "private", "generated", "rounds", "seconds", "figures", "federated", "alone", "pooled", "sites"),
    *(
        "parameters",
        "chance",
        "test_patients_protected",
        "bytes_up",
        "bytes_down",
        "seconds_per_round",
        "model_sha256",
        "dir",
    ),
}
FIGURES = ["auroc", "average_precision", "accuracy", "sensitivity", "specificity", "brier", "calibration"]


def demo(temporary: Path, *words: str | Path) -> Said:
    """Run the demonstration to its end; whatever it makes beside ``--dir`` is under ``temporary``."""
    said = command("consilium", "demo", "--json", *words, environment={"TMPDIR": str(temporary)})
    assert said.code == 0, said.err
    assert processes_with("TMPDIR", str(temporary)) == []
    return said


def check_kept(result: dict[str, Any], folder: Path, hospitals: tuple[str, ...]) -> None:
    """Everything that the kept folder says again."""
    assert result["dir"] == str(folder)
    assert [site["name"] for site in result["sites"]] == list(hospitals)
    kept = Running(folder, hospitals, made=True)
    assert kept.released(result["study"]) == result["model_sha256"]
    for site in result["sites"]:
        card = json.loads(
            (folder / site["name"] / "studies" / result["study"] / "release" / "card.json").read_bytes()
        )
        assert card["model"]["sha256"] == result["model_sha256"]
        assert card["model"]["parameters"] == result["parameters"]
        assert card["site"]["patients_about"] == site["patients"]
        assert card["evaluation"][-1]["figures"] == result["federated"]
        rounds = list(range(1, result["rounds"] + 1))
        assert kept.paid(site["name"], result["study"]) == (rounds, rounds)
        assert card["site"]["epsilon_spent_by_this_study"] == site["epsilon"]
        (population,) = kept.audited(site["name"])["populations"]
        assert (population["epsilon_spent"] is not None) is result["private"]
        if result["private"]:
            assert (population["delta"], population["epsilon_left"]) == (site["delta"], site["epsilon_left"])


@pytest.fixture(scope="module")
def kept_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "kept"


@pytest.fixture(scope="module")
def result(kept_folder: Path) -> dict[str, Any]:
    said = demo(kept_folder.parent, "--rounds", "3", "--dir", kept_folder, "--keep")
    found: dict[str, Any] = said.json
    return found


def test_json_has_the_documented_keys(result: dict[str, Any]) -> None:
    assert set(result) == KEYS
    assert [each["name"] for each in result["figures"]] == FIGURES
    assert set(result["federated"]) == set(FIGURES)
    assert set(result["pooled"]) == {"figure", "value", "spread"}
    assert [each["site"] for each in result["alone"]] == list(HOSPITALS)
    for each in result["alone"]:
        assert set(each) == {"site", "figure", "value", "spread"}
    for site in result["sites"]:
        assert set(site) == {"name", "patients", "epsilon", "delta", "epsilon_left"}
    compared = [*result["alone"], result["pooled"]]
    assert all(each["figure"] == "auroc" and 0.4 < each["value"] <= 1 for each in compared)
    assert all(0 <= each["spread"] < 0.5 for each in compared)
    assert 0 < result["chance"] < 0.1
    assert result["test_patients_protected"] is False
    assert (result["private"], result["rounds"], result["parameters"]) == (True, 3, 61)
    assert 0 < 3 * result["seconds_per_round"] < result["seconds"]


def test_kept_folder_says_the_printed_figures_again(result: dict[str, Any], kept_folder: Path) -> None:
    check_kept(result, kept_folder, HOSPITALS)
    assert all(2.9 < site["epsilon"] <= 3 for site in result["sites"])


def test_released_model_scored_by_scikit_learn_gives_the_printed_figures(
    result: dict[str, Any], kept_folder: Path
) -> None:
    """On the source tables' test patients, without bins."""
    terms = read_terms(kept_folder / "study.yaml")
    model = build_study_module(terms)
    release = kept_folder / "county" / "studies" / result["study"] / "release" / "model.safetensors"
    model.load_state_dict(load_file(release))
    tests = [read_data(terms.data, kept_folder / "source" / name / "test.csv").patients for name in HOSPITALS]
    labels = np.concatenate([test.targets["label"] for test in tests])
    features = np.concatenate([test.inputs["features"] for test in tests])
    with torch.no_grad():
        scores = torch.sigmoid(model({"features": torch.from_numpy(features)})).numpy()
    assert result["federated"]["accuracy"] == pytest.approx(accuracy_score(labels, scores >= 0.5))
    assert result["federated"]["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=0.01)
    assert result["federated"]["brier"] == pytest.approx(brier_score_loss(labels, scores), abs=0.01)


def test_bytes_are_those_of_the_messages(result: dict[str, Any], kept_folder: Path) -> None:
    with Journal(kept_folder / "coordinator" / "studies" / result["study"]) as journal:
        notes = list(journal.read_notes())
    for key, kind in (("bytes_up", ReplyReceived), ("bytes_down", RequestSent)):
        moved = sum(note.bytes for note in notes if isinstance(note, kind) and (note.round or 9) <= 3)
        assert result[key] == round(moved / (3 * len(HOSPITALS)))
    explained = command("consilium", "study", "check", kept_folder / "study.yaml", "--json").json
    assert explained["bytes_up"] < result["bytes_up"] < 1.2 * explained["bytes_up"]


@pytest.fixture(scope="module")
def bare_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bare") / "kept"


@pytest.fixture(scope="module")
def bare_result(bare_folder: Path) -> dict[str, Any]:
    said = demo(bare_folder.parent, "--epsilon", "none", "--rounds", "1", "--dir", bare_folder, "--keep")
    found: dict[str, Any] = said.json
    return found


@pytest.mark.long
def test_json_and_ledgers_say_that_there_is_no_bound(bare_result: dict[str, Any], bare_folder: Path) -> None:
    assert bare_result["private"] is False
    for site in bare_result["sites"]:
        assert (site["epsilon"], site["delta"], site["epsilon_left"]) == (None, None, None)
    check_kept(bare_result, bare_folder, HOSPITALS)
    kept = Running(bare_folder, HOSPITALS, made=True)
    for name in HOSPITALS:
        assert [(paid["event"]["kind"], paid["charge"]) for paid in kept.ledger(name, "reserve")] == [
            ("unprotected", None)
        ]
        card = (bare_folder / name / "studies" / bare_result["study"] / "release" / "card.md").read_text()
        assert "**none**: this model was trained without differential privacy" in card


@pytest.mark.long
def test_the_population_refuses_a_private_study_afterwards(
    bare_result: dict[str, Any], bare_folder: Path, repository: Path
) -> None:
    study_file = repository / "examples" / "breast_cancer.yaml"
    kept = Running(bare_folder, HOSPITALS, made=True)
    for name in HOSPITALS:
        words = ("--epsilon", "6", "--delta", "0.001", "--typical", study_file)
        assert kept.site(name, "budget", "grant", "wisconsin-diagnostic", *words).code == 0
    try:
        kept.start()
        kept.wait_until_online()
        study = kept.launch(read_terms(study_file))
        wait_for("every hospital to refuse", lambda: all(kept.ledger(name, "refuse") for name in HOSPITALS))
        wait_for("the study to stop", lambda: kept.history(study).stopped)
    finally:
        left_over = kept.end()
    assert left_over == []
    for name in HOSPITALS:
        for refusal in kept.ledger(name, "refuse"):
            assert (refusal["study"], refusal["code"]) == (study, "budget")
            assert "without privacy" in refusal["sentence"]
        assert kept.paid(name, study) == ([], [])


def test_heart_study_of_four_real_hospitals_ends_and_leaves_nothing(repository: Path, short_folder: Path) -> None:
    folder = repository.parent / "shared" / "data" / "heart"
    if not folder.is_dir():
        pytest.skip("shared/data/heart is not here")
    result = demo(short_folder, "--data", folder, "--rounds", "1").json
    assert [site["name"] for site in result["sites"]] == ["cleveland", "budapest", "zurich", "long-beach"]
    assert (result["rounds"], result["dir"]) == (1, None)
    assert set(result["federated"]) == set(FIGURES)
    assert list(short_folder.iterdir()) == []
