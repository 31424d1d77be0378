"""Figures of labelled predictions: exact where they can be, intervals over patients, every task of the catalogue."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics

from client.prediction.figures import LEAST_PATIENTS, Labelled, estimate_figures, group_labelled
from client.prediction.predict import load_model, predict
from client.prediction.release_contract import ReleaseContract
from models.catalogue import NAMES, find_model
from tests.client.prediction.released import release_of_catalogue


def binary_contract(folder: Path) -> ReleaseContract:
    return release_of_catalogue(folder, "logistic", "binary", patients=1)[2]


def make_labelled(scores: np.ndarray, labels: np.ndarray, patient: np.ndarray) -> Labelled:
    raw = torch.from_numpy(np.log(scores / (1 - scores)))
    return Labelled({"probability": scores}, raw, {"label": labels}, patient, int(patient.max()) + 1)


@pytest.mark.parametrize("name", NAMES)
def test_figures_of_every_model_and_task_are_estimated(name: str, tmp_path: Path) -> None:
    for task in find_model(name).tasks:
        folder = tmp_path / task
        folder.mkdir()
        release, data, contract = release_of_catalogue(folder, name, task, patients=12)
        found = predict(contract, load_model(release, contract), data, with_targets=True)
        estimates = estimate_figures(contract, group_labelled(found), resamples=20)
        assert estimates
        for each in estimates:
            assert each.low is None or each.high is None or each.low <= each.high
            assert each.value is None or np.isfinite(each.value)


def test_interval_is_that_of_a_plain_bootstrap_over_patients(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    patient = np.repeat(np.arange(30), 3)
    labels = np.repeat(draw.integers(0, 2, 30), 3)
    scores = np.clip(0.3 * labels + draw.random(90) * 0.7, 0.01, 0.99)
    labelled = make_labelled(scores, labels, patient)
    found = {each.name: each for each in estimate_figures(binary_contract(tmp_path), labelled, 600)}["auroc"]
    samples = []
    for _ in range(600):
        rows = np.concatenate([np.flatnonzero(patient == each) for each in draw.integers(0, 30, 30)])
        samples.append(metrics.roc_auc_score(labels[rows], scores[rows]))
    low, high = np.percentile(samples, [2.5, 97.5])
    assert found.value == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)


def test_interval_is_wider_when_the_records_of_a_patient_are_copies(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    labels, scores = draw.integers(0, 2, 60), draw.uniform(0.05, 0.95, 60)
    contract = binary_contract(tmp_path)
    copies = make_labelled(np.repeat(scores, 4), np.repeat(labels, 4), np.repeat(np.arange(60), 4))
    strangers = make_labelled(np.repeat(scores, 4), np.repeat(labels, 4), np.arange(240))
    widths = [
        each.high - each.low  # type: ignore[operator]
        for labelled in (copies, strangers)
        for each in estimate_figures(contract, labelled)[:1]
    ]
    assert widths[0] > 1.5 * widths[1]


def test_figures_are_the_same_in_every_run(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    labelled = make_labelled(draw.uniform(0.1, 0.9, 20), draw.integers(0, 2, 20), np.arange(20))
    contract = binary_contract(tmp_path)
    assert estimate_figures(contract, labelled, 50) == estimate_figures(contract, labelled, 50)


def test_few_patients_have_figures_and_no_interval(tmp_path: Path) -> None:
    few = LEAST_PATIENTS - 1
    labelled = make_labelled(np.linspace(0.1, 0.9, few), np.arange(few) % 2, np.arange(few))
    first = estimate_figures(binary_contract(tmp_path), labelled)[0]
    assert first.value is not None
    assert (first.low, first.high) == (None, None)
