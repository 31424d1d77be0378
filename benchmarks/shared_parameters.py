"""Measure what hospitals gain from sharing parameters, and what noise on them takes from it (Yuan et al. 2019).

``python -m benchmarks.shared_parameters FILE.npz [--json] [--seeds N]``, where FILE is PneumoniaMNIST.

Five hospitals with few patients each, nearly all of one class, train a small convolutional network. Ways:

===============  =====================================================================================================
alone            each hospital trains by itself; the mean over hospitals
together         federated averaging without noise
each upload      the analytic Gaussian mechanism on each upload, epsilon 8 for every one of them, as published
all uploads      the same with epsilon 8 for all uploads together: what the sentence "epsilon 8" should mean
patients         epsilon 8 for all steps together, but the unit is the patient: clipped gradients, as in DP-SGD
===============  =====================================================================================================

Accuracy is on a test set with both classes alike. Total epsilons are those of the ledger's accountant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.parameters.flatten import read_shared_parameters, set_shared_parameters
from privacy.accounting.analytic_gaussian import compute_analytic_noise
from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.events import Gaussian
from privacy.command_line import print_json, print_table
from privacy.dpsgd import DpSgd, Mechanism, TensorRecords
from privacy.mechanisms.noised_parameters import compute_upload_noise, make_event, make_upload
from privacy.randomness import KeyStream

DELTA: Final = 1e-5
EPSILON: Final = 8.0
SHARES: Final = (0.95, 0.05, 0.9, 0.1, 0.97)
"""Of positive patients, in each hospital."""
_ROUNDS: Final = 40
_LOCAL_STEPS: Final = 5
_RATE: Final = 0.1
_NORM: Final = 1.0  # of an update and of a patient's gradient

Images = NDArray[np.float32]
Labels = NDArray[np.float32]


@dataclass(frozen=True)
class Hospital:
    """The training patients of a hospital: images (patients, 1, side, side) in [-1, 1] and labels (patients,)."""

    images: Images
    labels: Labels

    @property
    def records(self) -> TensorRecords:
        """The patients for the engine, one record each."""
        return TensorRecords({"image": self.images}, {"label": self.labels}, np.arange(len(self.labels)))


class Network(nn.Module):
    """Two convolutions of stride 2 and a linear layer; 2,033 parameters for 28 x 28 pixels."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            nn.Tanh(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(16 * ((side + 3) // 4) ** 2, 1),
            nn.Flatten(0),
        )

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits of ``image``; (patients,)."""
        logits: torch.Tensor = self.layers(inputs["image"])
        return logits


def compute_losses(logits: torch.Tensor, targets: dict[str, torch.Tensor]) -> torch.Tensor:
    """Compute the cross-entropy of each patient; (patients,)."""
    return nn.functional.binary_cross_entropy_with_logits(logits, targets["label"], reduction="none")


def make_hospitals(images: Images, labels: Labels, patients: int, seed: int) -> list[Hospital]:
    """Deal ``patients`` patients to each hospital, no patient twice, with the shares of positive ones of ``SHARES``."""
    random = np.random.default_rng(seed)
    classes = [list(random.permutation(np.flatnonzero(labels == value))) for value in (0, 1)]
    hospitals = []
    for share in SHARES:
        positive = round(share * patients)
        rows = [classes[1].pop() for _ in range(positive)] + [classes[0].pop() for _ in range(patients - positive)]
        hospitals.append(Hospital(images[rows], labels[rows]))
    return hospitals


def measure(hospitals: Sequence[Hospital], test: Hospital, seed: int, rounds: int = _ROUNDS) -> dict[str, float]:
    """Train in every way; return the accuracy on ``test`` by the name of the way."""
    module = Network(test.images.shape[-1])
    stream = KeyStream(seed.to_bytes(32, "big"))  # a benchmark's noise, so that a run can be repeated
    torch.manual_seed(seed)
    first = read_shared_parameters(Network(test.images.shape[-1]))

    def train(noise: float | None) -> NDArray[np.float64]:
        model = first
        for _ in range(rounds):
            updates = [train_locally(module, model, each, _LOCAL_STEPS) - model for each in hospitals]
            if noise is not None:
                updates = [make_upload(update, _NORM, noise, stream) for update in updates]
            model = model + sum(updates) / len(updates)
        return model

    return {
        "alone": fmean(
            score(module, train_locally(module, first, each, rounds * _LOCAL_STEPS), test) for each in hospitals
        ),
        "together": score(module, train(None), test),
        "each upload": score(module, train(compute_upload_noise(EPSILON, DELTA, 1)), test),
        "all uploads": score(module, train(compute_upload_noise(EPSILON, DELTA, rounds)), test),
        "patients": score(module, train_by_patients(module, first, hospitals, rounds * _LOCAL_STEPS, stream), test),
    }


def score(module: nn.Module, model: NDArray[np.float64], test: Hospital) -> float:
    """Return the mean of both classes' accuracies on ``test`` of the parameters ``model`` (P,)."""
    set_shared_parameters(module, model)
    with torch.no_grad():
        said = module({"image": torch.from_numpy(test.images)}).numpy() > 0
    return float(np.mean([np.mean(said[test.labels == value] == value) for value in (0, 1)]))


