"""Ask two things of a trained model: whether its explanations are true, and whether it gives its patients away."""

from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn

from benchmarks.challenges_ways import FEW, compare_regularisation, read_example, read_patients, set_rate, take
from client.data.examples import Patients
from client.training.simulate import remove_privacy, score, train_in_one_place
from models.outputs import make_record_loss
from models.tasks.registry import make_task
from privacy.study import Terms, parse_terms
from privacy.study.cost import compute_study_noise

REMOVED: Final = 3
"""Codes that are taken away from each patient."""


def measure_membership(data: Path, repeats: int) -> list[dict[str, Any]]:
    """Tell a network's own patients from others by its loss on them, without privacy and with it.

    The others are as many more of the same hospital. Each time two networks are trained, one on either half, and the
    mean of both guesses is taken: one half may be easier than the other, whoever was trained on.
    """
    comparison = compare_regularisation(data)
    way, rows = comparison.ways[0], []
    everybody = read_patients(way.terms, data / "chest", "train")
    halves = (take(everybody, 0, FEW), take(everybody, FEW, FEW))
    for words, terms, noise in list_privacies(way.terms, comparison.plain_rate):
        told, figures = list[float](), list[float]()
        for _ in range(repeats):
            guesses = list[float]()
            for own, others in (halves, halves[::-1]):
                module = train_in_one_place(terms, own, noise)
                guesses.append(guess_members(module, own, others, terms))
                figures.append(score(module, way.testing, terms).figures["auroc"] or 0.0)
            told.append(fmean(guesses))
        rows.append({"privacy": words, "AUROC of the attack": _write(told), "AUROC of the model": _write(figures)})
    return rows


def guess_members(module: nn.Module, own: Patients, others: Patients, terms: Terms) -> float:
    """Guess by a small loss who was trained on; the guess's AUROC."""
    losses = [compute_losses(module, each, terms) for each in (own, others)]
    truth = np.concatenate([np.ones(len(losses[0])), np.zeros(len(losses[1]))])
    return float(roc_auc_score(truth, -np.concatenate(losses)))


def measure_explanations(data: Path, repeats: int) -> list[dict[str, Any]]:
    """Take away the codes to which RETAIN gives the largest contributions, and as many by chance."""
    terms = parse_terms(read_example("records/retain.yaml"))
    training, testing = (read_patients(terms, data / "heart-failure", part) for part in ("train", "test"))
    inputs = {
        name: torch.from_numpy(np.ascontiguousarray(each[np.arange(2000)])) for name, each in testing.inputs.items()
    }
    rows = []
    for words, each, noise in list_privacies(terms, terms.training.learning_rate):
        errors, named, chance = list[float](), list[float](), list[float]()
        for _ in range(repeats):
            module = train_in_one_place(each, training, noise).eval()
            error, by_name, by_chance = check_contributions(module, inputs)
            errors.append(error)
            named.append(by_name)
            chance.append(by_chance)
        rows.append(
            {
                "privacy": words,
                "largest error of the sum": f"{max(errors):.0e}",
                "without the 3 named codes": _write(named),
                "without 3 others": _write(chance),
            }
        )
    return rows


@torch.no_grad()
def check_contributions(module: nn.Module, inputs: dict[str, torch.Tensor]) -> tuple[float, float, float]:
    """Compare contributions with outputs, and the output's change without named codes and without others.

    Patients with fewer than twice :data:`REMOVED` codes are left out of the changes.
    """
    outputs = module(inputs)
    shares = module.read_contributions(inputs)["visits"]  # type: ignore[operator]  # (records, visits, codes)
    error = (shares.flatten(1).sum(1) + module.head.bias - outputs).abs().max()  # type: ignore[union-attr]
    visits = inputs["visits"]
    enough = visits.flatten(1).sum(1) >= 2 * REMOVED
    present, sizes = visits[enough].flatten(1), shares[enough].flatten(1).abs()
    order = sizes.masked_fill(~present, -1.0).argsort(dim=1, descending=True)
    named = order[:, :REMOVED]
    rest = torch.rand(present.shape).masked_fill(~present, -1.0).scatter(1, named, -1.0)
    others = rest.argsort(dim=1, descending=True)[:, :REMOVED]
    here, before = inputs["present"][enough], outputs[enough]
    changes = []
    for places in (named, others):
        fewer = present.scatter(1, places, False).view_as(visits[enough])
        changes.append(float((module({"visits": fewer, "present": here}) - before).abs().mean()))
    return float(error), changes[0], changes[1]


def compute_losses(module: nn.Module, patients: Patients, terms: Terms) -> NDArray[np.float64]:
    """Compute the loss of each record; (records,)."""
    rows = np.arange(patients.records)
    compute = make_record_loss(make_task(terms.task, terms.data))
    module.eval()
    with torch.no_grad():
        returned = module(
            {name: torch.from_numpy(np.asarray(each[rows])) for name, each in patients.inputs.items()}
        )
        targets = {name: torch.from_numpy(np.asarray(each[rows])) for name, each in patients.targets.items()}
        losses: NDArray[np.float64] = compute(returned, targets).double().numpy()
    return losses


def list_privacies(terms: Terms, plain_rate: float) -> tuple[tuple[str, Terms, float | None], ...]:
    """List the study without privacy and with the learning rate ``plain_rate``, and as it is."""
    private = (f"epsilon {terms.privacy.epsilon:g}", terms, compute_study_noise(terms))
    return (("none", set_rate(remove_privacy(terms), plain_rate), None), private)


def _write(values: list[float]) -> str:
    return f"{fmean(values):.3f} ± {stdev(values):.3f}"
