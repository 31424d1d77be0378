"""What a federation is compared with: one table, or several pooled, trained in one place. A simulation.

For public or invented data only: no ledger is asked, no budget is spent, and pooling tables is what a federation
exists to avoid. Steps, noise and scoring are exactly those of a site, so the figures compare.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from client.data import Patients, public_count, read_table
from client.evaluate import score_histogram
from client.state import optimiser_of
from client.train import build_model, first_model, train
from models.metrics import Metrics, metrics
from models.parameters import from_vector
from privacy.study import Terms


def simulate(
    terms: Terms,
    train_files: Sequence[Path],
    test_files: Sequence[Path],
    noise_multiplier: float | None,
    repeats: int = 1,
) -> tuple[Metrics, ...]:
    """Train all rounds of ``terms`` on the pooled ``train_files`` and score on the pooled ``test_files``.

    Args:
        terms: the study; its schedule of rounds and steps is kept.
        train_files: one file for a hospital alone, several for pooled training.
        test_files: whose patients are scored, without noise.
        noise_multiplier: sigma; None trains without privacy (and without clipping), whatever the terms say.
        repeats: trainings with fresh randomness, one result each.

    Raises:
        DataError: a file breaks the contract, or there are too few patients.
        TermsError: the model cannot be built.
        TrainingError: the parameters left the finite numbers.
    """
    training = pooled([read_table(terms.data, path).patients for path in train_files])
    testing = pooled([read_table(terms.data, path).patients for path in test_files])
    studied = terms if noise_multiplier is not None else _without_privacy(terms)
    return tuple(_trained_once(studied, training, testing, noise_multiplier) for _ in range(repeats))


def pooled(parts: Sequence[Patients]) -> Patients:
    """The patients of all ``parts``, which are taken to be different persons."""
    offsets = np.cumsum([0, *(part.patients for part in parts)])
    return Patients(
        features=np.concatenate([part.features for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        patient=np.concatenate([part.patient + offset for part, offset in zip(parts, offsets[:-1], strict=True)]),
        patients=int(offsets[-1]),
    )


def _trained_once(terms: Terms, training: Patients, testing: Patients, noise_multiplier: float | None) -> Metrics:
    device = torch.device("cpu")
    public_patients = public_count(training.patients)
    optimiser = optimiser_of(terms)
    shared = optimiser.start(first_model(terms))
    for number in range(1, terms.training.rounds + 1):
        model = optimiser.model_of(shared)
        update = train(model, terms, training, public_patients, noise_multiplier, device, number=number).update
        shared = optimiser.advance(shared, update)
    module = build_model(terms)
    from_vector(module, optimiser.model_of(shared))
    return metrics(score_histogram(module, testing, terms.evaluation.bins).tolist())


def _without_privacy(terms: Terms) -> Terms:
    """The same study with privacy switched off."""
    off = terms.privacy.model_copy(update={"epsilon": None, "delta": None, "clipping_norm": None})
    unscored = terms.evaluation.model_copy(update={"epsilon": None})
    return terms.model_copy(update={"privacy": off, "evaluation": unscored})