def list_totals(rounds: int = _ROUNDS) -> dict[str, float]:
    """Return the epsilon of all rounds together, by the ledger's accountant, for the noised ways."""
    steps = rounds * _LOCAL_STEPS
    return {
        "each upload": epsilon_of([make_event(compute_upload_noise(EPSILON, DELTA, 1), rounds)], DELTA),
        "all uploads": epsilon_of([make_event(compute_upload_noise(EPSILON, DELTA, rounds), rounds)], DELTA),
        "patients": epsilon_of(
            [Gaussian(noise_multiplier=compute_analytic_noise(EPSILON, DELTA, steps), count=steps)], DELTA
        ),
    }


def train_locally(
    module: nn.Module, start: NDArray[np.float64], hospital: Hospital, steps: int
) -> NDArray[np.float64]:
    """Take full-batch steps from ``start`` (P,); return the parameters afterwards."""
    set_shared_parameters(module, start)
    inputs, targets = {"image": torch.from_numpy(hospital.images)}, {"label": torch.from_numpy(hospital.labels)}
    for _ in range(steps):
        module.zero_grad()
        torch.autograd.backward(compute_losses(module(inputs), targets).mean())
        with torch.no_grad():
            for parameter in module.parameters():
                assert parameter.grad is not None
                parameter.sub_(_RATE * parameter.grad)
    return read_shared_parameters(module)


def train_by_patients(
    module: nn.Module, start: NDArray[np.float64], hospitals: Sequence[Hospital], steps: int, stream: KeyStream
) -> NDArray[np.float64]:
    """Take common steps along the sum of patients' clipped gradients, with noise of each hospital's own."""
    noise = compute_analytic_noise(EPSILON, DELTA, steps)
    patients = sum(len(each.labels) for each in hospitals)
    model = start
    for _ in range(steps):
        set_shared_parameters(module, model)
        total = np.zeros_like(model)
        for each in hospitals:
            engine = DpSgd(
                module, compute_losses, Mechanism(1.0, len(each.labels), _NORM, 0.0), KeyStream(bytes(32))
            )
            total += engine.sum_lot(each.records, np.arange(len(each.labels))).numpy()
            total += noise * _NORM * stream.draw_normal(len(model))
        model = model - _RATE * total / patients
    return model


def read_images(path: Path) -> tuple[tuple[Images, Labels], Hospital]:
    """Read PneumoniaMNIST: all training images, and a test set with both classes alike."""
    with np.load(path) as found:
        parts = [(found[f"{name}_images"], found[f"{name}_labels"].reshape(-1)) for name in ("train", "test")]
    (images, labels), (tests, truths) = (
        ((pixels[:, None].astype(np.float32) / 127.5 - 1), words.astype(np.float32)) for pixels, words in parts
    )
    return (images, labels), Hospital(tests, truths)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(2, 100), help="Repeats.")
@click.option("--patients", default=100, show_default=True, type=click.IntRange(20), help="Of each hospital.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(file: Path, seeds: int, patients: int, as_json: bool) -> None:
    """Accuracy alone, together, and with noise on shared parameters."""
    (images, labels), test = read_images(file)
    runs = [measure(make_hospitals(images, labels, patients, seed), test, seed) for seed in range(1, seeds + 1)]
    totals = list_totals()
    found: dict[str, dict[str, Any]] = {
        way: {
            "accuracy": fmean(run[way] for run in runs),
            "deviation": stdev(run[way] for run in runs),
            "epsilon": totals.get(way),
        }
        for way in runs[0]
    }
    if as_json:
        print_json({"patients": patients, "seeds": seeds, "ways": found})
        return
    rows = [
        (
            way,
            f"{each['accuracy']:.3f} +- {each['deviation']:.3f}",
            f"{each['epsilon']:.1f}" if each["epsilon"] else "-",
        )
        for way, each in found.items()
    ]
    print_table(("way", "balanced accuracy", "epsilon in all"), rows)


if __name__ == "__main__":
    main()
