"""A small study and its invented tables, for benchmarks and for the tests."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from client.data.dataset import StudyFiles, make_study_files
from client.data.examples import Patients
from privacy.study import Terms, parse_terms

CONTRACT: dict[str, Any] = {
    "name": "small",
    "patient": "id",
    "ranges_from": "invented",
    "features": [
        {"kind": "number", "name": "age", "low": 20, "high": 80},
        {"kind": "category", "name": "sex", "values": ["f", "m"]},
    ],
    "label": {"name": "ill", "positive": ["yes"], "negative": ["no", "never"]},
}


def small_terms(**changes: dict[str, Any]) -> Terms:
    """Terms of the small study; ``changes`` are merged into its sections."""
    value: dict[str, Any] = {
        "consilium": 1,
        "name": "small",
        "purpose": "a test",
        "model": {"name": "logistic"},
        "data": CONTRACT,
        "training": {"rounds": 2, "local_steps": 3, "sampling_rate": 0.5, "learning_rate": 0.5},
        "privacy": {"epsilon": 3, "delta": 1e-3, "clipping_norm": 1.0},
        "cohort": {"minimum": 3, "maximum": 8},
        "secure_aggregation": {"value_range": 4.0},
        "evaluation": {"rounds": [2], "bins": 10, "epsilon": "none"},
    }
    for section, change in changes.items():
        value[section] = {**value.get(section, {}), **change}
    return parse_terms(value)


def without_privacy(**changes: dict[str, Any]) -> Terms:
    """The small study without privacy."""
    return small_terms(**{"privacy": {"epsilon": "none", "delta": None, "clipping_norm": None}, **changes})


def make_patients(
    features: NDArray[np.floating], labels: NDArray[np.generic], patient: NDArray[np.int64] | None = None
) -> Patients:
    """Patients of a table: (records, features), (records,) and (records,); a patient each without ``patient``."""
    owners = np.arange(len(labels)) if patient is None else patient
    inputs, targets = {"features": features.astype(np.float32)}, {"label": labels.astype(np.int64)}
    return Patients(inputs, targets, owners, int(owners[-1]) + 1 if len(owners) else 0)


def read_columns(patients: Patients) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The features, (records, features), and the labels, (records,), of a table's patients."""
    rows = np.arange(patients.records)
    return patients.inputs["features"][rows], patients.targets["label"][rows]


def write_study(path: Path, terms: Terms) -> Path:
    """A study file."""
    path.write_text(yaml.safe_dump(terms.model_dump(mode="json")), encoding="utf-8")
    return path


def write_csv(path: Path, rows: list[str], header: str = "id,age,sex,ill") -> Path:
    """A CSV file of ``rows``."""
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def write_patients(path: Path, count: int, prefix: str, seed: int = 0) -> Path:
    """``count`` patients of one record; the older, the more often ill."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        age = random.uniform(20, 80)
        ill = random.random() < 1 / (1 + np.exp((50 - age) / 5))
        rows.append(f"{prefix}{number},{age:.1f},{'fm'[random.integers(2)]},{'yes' if ill else 'no'}")
    return write_csv(path, rows)


def small_files(folder: Path, terms: Terms, train: int = 60, test: int = 30) -> StudyFiles:
    """Registered training and test files of the small study."""
    training = write_patients(folder / "train.csv", train, "a", seed=1)
    files, _ = make_study_files(terms.data, training, write_patients(folder / "test.csv", test, "b", seed=2))
    return files
