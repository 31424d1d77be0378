"""The two studies on which privacy systems are compared: hospitals, a test set and a small network each.

* ``radiographs``: five hospitals of 100 chest X-rays (PneumoniaMNIST), nearly all of one class in each, so that nobody
  learns much alone; the test set is the collection's own;
* ``heart``: the four hospitals of the UCI heart disease collection as ``benchmarks/utility_data.py`` prepares them,
  which differ in whom they saw; all their test patients together.

Accuracy is the mean of both classes' accuracies. Every way takes as many steps, at the network's rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.utility_data import DATA, federation, pooled
from models.parameters.flatten import read_shared_parameters, set_shared_parameters
from privacy.dpsgd import TensorRecords

DELTA: Final = 1e-5
EPSILON: Final = 8.0
ROUNDS: Final = 40
LOCAL_STEPS: Final = 5
SHARES: Final = (0.95, 0.05, 0.9, 0.1, 0.97)
"""Of positive patients, in each hospital of radiographs."""
CHEST: Final = DATA / "chest" / "pneumoniamnist.npz"
_PATIENTS: Final = 100  # of each hospital of radiographs
_HIDDEN: Final = 16
PERCEPTRON_RATE: Final = 0.3

Vector = NDArray[np.float64]
Values = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Hospital:
    """The patients of a hospital, a record each: inputs (patients, ...) in [-1, 1] and labels (patients,)."""

    inputs: Values
    labels: Values

    @property
    def records(self) -> TensorRecords:
        """The patients for the engine."""
        return TensorRecords(
            torch.from_numpy(self.inputs), torch.from_numpy(self.labels), np.arange(len(self.labels))
        )


@dataclass(frozen=True, eq=False)
class Federation:
    """Hospitals that train one network, and the patients on whom it is tested.

    Attributes:
        hospitals: the patients that each trains on.
        test: held-out patients.
        network: gives a logit for each patient; whatever trains writes its parameters.
        start: the parameters to begin with; (P,).
        rate: of a full-batch step.
    """

    hospitals: Sequence[Hospital]
    test: Hospital
    network: nn.Module
    start: Vector
    rate: float

    @property
    def patients(self) -> int:
        """All patients that are trained on."""
        return sum(len(each.labels) for each in self.hospitals)


def make_federation(hospitals: Sequence[Hospital], test: Hospital, network: nn.Module, rate: float) -> Federation:
    """Make a federation that begins with the network's present parameters."""
    return Federation(hospitals, test, network, read_shared_parameters(network), rate)


def make_federations(seed: int) -> dict[str, Federation]:
    """Make both studies of one seed: other patients in the hospitals, another start.

    Raises:
        FileNotFoundError: the data are not on this machine.
    """
    hospitals = federation("heart", 4, seed)
    if hospitals is None or not CHEST.is_file():
        raise FileNotFoundError(
            f"expected the UCI heart disease files in {DATA / 'heart'}, and PneumoniaMNIST as {CHEST}"
        )
    (images, labels), test = read_images(CHEST)
    held_out = pooled([each.test for each in hospitals])
    torch.manual_seed(seed)
    return {
        "radiographs": make_federation(
            deal_patients(images, labels, _PATIENTS, seed), test, make_image_network(images.shape[-1]), rate=0.1
        ),
        "heart": make_federation(
            [_make_hospital(each.train.features, each.train.labels) for each in hospitals],
            _make_hospital(held_out.features, held_out.labels),
            make_perceptron(held_out.features.shape[1]),
            rate=PERCEPTRON_RATE,
        ),
    }


def make_image_network(side: int) -> nn.Module:
    """Make two convolutions of stride 2 and a linear layer; 2,033 parameters for 28 x 28 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(16 * ((side + 3) // 4) ** 2, 1),
        nn.Flatten(0),
    )


def make_perceptron(features: int) -> nn.Module:
    """Make a perceptron with one hidden layer."""
    return nn.Sequential(nn.Linear(features, _HIDDEN), nn.Tanh(), nn.Linear(_HIDDEN, 1), nn.Flatten(0))


def deal_patients(inputs: Values, labels: Values, patients: int, seed: int) -> list[Hospital]:
    """Deal ``patients`` patients to each hospital, no patient twice, with the shares of positive ones of ``SHARES``."""
    random = np.random.default_rng(seed)
    classes = [list(random.permutation(np.flatnonzero(labels == value))) for value in (0, 1)]
    hospitals = []
    for share in SHARES:
        positive = round(share * patients)
        rows = [classes[1].pop() for _ in range(positive)] + [classes[0].pop() for _ in range(patients - positive)]
        hospitals.append(Hospital(inputs[rows], labels[rows]))
    return hospitals


def read_images(path: Path) -> tuple[tuple[Values, Values], Hospital]:
    """Read PneumoniaMNIST: all training images (images, 1, 28, 28) with their labels, and the test set."""
    with np.load(path) as found:
        parts = [(found[f"{name}_images"], found[f"{name}_labels"].reshape(-1)) for name in ("train", "test")]
    training, (tests, truths) = (
        ((pixels[:, None].astype(np.float32) / 127.5 - 1), words.astype(np.float32)) for pixels, words in parts
    )
    return training, Hospital(tests, truths)


def compute_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Compute the cross-entropy of each patient; (patients,)."""
    return nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def train_locally(made: Federation, start: Vector, hospital: Hospital, steps: int, rate: float) -> Vector:
    """Take full-batch steps from ``start`` (P,); return the parameters afterwards."""
    set_shared_parameters(made.network, start)
    inputs, labels = torch.from_numpy(hospital.inputs), torch.from_numpy(hospital.labels)
    for _ in range(steps):
        made.network.zero_grad()
        torch.autograd.backward(compute_losses(made.network(inputs), labels).mean())
        with torch.no_grad():
            for parameter in made.network.parameters():
                assert parameter.grad is not None
                parameter.sub_(rate * parameter.grad)
    return read_shared_parameters(made.network)


def compute_update(made: Federation, model: Vector, hospital: Hospital) -> Vector:
    """Return what a round's steps at ``hospital`` change of ``model``; both (P,)."""
    return train_locally(made, model, hospital, LOCAL_STEPS, made.rate) - model


def score(made: Federation, model: Vector) -> float:
    """Return the mean of both classes' accuracies on the test patients of the parameters ``model`` (P,)."""
    set_shared_parameters(made.network, model)
    with torch.no_grad():
        return score_logits(made.network(torch.from_numpy(made.test.inputs)).numpy(), made.test.labels)


def score_logits(logits: NDArray[np.floating], labels: Values) -> float:
    """Return the mean of both classes' accuracies of ``logits`` (patients,)."""
    return float(np.mean([np.mean((logits > 0)[labels == value] == value) for value in (0, 1)]))


def _make_hospital(features: Vector, labels: Vector) -> Hospital:
    return Hospital(features.astype(np.float32), labels.astype(np.float32))
