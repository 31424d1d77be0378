import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.small_study import read_columns, small_terms, write_patients, write_study
from client.cli import cli
from client.data.site_data import read_data
from client.training.simulate import pool_patients, simulate
from privacy.errors import TrainingError

TRAINING = {"rounds": 5, "local_steps": 10, "sampling_rate": 0.5, "learning_rate": 1.0}


def test_simulate_learns_from_pooled_tables(tmp_path: Path) -> None:
    files = [write_patients(tmp_path / f"{number}.csv", 60, f"h{number}-", seed=number) for number in range(3)]
    result = simulate(small_terms(training=TRAINING), files[:2], files[2:], None, repeats=2)
    assert len(result) == 2
    for run in result:
        assert run.patients == 60
        auroc = run.figures["auroc"]
        assert auroc is not None
        assert auroc > 0.85


def test_simulate_with_ruinous_noise_is_another_mechanism(tmp_path: Path) -> None:
    files = [write_patients(tmp_path / f"{number}.csv", 60, f"h{number}-", seed=number) for number in range(2)]
    noisy = simulate(small_terms(training=TRAINING), files[:1], files[1:], 30.0, repeats=4)
    assert len({run.figures["auroc"] for run in noisy}) > 1


@pytest.mark.parametrize("matrix", ["banded", "tree"])
def test_simulate_takes_lots_in_turn_with_noise_and_draws_them_without(tmp_path: Path, matrix: str) -> None:
    files = [write_patients(tmp_path / f"{number}.csv", 120, f"h{number}-", seed=number) for number in range(2)]
    terms = small_terms(
        training=TRAINING, privacy={"placement": "correlated", "correlation": {"matrix": matrix}, "epsilon": 8}
    )
    for noise in (0.1, None):  # far less than the study's, so that it learns
        (run,) = simulate(terms, files[:1], files[1:], noise)
        auroc = run.figures["auroc"]
        assert auroc is not None
        assert auroc > 0.85
    ruined = simulate(terms, files[:1], files[1:], 1000.0, repeats=4)
    assert len({run.figures["auroc"] for run in ruined}) > 1


def test_simulate_that_diverges_is_a_sentence(tmp_path: Path) -> None:
    """Seen in public reports: the losses are infinite, and the run continues and ends well."""
    files = [write_patients(tmp_path / f"{number}.csv", 60, f"h{number}-", seed=number) for number in range(2)]
    terms = small_terms(training={**TRAINING, "learning_rate": 1e38})
    with pytest.raises(TrainingError, match=r"learning_rate \(1e\+38\) is too large"):
        simulate(terms, files[:1], files[1:], 1.5)


def test_pooled_keeps_patients_apart(tmp_path: Path) -> None:
    contract = small_terms().data
    parts = [read_data(contract, write_patients(tmp_path / f"{n}.csv", 5 + n, "p")).patients for n in range(2)]
    together = pool_patients(parts)
    assert together.patients == 11
    assert together.patient.tolist() == list(range(11))
    features, labels = read_columns(together)
    for got, want in zip((features[5:], labels[5:]), read_columns(parts[1]), strict=True):
        np.testing.assert_array_equal(got, want)


def test_command_prints_a_table_for_people_and_json_for_programs(tmp_path: Path) -> None:
    """walk.md 21: raw JSON with 16 digits only."""
    study = write_study(tmp_path / "study.yaml", small_terms(training=TRAINING))
    train, test = (write_patients(tmp_path / f"{name}.csv", 60, name) for name in ("train", "test"))
    words = ["simulate", str(study), "--train", str(train), "--test", str(test), "--private", "--repeats", "2"]
    said = CliRunner().invoke(cli, words, catch_exceptions=False).stdout.splitlines()
    assert said[0] == "simulated in one place, with noise for epsilon 3, on 60 test patients, threshold 0.5"
    titles = ["AUROC", "average precision", "accuracy", "sensitivity", "specificity", "Brier score"]
    assert re.split("  +", said[1].strip()) == [*titles, "calibration error"]
    assert [line.split()[0] for line in said[2:]] == ["training", "training", "mean"]
    assert all(len(word) <= 5 for word in said[2].split()[2:])
    found = json.loads(CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False).stdout)
    assert [set(run) for run in found["runs"]] == [{"figures", "patients"}] * 2
    names = {"auroc", "average_precision", "accuracy", "sensitivity", "specificity", "brier", "calibration"}
    assert [set(run["figures"]) for run in found["runs"]] == [names] * 2
