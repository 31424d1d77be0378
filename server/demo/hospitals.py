"""Hospitals for the demonstration, made from public tables; they differ in size and case mix.

* :func:`make_specialised_hospitals` is the demonstration's division of the Wisconsin diagnostic table (569 patients,
  Street, Wolberg and Mangasarian 1993; shipped with scikit-learn): four invented hospitals that each see another
  kind of mass, as a screening programme and a cancer centre do. Only ``mean radius`` (of the cell nuclei in the
  aspirate) decides where a patient goes, by fixed cut-offs. 40 % are held out, so that the tests are many.
* :func:`make_breast_cancer_hospitals` divides the same table by class alone: each hospital sees every kind of mass.
* :func:`read_heart_hospitals` reads the four real hospitals of the UCI heart disease collection (Janosi,
  Steinbrunn, Pfisterer and Detrano 1989) from a folder.

Where nothing else is said, a quarter of each hospital's patients is held out for testing. A seed draws them. The
patients are real, and the tables are public.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer

from privacy.errors import FederationError

TEST_SHARE: Final = 0.25
SPECIALISED_TEST_SHARE: Final = 0.4

_SPECIALISED: Final = {  # name: from which mean radius of the nuclei on, and below which
    "screening": (0.0, 11.5),  # 124 patients, 2 % malignant: healthy people are called in
    "county": (11.5, 13.0),  # 132, 7 %: a general hospital
    "clinic": (13.0, 15.0),  # 139, 28 %: the overlap, where size says little
    "referral": (15.0, np.inf),  # 174, 93 %: a cancer centre, to which conspicuous masses are sent
}

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


def make_specialised_hospitals(seed: int) -> tuple[Hospital, ...]:
    """Make four hospitals that each see another kind of mass: 2, 7, 28 and 93 % of their patients have a cancer.

    Args:
        seed: decides the held-out patients; the cut-offs alone decide the hospital.
    """
    table = _load_breast_cancer_table()
    random, radius = np.random.default_rng(seed), table["mean radius"]
    return tuple(
        _make_hospital(name, table[(radius >= low) & (radius < high)], random, SPECIALISED_TEST_SHARE)
        for name, (low, high) in _SPECIALISED.items()
    )


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


def has_heart_files(folder: Path) -> bool:
    """Return whether ``folder`` has the four files of the UCI heart disease collection."""
    return all((folder / file).is_file() for file in _HEART.values())


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


def _make_hospital(
    name: str, table: pd.DataFrame, random: np.random.Generator, test_share: float = TEST_SHARE
) -> Hospital:
    order = random.permutation(len(table))
    tested = round(test_share * len(table))
    return Hospital(name, table.iloc[np.sort(order[tested:])], table.iloc[np.sort(order[:tested])])
