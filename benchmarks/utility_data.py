"""The federations whose utility is measured: public tables and images; each seed splits the patients again.

* ``wisconsin``: the diagnostic table of examples/breast_cancer.yaml. With 4 sites it is divided by class
  (different sizes and shares of malignant cases), with 10 and 20 at random in equal parts. A quarter of each site is
  held out.
* ``heart``: the four hospitals of the UCI heart disease collection, prepared as FLamby prepares it (du Terrail et
  al. 2022, "FLamby: datasets and benchmarks for cross-silo federated learning"): the columns slope, ca and thal are
  left out, and patients who miss another value, which leaves 740. 66 % are trained on, stratified by outcome within
  a hospital. Numbers are scaled by the public ranges of examples/tabular/logistic.yaml, not by measured values.
* ``pneumonia``: PneumoniaMNIST (Yang et al. 2023, "MedMNIST v2"), 28 x 28 chest X-rays. The training images are
  divided at random in equal parts; every site has a part of the official test images.

An X-ray counts as a patient, because the data set does not name patients.
"""

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from benchmarks.small_study import read_columns
from client.data.dataset import compute_public_count
from client.data.site_data import read_data
from privacy.study import TableContract, Terms, read_terms
from server.demo.hospitals import make_breast_cancer_hospitals, read_heart_hospitals

_ROOT: Final = Path(__file__).parent.parent
DATA: Final = _ROOT.parent / "shared" / "data"
HEART_PATIENTS: Final = 740
_MOSTLY_MISSING: Final = ("slope", "ca", "thal")
_STUDIES: Final = {"wisconsin": "breast_cancer.yaml", "heart": "tabular/logistic.yaml"}
_TRAINED_ON: Final = {"wisconsin": 0.75, "heart": 0.66}

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Records:
    """Records with one record for each patient.

    Attributes:
        features: (patients, ...) float64.
        labels: (patients,) 0 or 1.
    """

    features: Array
    labels: Array

    def of(self, rows: NDArray[Any]) -> "Records":
        """Return the records of ``rows``."""
        return Records(self.features[rows], self.labels[rows])

    @property
    def patients(self) -> int:
        """The number of patients."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Site:
    """One hospital: the patients it trains on, and its held-out patients."""

    train: Records
    test: Records

    @property
    def public_patients(self) -> int:
        """The public patient count, by which gradient sums are divided."""
        return compute_public_count(self.train.patients)


def pooled(parts: list[Records]) -> Records:
    """Join all records."""
    return Records(np.concatenate([p.features for p in parts]), np.concatenate([p.labels for p in parts]))


@lru_cache(maxsize=2)
def study(dataset: str) -> Terms:
    """Read the example study of a table, with the columns that are used here."""
    terms = read_terms(_ROOT / "examples" / _STUDIES[dataset])
    contract = _read_contract(terms)
    kept = tuple(feature for feature in contract.features if feature.name not in _MOSTLY_MISSING)
    return terms.model_copy(update={"data": contract.model_copy(update={"features": kept})})


def _read_contract(terms: Terms) -> TableContract:
    assert isinstance(terms.data, TableContract)
    return terms.data


def federation(dataset: str, sites: int, seed: int) -> tuple[Site, ...] | None:
    """Make the hospitals of one seed; None if the data are not on this machine."""
    random = np.random.default_rng(seed)
    if dataset == "wisconsin":
        return _wisconsin(sites, seed, random)
    if dataset == "heart":
        return _heart(random) if (DATA / "heart").is_dir() else None
    images = DATA / "chest" / "pneumoniamnist.npz"
    return _pneumonia(images, sites, random) if images.is_file() else None


def _wisconsin(sites: int, seed: int, random: np.random.Generator) -> tuple[Site, ...]:
    records, ids = _wisconsin_table()
    if sites == 4:
        hospitals = make_breast_cancer_hospitals(seed)
        parts = [[[ids[name] for name in table["patient"]] for table in (h.train, h.test)] for h in hospitals]
        return tuple(Site(records.of(np.array(train)), records.of(np.array(test))) for train, test in parts)
    rows = np.array_split(random.permutation(records.patients), sites)
    return tuple(_split(records.of(own), _TRAINED_ON["wisconsin"], random) for own in rows)


def _heart(random: np.random.Generator) -> tuple[Site, ...]:
    return tuple(_split(records, _TRAINED_ON["heart"], random, stratified=True) for records in _heart_tables())


def _pneumonia(path: Path, sites: int, random: np.random.Generator) -> tuple[Site, ...]:
    train, test = _images(path)
    shares = np.array_split(random.permutation(train.patients), sites)
    held = np.array_split(random.permutation(test.patients), sites)
    return tuple(Site(train.of(mine), test.of(own)) for mine, own in zip(shares, held, strict=True))


def _split(records: Records, share: float, random: np.random.Generator, stratified: bool = False) -> Site:
    """Split into training and held-out patients; like FLamby, by outcome if there are more than two of each."""
    enough = min(np.count_nonzero(records.labels == label) for label in (0, 1)) > 2
    train, test = train_test_split(
        np.arange(records.patients),
        train_size=share,
        test_size=1 - share,
        random_state=int(random.integers(2**31)),
        stratify=records.labels if stratified and enough else None,
    )
    return Site(records.of(train), records.of(test))


@lru_cache(maxsize=1)
def _wisconsin_table() -> tuple[Records, dict[str, int]]:
    """Read all patients, and the row of each."""
    tables = [part for hospital in make_breast_cancer_hospitals(0) for part in (hospital.train, hospital.test)]
    whole = pd.concat(tables).sort_values("patient")
    ids = {name: row for row, name in enumerate(whole["patient"])}
    return _encoded(whole, _read_contract(study("wisconsin"))), ids


@lru_cache(maxsize=1)
def _heart_tables() -> tuple[Records, ...]:
    contract = _read_contract(study("heart"))
    needed = [feature.name for feature in contract.features]
    tables = []
    for hospital in read_heart_hospitals(DATA / "heart"):
        whole = pd.concat([hospital.train, hospital.test]).sort_values("patient")
        whole = whole[~whole[needed].isin(list(contract.missing)).any(axis=1)]
        tables.append(_encoded(whole, contract))
    found = sum(records.patients for records in tables)
    assert found == HEART_PATIENTS, f"expected {HEART_PATIENTS} patients with all values, got {found}"
    return tuple(tables)


def _encoded(table: Any, contract: TableContract) -> Records:
    """Encode a table as a site does."""
    with tempfile.TemporaryDirectory(prefix="utility-") as folder:
        path = Path(folder) / "table.csv"
        table.to_csv(path, index=False)
        features, labels = read_columns(read_data(contract, path).patients)
    return Records(features.astype(np.float64), labels.astype(np.float64))


@lru_cache(maxsize=1)
def _images(path: Path) -> tuple[Records, Records]:
    """Read training and test images, (patients, 1, 28, 28) in [-1, 1]."""
    with np.load(path) as stored:
        train, test = (
            Records(
                stored[f"{part}_images"][:, None].astype(np.float64) / 127.5 - 1.0,
                stored[f"{part}_labels"].reshape(-1).astype(np.float64),
            )
            for part in ("train", "test")
        )
    return train, test
