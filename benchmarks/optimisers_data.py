"""The federations on which optimisers are compared, and their studies; each seed splits the patients again.

* ``heart``: the four hospitals of benchmarks/utility_data.py, whose patients differ: 38 to 97 % are ill, and 30 to
  199 are trained on. Logistic regression on 28 inputs (29 parameters).
* ``pneumonia``: PneumoniaMNIST among eight sites that differ in labels. The training images of each label are
  divided by shares from a Dirichlet(0.3) distribution (Hsu et al. 2019, "Measuring the effects of non-identical
  data distribution"), drawn again until every site has 100. Images are averaged to 7 x 7 pixels and read as a
  table, each pixel with its missing-indicator. The model is a perceptron with one hidden layer of 16 (1,601
  parameters). The official test images are held out.
* ``three``: the same images and model among three hospitals of 110, 900 and 3,698 patients, of whom 30, 50 and 81 %
  have pneumonia. Nothing is tuned on it: it uses the settings of ``pneumonia``, as a study uses those of public
  data.

Delta is 0.001 for ``heart`` and 0.0001 for images: a site refuses a delta above one over its number of patients.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.small_study import make_patients
from benchmarks.utility_data import DATA, Array, Records, federation, pooled, study
from client.data.dataset import compute_public_count
from client.data.examples import Patients
from client.training.study_model import build_model
from models.parameters.initial import draw_initial_shared_parameters
from models.parameters.vector import Vector
from privacy.study import Terms, parse_terms

ROUNDS: Final = 20
LOCAL_STEPS: Final = 10
SKEW: Final = 0.3
FEWEST: Final = 100
SMALLER: Final = ((110, 0.3), (900, 0.5))
"""Of ``three``: patients of two hospitals, and the share with pneumonia; the third hospital has all others."""
_IMAGES: Final = DATA / "chest" / "pneumoniamnist.npz"
_SIDE: Final = 7  # pixels


@dataclass(frozen=True)
class Dataset:
    """What all studies of one data set share, and the data set whose tuned settings they use."""

    sites: int
    sampling_rate: float
    delta: float
    model: dict[str, Any]
    settings_of: str


_PERCEPTRON: Final = {"name": "mlp", "options": {"hidden": [16]}}
DATASETS: Final = {
    "heart": Dataset(4, 0.3, 1e-3, {"name": "logistic"}, "heart"),
    "pneumonia": Dataset(8, 0.1, 1e-4, _PERCEPTRON, "pneumonia"),
    "three": Dataset(3, 0.1, 1e-4, _PERCEPTRON, "pneumonia"),
}

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Federation:
    """The sites of one seed, and the held-out patients of all sites."""

    dataset: str
    seed: int
    sites: tuple[Patients, ...]
    held_out: Patients

    @property
    def counts(self) -> tuple[int, ...]:
        """The public patient count of each site, rounded down to tens."""
        return tuple(compute_public_count(site.patients) for site in self.sites)

    def first(self, terms: Terms) -> Vector:
        """Draw the first shared model, the same for all optimisers of one seed; (P,)."""
        label = hashlib.sha256(f"optimisers {self.dataset} {self.seed}".encode()).hexdigest()
        return draw_initial_shared_parameters(build_model(terms), label)


def federation_of(dataset: str, seed: int) -> Federation | None:
    """Make the sites of a seed; None if the data are not on this machine."""
    if dataset == "heart":
        hospitals = federation(dataset, DATASETS[dataset].sites, seed)
        if hospitals is None:
            return None
        return Federation(
            dataset,
            seed,
            tuple(_patients(hospital.train) for hospital in hospitals),
            _patients(pooled([hospital.test for hospital in hospitals])),
        )
    if not _IMAGES.is_file():
        return None
    train, test = _images()
    random = np.random.default_rng(seed)
    parts = _uneven(train.labels, random) if dataset == "three" else _skewed(train.labels, random)
    return Federation(dataset, seed, tuple(_patients(train.of(rows)) for rows in parts), _patients(test))


@lru_cache(maxsize=256)
def _parsed(text: str) -> Terms:
    return parse_terms(json.loads(text))


def terms_of(dataset: str, epsilon: float | None, **sections: dict[str, Any]) -> Terms:
    """Make the study of a data set; ``sections`` are merged into the sections of the same name."""
    usual = _draft(dataset, epsilon)
    return _parsed(json.dumps({**usual, **{name: {**usual[name], **own} for name, own in sections.items()}}))


def _draft(dataset: str, epsilon: float | None) -> dict[str, Any]:
    common = DATASETS[dataset]
    private = {"epsilon": epsilon, "delta": common.delta, "clipping_norm": 1.0}
    return {
        "consilium": 1,
        "name": dataset,
        "purpose": "Compare optimisers.",
        "model": common.model,
        "data": study("heart").data.model_dump(mode="json") if dataset == "heart" else _pixels(),
        "training": {"rounds": ROUNDS, "local_steps": LOCAL_STEPS, "sampling_rate": common.sampling_rate},
        "privacy": {"epsilon": "none"} if epsilon is None else private,
        "cohort": {"minimum": 3, "maximum": 8},
        "secure_aggregation": {"value_range": 8.0},
    }


def _pixels() -> dict[str, Any]:
    """Describe an image as a data contract with one column for each pixel."""
    return {
        "name": "pneumoniamnist",
        "patient": "image",
        "ranges_from": "eight bits a pixel",
        "features": [
            {"kind": "number", "name": f"pixel-{place}", "low": 0, "high": 255} for place in range(_SIDE * _SIDE)
        ],
        "label": {"name": "pneumonia", "positive": ["1"], "negative": ["0"]},
    }


def _uneven(labels: Array, random: np.random.Generator) -> list[Rows]:
    """Draw the rows of each of three hospitals."""
    negatives, positives = (random.permutation(np.flatnonzero(labels == label)) for label in (0, 1))
    ill = [round(patients * share) for patients, share in SMALLER]
    well = [patients - own for (patients, _), own in zip(SMALLER, ill, strict=True)]
    pairs = zip(np.split(negatives, np.cumsum(well)), np.split(positives, np.cumsum(ill)), strict=True)
    return [np.concatenate(pair) for pair in pairs]


def _skewed(labels: Array, random: np.random.Generator) -> list[Rows]:
    """Draw the rows of each site, each label divided separately."""
    sites = DATASETS["pneumonia"].sites
    while True:
        parts: list[list[Rows]] = [[] for _ in range(sites)]
        for label in (0, 1):
            rows = random.permutation(np.flatnonzero(labels == label))
            cuts = np.cumsum(random.dirichlet([SKEW] * sites))[:-1] * len(rows)
            for part, own in zip(parts, np.split(rows, cuts.astype(np.int64)), strict=True):
                part.append(own)
        found = [np.concatenate(part) for part in parts]
        if min(len(rows) for rows in found) >= FEWEST:
            return found


def _patients(records: Records) -> Patients:
    return make_patients(records.features, records.labels)


@lru_cache(maxsize=1)
def _images() -> tuple[Records, Records]:
    """Read training and test images as a site reads a table: pixels, each with its missing-indicator."""
    with np.load(_IMAGES) as stored:
        train, test = (
            Records(_as_table(stored[f"{part}_images"]), stored[f"{part}_labels"].reshape(-1).astype(np.float64))
            for part in ("train", "test")
        )
    return train, test


def _as_table(images: NDArray[np.uint8]) -> Array:
    """Convert (images, 28, 28) bytes to (images, 2 * 7 * 7) numbers."""
    blocks = images.reshape(len(images), _SIDE, 28 // _SIDE, _SIDE, 28 // _SIDE).mean(axis=(2, 4)) / 127.5 - 1.0
    pixels = blocks.reshape(len(images), -1)
    return np.stack([pixels, np.zeros_like(pixels)], axis=2).reshape(len(images), -1)
