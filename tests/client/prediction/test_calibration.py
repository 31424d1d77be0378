"""Calibration: against scikit-learn's, bound to its release, and refused where it is not sound."""

import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from client.prediction.calibration import (
    Calibration,
    apply_calibration,
    fit_calibration,
    read_calibration,
    write_calibration,
)
from client.prediction.figures import Labelled
from client.prediction.release_contract import ReleaseContract
from privacy.errors import DataError, ReleaseError
from tests.client.prediction.released import release_of_catalogue

DIGEST = "ab" * 32


def contract_of(folder: Path, task: str) -> ReleaseContract:
    folder.mkdir(exist_ok=True)
    return release_of_catalogue(folder, "logistic", task, patients=1)[2]


def make_labelled(
    logits: np.ndarray, truth: np.ndarray, patient: np.ndarray | None = None, name: str = "label"
) -> Labelled:
    raw = torch.from_numpy(logits.astype(np.float32))
    patient = np.arange(len(logits)) if patient is None else patient
    return Labelled({}, raw, {name: truth}, patient, int(patient.max()) + 1)


class Known(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of scikit-learn that says the logits it is given."""

    def fit(self, _: np.ndarray, y: np.ndarray) -> "Known":
        self.classes_ = np.unique(y)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.decision_function(x).argmax(1) if x.shape[1] > 1 else (x[:, 0] > 0).astype(np.int64)

    def decision_function(self, x: np.ndarray) -> np.ndarray:
        return x[:, 0] if x.shape[1] == 1 else x


def calibrate_with_scikit_learn(logits: np.ndarray, truth: np.ndarray, method: str) -> np.ndarray:
    x = logits if logits.ndim == 2 else logits[:, None]
    known = Known().fit(x, truth)
    made = CalibratedClassifierCV(FrozenEstimator(known), method=method, cv=5, ensemble=False).fit(x, truth)
    found: np.ndarray = made.predict_proba(x)
    return found


def draw_overconfident(patients: int = 300) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=patients) * 4
    return logits, (draw.random(patients) < expit(0.3 * logits - 0.8)).astype(np.int64)


def test_platt_is_that_of_scikit_learn(tmp_path: Path) -> None:
    logits, truth = draw_overconfident()
    contract, labelled = contract_of(tmp_path, "binary"), make_labelled(logits, truth)
    made = fit_calibration(contract, labelled, DIGEST)
    found = apply_calibration(made, contract, labelled.raw)
    np.testing.assert_allclose(found, calibrate_with_scikit_learn(logits, truth, "sigmoid")[:, 1], atol=2e-4)
    assert made.loss.calibrated < made.loss.released - 0.1


def test_temperature_is_that_of_scikit_learn_and_keeps_the_class(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    logits = draw.normal(size=(400, 3)) * 5
    truth = np.array([draw.choice(3, p=each) for each in softmax(logits / 4, axis=1)])
    contract, labelled = contract_of(tmp_path, "multiclass"), make_labelled(logits, truth)
    made = fit_calibration(contract, labelled, DIGEST)
    found = apply_calibration(made, contract, labelled.raw)
    np.testing.assert_allclose(found, calibrate_with_scikit_learn(logits, truth, "temperature"), atol=1e-3)
    np.testing.assert_array_equal(found.argmax(1), logits.argmax(1))
    assert made.method == "temperature"


def test_platt_finds_the_line_that_made_the_labels(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    logits = draw.normal(size=40_000) * 2
    truth = (draw.random(40_000) < expit(0.5 * logits - 1.0)).astype(np.int64)
    (line,) = fit_calibration(contract_of(tmp_path, "binary"), make_labelled(logits, truth), DIGEST).lines
    assert line.slope == pytest.approx(0.5, abs=0.03)
    assert line.intercept == pytest.approx(-1.0, abs=0.05)


def test_every_label_has_a_line_of_its_own(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    logits = draw.normal(size=(500, 3)) * 3
    truth = draw.random((500, 3)) < expit(np.array([1.0, 0.3, 0.6]) * logits + np.array([0.0, 1.0, -1.0]))
    contract = contract_of(tmp_path, "multilabel")
    several = fit_calibration(contract, make_labelled(logits, truth, name="labels"), DIGEST)
    binary = contract_of(tmp_path / "one", "binary")
    for place in range(3):
        (alone,) = fit_calibration(binary, make_labelled(logits[:, place], truth[:, place]), DIGEST).lines
        assert several.lines[place].slope == pytest.approx(alone.slope, rel=1e-3)


def test_ordered_classes_stay_in_order(tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    contract = contract_of(tmp_path, "ordinal")
    level = draw.normal(size=300)
    logits = 3 * (level[:, None] - np.array([-0.5, 0.5]))
    truth = (level[:, None] + draw.normal(size=(300, 1)) > np.array([-0.5, 0.5])).sum(1)
    found = apply_calibration(
        fit_calibration(contract, make_labelled(logits, truth), DIGEST), contract, torch.from_numpy(logits)
    )
    assert (found[:, 0] >= found[:, 1]).all()


def test_patient_counts_once_however_many_records_they_have(tmp_path: Path) -> None:
    logits, truth = draw_overconfident(80)
    contract = contract_of(tmp_path, "binary")
    once = fit_calibration(contract, make_labelled(logits, truth), DIGEST)
    times = np.where(np.arange(80) < 10, 7, 1)
    often = make_labelled(np.repeat(logits, times), np.repeat(truth, times), np.repeat(np.arange(80), times))
    assert fit_calibration(contract, often, DIGEST).lines[0].slope == pytest.approx(once.lines[0].slope, rel=1e-4)


def test_few_patients_of_a_kind_are_refused(tmp_path: Path) -> None:
    logits, truth = draw_overconfident(60)
    truth[:] = 0
    truth[:9] = 1
    with pytest.raises(DataError, match=r"at least 10 patients with and 10 without .* there are 9 and 51"):
        fit_calibration(contract_of(tmp_path, "binary"), make_labelled(logits, truth), DIGEST)


def test_scores_that_run_against_the_labels_are_refused(tmp_path: Path) -> None:
    logits, truth = draw_overconfident()
    with pytest.raises(DataError, match="run against the labels"):
        fit_calibration(contract_of(tmp_path, "binary"), make_labelled(-logits, truth), DIGEST)


def test_model_without_probabilities_is_refused(tmp_path: Path) -> None:
    contract = contract_of(tmp_path, "regression")
    with pytest.raises(ReleaseError, match="its task is 'regression'; leave out --calibrate"):
        fit_calibration(contract, make_labelled(*draw_overconfident()), DIGEST)


def test_calibration_of_another_release_is_refused(tmp_path: Path) -> None:
    contract, labelled = contract_of(tmp_path, "binary"), make_labelled(*draw_overconfident())
    made = fit_calibration(contract, labelled, DIGEST)
    other = made.model_copy(update={"model_sha256": "cd" * 32})
    with pytest.raises(ReleaseError, match="the calibration is of another release: expected the model of SHA-256"):
        apply_calibration(other, contract, labelled.raw)


def test_calibration_file_is_private_and_is_not_written_over(tmp_path: Path) -> None:
    made = fit_calibration(contract_of(tmp_path, "binary"), make_labelled(*draw_overconfident()), DIGEST)
    path = tmp_path / "calibration.json"
    write_calibration(path, made)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_calibration(path) == made
    with pytest.raises(ReleaseError, match="exists already"):
        write_calibration(path, made)


@pytest.mark.parametrize("text", ["", "{}", '{"calibration":1}', "[1,2]", "\x00"])
def test_file_that_is_no_calibration_is_refused_by_a_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(ReleaseError, match=r"calibration\.json"):
        read_calibration(path)


def test_line_that_turns_the_order_round_is_refused(tmp_path: Path) -> None:
    made = fit_calibration(contract_of(tmp_path, "binary"), make_labelled(*draw_overconfident()), DIGEST)
    value = made.model_dump(mode="json")
    value["lines"][0]["slope"] = -1.0
    with pytest.raises(ValueError, match="greater than 0"):
        Calibration.model_validate(value)


def test_labelled_selects_records_and_numbers_their_patients_anew() -> None:
    labelled = make_labelled(np.arange(6.0), np.arange(6), np.array([0, 0, 1, 1, 2, 2]))
    some = labelled.select(np.array([4, 0, 5]))
    assert some.patient.tolist() == [1, 0, 1]
    assert some.patients == 2
    assert replace(some, said={}).raw.tolist() == [4.0, 0.0, 5.0]
