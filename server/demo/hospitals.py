"""Hospitals for the demonstration, made from public tables; they differ in size and case mix.

* :func:`make_breast_cancer_hospitals` splits the Wisconsin diagnostic table (569 patients, Street, Wolberg and
  Mangasarian 1993; shipped with scikit-learn) among four invented hospitals whose share of malignant cases differs.
* :func:`read_heart_hospitals` reads the four real hospitals of the UCI heart disease collection (Janosi,
  Steinbrunn, Pfisterer and Detrano 1989) from a folder.

A quarter of each hospital's patients, drawn by a seed, is held out for testing. The patients are real, and the
tables are public.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer

from privacy.errors import FederationError

TEST_SHARE: Final = 0.25

_BREAST_CANCER: Final = {  # name: (malignant, benign) patients; all 212 and 357 of the table
    "university": (105, 123),  # 228 patients, 46 % malignant: a referral centre
    "city": (60, 100),  # 160, 38 %
    "county": (28, 85),  # 113, 25 %
    "coast": (19, 49),  # 68, 28 %: a small one
}
_HEART: Final = {
    "cleveland": "processed.cleveland.data",
    "budapest": "processed.hungarian.data",
    "zurich": "processed.switzerland.data",
    "long-beach": "processed.va.data",
}


@dataclass(frozen=True, eq=False)
class Hospital:
    """One hospital's tables, with the values that its CSV files contain."""

    name: str
    train: pd.DataFrame
    test: pd.DataFrame

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write ``train.csv`` and ``test.csv`` into ``folder``; return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / "train.csv", folder / "test.csv"
        for table, path in zip((self.train, self.test), paths, strict=True):
            table.to_csv(path, index=False)
        return paths


def make_breast_cancer_hospitals(seed: int) -> tuple[Hospital, ...]:
    """Make four hospitals of 228, 160, 113 and 68 patients with 46, 38, 25 and 28 % malignant cases.

    Args:
        seed: decides the division into hospitals and the held-out patients.
    """
    table = _load_breast_cancer_table()
    random = np.random.default_rng(seed)
    malignant = random.permutation(np.flatnonzero(table["diagnosis"] == "malignant"))
    benign = random.permutation(np.flatnonzero(table["diagnosis"] == "benign"))
    hospitals = []
    for name, (sick, well) in _BREAST_CANCER.items():
        rows = np.concatenate([malignant[:sick], benign[:well]])
        malignant, benign = malignant[sick:], benign[well:]
        hospitals.append(_make_hospital(name, table.iloc[rows], random))
    return tuple(hospitals)


def read_heart_hospitals(folder: Path, seed: int = 0) -> tuple[Hospital, ...]:
    """Read Cleveland, Budapest, Zurich with Basel, and Long Beach from the collection's four files in ``folder``.

    Args:
        folder: holds the four files.
        seed: decides the held-out patients.

    Raises:
        FederationError: a file is missing.
    """
    random = np.random.default_rng(seed)
    hospitals = []
    for name, file in _HEART.items():
        path = folder / file
        if not path.is_file():
            raise FederationError(f"{path}: not found; expected the four files of the UCI heart collection")
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table.insert(0, "patient", [f"{name}-{row:04d}" for row in range(len(table))])
        hospitals.append(_make_hospital(name, table, random))
    return tuple(hospitals)


def _load_breast_cancer_table() -> pd.DataFrame:
    loaded = load_breast_cancer(as_frame=True)
    table: pd.DataFrame = loaded.data.copy()
    table.insert(0, "patient", [f"wdbc-{row:04d}" for row in range(len(table))])
    table["diagnosis"] = np.where(loaded.target == 0, "malignant", "benign")
    return table


def _make_hospital(name: str, table: pd.DataFrame, random: np.random.Generator) -> Hospital:
    order = random.permutation(len(table))
    tested = round(TEST_SHARE * len(table))
    return Hospital(name, table.iloc[np.sort(order[tested:])], table.iloc[np.sort(order[:tested])])
