"""The studies a user can copy: they read, their data keep the contract, and they learn."""

from pathlib import Path

import numpy as np
import pytest

from client.data.dataset import compute_public_count
from client.data.site_data import read_data
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.local_steps import train
from client.training.scoring import count_scores
from client.training.study_model import build_model, make_first_model
from models.parameters.flatten import set_shared_parameters
from models.parameters.vector import add_scaled
from models.task import Values
from models.tasks.registry import make_task
from privacy.accounting.calibration import compute_noise_multiplier
from privacy.secure_aggregation.round_layout import compute_update_range
from privacy.study import Terms, read_terms
from privacy.study.cost import compute_study_noise
from server.demo.hospitals import Hospital, make_breast_cancer_hospitals, read_heart_hospitals


def federated(terms: Terms, hospitals: tuple[Hospital, ...], folder: Path) -> tuple[Values, float]:
    """Federated averaging in the clear, with every site's own noise; the figures and the largest update."""
    files = [hospital.write(folder / hospital.name) for hospital in hospitals]
    tables = [(read_data(terms.data, train), read_data(terms.data, test)) for train, test in files]
    training = terms.training
    assert terms.privacy.epsilon is not None
    assert terms.privacy.delta is not None
    noise = compute_noise_multiplier(
        terms.privacy.epsilon, terms.privacy.delta, training.sampling_rate, training.local_steps, training.rounds
    )
    counts = [compute_public_count(table.patients.patients) for table, _ in tables]
    model = make_first_model(terms)
    largest = 0.0
    for _ in range(training.rounds):
        updates = [
            train(model, terms, DeviceRecords(table.patients, terms, CPU.device), count, noise, CPU).update
            for (table, _), count in zip(tables, counts, strict=True)
        ]
        largest = max(largest, *(float(np.abs(update).max()) for update in updates))
        model = add_scaled(model, np.average(updates, axis=0, weights=counts), training.server_learning_rate)
    module = build_model(terms)
    set_shared_parameters(module, model)
    totals = sum(count_scores(module, test.patients, terms) for _, test in tables)
    assert isinstance(totals, np.ndarray)
    task = make_task(terms.task, terms.data)
    return task.compute_figures(totals.tolist(), terms.evaluation.bins), largest


def test_breast_cancer_example_learns_at_epsilon_3(repository: Path, tmp_path: Path) -> None:
    """Measured over 12 seeds: AUROC 0.995, sd 0.003, least 0.991; largest update about 3."""
    terms = read_terms(repository / "examples" / "breast_cancer.yaml")
    assert terms.privacy.epsilon == 3
    figures, largest = federated(terms, make_breast_cancer_hospitals(seed=0), tmp_path)
    assert figures["auroc"] is not None
    assert figures["auroc"] > 0.95
    assert largest < compute_update_range(terms, compute_study_noise(terms))


def test_heart_example_learns_at_epsilon_3(repository: Path, tmp_path: Path) -> None:
    """Measured over 5 seeds: AUROC 0.897, sd 0.016, least 0.872; largest update about 0.5."""
    folder = repository.parent / "shared" / "data" / "heart"
    if not folder.is_dir():
        pytest.skip("shared/data/heart is not here")
    terms = read_terms(repository / "examples" / "tabular" / "logistic.yaml")
    figures, largest = federated(terms, read_heart_hospitals(folder), tmp_path)
    assert figures["auroc"] is not None
    assert figures["auroc"] > 0.82
    assert largest < compute_update_range(terms, compute_study_noise(terms))
