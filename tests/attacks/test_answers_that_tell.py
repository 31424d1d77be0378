"""Answers, or their absence, that would tell something about a record: none of them depends on one.

A steered model is infinite less infinite, which is no number, for exactly those patients of whom a linear predicate
holds. If a score that is no number made a site fail, the coordinator would learn one exact bit a round for nothing.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks.small_study import make_patients, small_terms, write_patients
from client.site.register_data import register_files
from client.study.release import OWN_FIGURES_FILE
from client.training.scoring import add_noise_to_counts, count_scores
from models.parameters.flatten import set_shared_parameters
from models.parameters.lora import compute_plain_tensors
from models.parameters.vector import Vector
from privacy.canonical import compute_sha256
from privacy.protocol.messages import Problem
from privacy.randomness import KeyStream
from server.study.state import Phase
from tests.models.tables import build_for_table
from tests.protocol.conftest import Found
from tests.simulator import Simulator

OPTIONS = {"hidden": [2]}
"""Two hidden units on (age, age missing, f, m, sex missing), and their difference."""


def steered() -> Vector:
    """Parameters that give no number where the scaled age is above 0.975 (older than 79.2 years), else 0; (15,)."""
    first = np.zeros((2, 5))
    first[:, 0] = 2e38
    return np.concatenate([first.ravel(), np.full(2, 1.45e38), [1.0, -1.0], [0.0]])


def test_score_that_is_no_number_lands_in_the_lowest_bin() -> None:
    module = build_for_table("mlp", OPTIONS, 5)
    set_shared_parameters(module, steered())
    features = np.zeros((3, 5))
    features[1:, 0] = 0.99
    counts = count_scores(module, make_patients(features, np.array([1, 1, 0])), small_terms())  # of 10 bins
    negatives, positives = counts.reshape(2, 10)
    assert (negatives[0], positives[0], positives[5], counts.sum()) == (1, 1, 1, 3)


def test_noised_total_beyond_its_field_is_cut_after_the_noise() -> None:
    counts = add_noise_to_counts(
        np.zeros(200, dtype=np.int64), 3e9, small_terms(evaluation={"bins": 100}), KeyStream(bytes(32))
    )
    assert (counts.min(), counts.max()) == (-(1 << 31), (1 << 31) - 1)


@pytest.mark.parametrize("rounds", [[1, 2], []], ids=["evaluated", "never evaluated"])
@pytest.mark.parametrize("old", [True, False], ids=["with an old patient", "without"])
def test_model_steered_to_no_number_for_one_patient_changes_no_answer(
    found: Found, tmp_path: Path, rounds: list[int], old: bool
) -> None:
    """The author steers by the public weights that the study begins with."""
    module = build_for_table("mlp", OPTIONS, 5)
    set_shared_parameters(module, steered())
    file = tmp_path / "steered.safetensors"
    save_file(compute_plain_tensors(module), file)
    terms = small_terms(
        model={"name": "mlp", "options": OPTIONS, "start": compute_sha256(file.read_bytes())},
        training={"rounds": 2, "local_steps": 1, "learning_rate": 1e-3},
        evaluation={"rounds": rounds, "bins": 10, "epsilon": 1.0},
    )
    simulator = found(terms, launch=False)
    for home in simulator.homes.values():
        home.open_public_weights().add(file)
    with_test_patient(simulator, "ash", 79.9 if old else 50.0)
    simulator.launch()
    simulator.run(seconds=5)
    assert simulator.conductor.machine.phase is Phase.DONE
    assert all(simulator.state(name).closed for name in simulator.names)
    assert not [reply for _, reply in simulator.transport.said if isinstance(reply, Problem)]
    figures = json.loads((simulator.homes["ash"].find_study_folder(simulator.study) / OWN_FIGURES_FILE).read_text())
    assert figures["global"]["patients"] == 31


def with_test_patient(simulator: Simulator, name: str, age: float) -> None:
    """Register the site's files anew, with one more test patient."""
    home = simulator.homes[name]
    (registration,) = home.load_registry().registrations.values()
    train = write_patients(home.folder / "train.csv", 60, f"{name}-a", seed=0)
    test = write_patients(home.folder / "test.csv", 30, f"{name}-b", seed=100)
    test.write_text(test.read_text() + f"{name}-b30,{age},f,yes\n")
    register_files(home, registration.contract, train, test)
