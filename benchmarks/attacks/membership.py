"""Tell who was a patient of the training set, from the released model: LiRA.

Half of some patients train a model; for each of them an attacker asks how likely the model's confidence is among models
that had the patient, and among models that did not. Every model in turn is the one under attack, and all others, which
anybody with patients of the same kind could train, are its shadows.

A reader has the released model. A coordinator with sealed messages has no model at all; a site has every round's model,
of which the last one knows most. So the reader's figures are everybody's who holds a model.

Source: Carlini et al. 2022, "Membership inference attacks from first principles" (arXiv 2112.03570), online, with one
variance for all patients.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.attacks.views import Protection, protect
from benchmarks.small_study import make_patients
from client.training.simulate import train_in_one_place
from privacy.study.cost import compute_study_noise

_FEATURES: Final = 24
_LABEL_NOISE: Final = 0.3
"""Chance of a label at random: what can only be known by heart."""
LOW: Final = 0.01
"""The false alarms at which caught members are counted."""
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Membership:
    """How well members were told from others.

    Attributes:
        protection: what was on.
        auc: area under the curve of caught members over false alarms; 0.5 is guessing.
        caught: the share of members at 1 % false alarms.
    """

    protection: Protection
    auc: float
    caught: float


def _write_study(steps: int) -> dict[str, Any]:
    features = [{"kind": "number", "name": f"x{place}", "low": -1, "high": 1} for place in range(_FEATURES)]
    return {
        "consilium": 1,
        "name": "attacked",
        "purpose": "Be attacked: its patients are generated.",
        "model": {"name": "mlp", "options": {"hidden": [48], "activation": "tanh"}},
        "data": {
            "name": "attacked",
            "patient": "id",
            "ranges_from": "Generated numbers.",
            "features": features,
            "label": {"name": "ill", "positive": ["yes"], "negative": ["no"]},
        },
        "training": {"rounds": 1, "local_steps": steps, "sampling_rate": 0.5, "learning_rate": 2.0},
        "cohort": {"minimum": 3, "maximum": 3},
        "evaluation": {"rounds": []},
    }


def draw_patients(patients: int, seed: int) -> tuple[Matrix, NDArray[np.int64]]:
    """Draw features, (patients, 2 * _FEATURES) with the indicators of missing ones, and labels, (patients,)."""
    random = np.random.default_rng(seed)
    numbers = random.uniform(-1, 1, (patients, _FEATURES))
    labels = (numbers[:, 0] > 0).astype(np.int64)
    flipped = random.random(patients) < _LABEL_NOISE
    labels[flipped] = random.integers(0, 2, int(flipped.sum()))
    table = np.zeros((patients, 2 * _FEATURES))
    table[:, 0::2] = numbers
    return table, labels


def attack_membership(protection: Protection, models: int, patients: int = 80, steps: int = 60) -> Membership:
    """Train ``models`` models on random halves of ``patients`` patients, and attack each by all others."""
    terms = protect(_write_study(steps), protection)
    noise = None if protection.epsilon is None else compute_study_noise(terms)
    table, labels = draw_patients(patients, seed=0)
    random = np.random.default_rng(1)
    present = random.permuted(np.arange(models) % 2 == 0, axis=None)[:, None] * np.ones((1, patients), dtype=bool)
    present = random.permuted(present, axis=0)  # (models, patients): each patient is in half of the models
    scores = np.empty((models, patients))
    rows = torch.from_numpy(table).float()
    for number in range(models):
        chosen = present[number]
        module = train_in_one_place(terms, make_patients(table[chosen], labels[chosen]), noise)
        module.eval()
        with torch.no_grad():
            margins = module({"features": rows}).double().numpy().reshape(patients)
        # the logit of the true label's probability, in a form that never overflows
        scores[number] = np.where(labels == 1, margins, -margins)
    ratios = _compute_ratios(scores, present)
    return Membership(
        protection, float(roc_auc_score(present.ravel(), ratios.ravel())), _count_caught(ratios, present)
    )


def _compute_ratios(scores: Matrix, present: NDArray[np.bool_]) -> Matrix:
    """Return the log likelihood ratio of every (model, patient), by the Gaussians of all other models."""
    models, ratios = len(scores), np.empty_like(scores)
    for number in range(models):
        rest = np.arange(models) != number
        inside = np.where(present[rest], scores[rest], np.nan)
        outside = np.where(~present[rest], scores[rest], np.nan)
        means = np.nanmean(inside, axis=0), np.nanmean(outside, axis=0)
        variance = np.nanmean((inside - means[0]) ** 2), np.nanmean((outside - means[1]) ** 2)
        squares = [(scores[number] - mean) ** 2 / (2 * var) for mean, var in zip(means, variance, strict=True)]
        ratios[number] = squares[1] - squares[0] + 0.5 * np.log(variance[1] / variance[0])
    return ratios


def _count_caught(ratios: Matrix, present: NDArray[np.bool_]) -> float:
    threshold = np.quantile(ratios[~present], 1 - LOW)
    return float(np.mean(ratios[present] > threshold))
