"""Simulate in one place what a federation is compared with: training on one table, or on several pooled.

For public or invented data only: no ledger is asked, no budget is spent, and pooling tables is what a federation
exists to avoid. Steps, noise and scoring are exactly those of a site, so the figures can be compared.

A site that trains alone on its own patients takes the same steps (:func:`train_in_one_place`), and pays before
(``client/study/train_alone.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import nn

from client.data.dataset import compute_public_count
from client.data.examples import Array, Patients
from client.data.site_data import read_data
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.local_steps import require_usable, train
from client.training.lots_in_turn import order_lots
from client.training.scoring import count_scores
from client.training.study_model import begin_model, list_trained_ranges, make_first_model
from models.federated.server_optimiser import make_optimiser
from models.parameters.flatten import read_personal_parameters, set_personal_parameters, set_shared_parameters
from models.task import Values
from models.tasks.registry import make_task
from privacy.dpsgd import PatientFilter
from privacy.errors import TermsError
from privacy.randomness import KEY_BYTES, KeyStream, from_os
from privacy.study import Choice, Placement, Terms, Unit


class SimulatedRun(NamedTuple):
    """The figures of one simulated training, and the number of test patients."""

    figures: Values
    patients: int


def simulate(
    terms: Terms,
    train_files: Sequence[Path],
    test_files: Sequence[Path],
    noise_multiplier: float | None,
    repeats: int = 1,
    weights: Path | None = None,
) -> tuple[SimulatedRun, ...]:
    """Train all rounds of ``terms`` on the pooled ``train_files`` and score on the pooled ``test_files``.

    Args:
        terms: the study; its schedule of rounds and steps is kept.
        train_files: one file for a hospital alone, several for pooled training.
        test_files: files of the patients who are scored, without noise.
        noise_multiplier: sigma; None trains without privacy (and without clipping), whatever the terms say.
        repeats: trainings with fresh randomness, one result each.
        weights: the public weights that the terms begin with.

    Raises:
        DataError: a file breaks the contract, or there are too few patients.
        TermsError: the model cannot be built, or the unit is the site.
        RefusedError: the weights are not those of the terms.
        DivergedError: the parameters left the numbers that a model can compute with.
    """
    if noise_multiplier is not None and terms.privacy.unit is Unit.SITE:
        raise TermsError(
            "the study's unit is the site: its noise is over whole updates of many sites, and one table is none of "
            "them; compare with training without privacy (--not-private)"
        )
    training = pool_patients([read_data(terms.data, path).patients for path in train_files])
    testing = pool_patients([read_data(terms.data, path).patients for path in test_files])
    studied = terms if noise_multiplier is not None else remove_privacy(terms)
    return tuple(
        score(train_in_one_place(studied, training, noise_multiplier, weights), testing, studied)
        for _ in range(repeats)
    )


def pool_patients(parts: Sequence[Patients]) -> Patients:
    """Pool the patients of all ``parts``, which are taken to be different persons."""
    offsets = np.cumsum([0, *(part.patients for part in parts)])  # (parts + 1,)
    return Patients(
        inputs=_join([part.inputs for part in parts], parts),
        targets=_join([part.targets for part in parts], parts),
        patient=np.concatenate([part.patient + offset for part, offset in zip(parts, offsets[:-1], strict=True)]),
        patients=int(offsets[-1]),
    )


def _join(arrays: Sequence[Mapping[str, Array]], parts: Sequence[Patients]) -> dict[str, Array]:
    if len(parts) == 1:
        return dict(arrays[0])
    return {
        name: np.concatenate(
            [each[name][np.arange(part.records)] for each, part in zip(arrays, parts, strict=True)]
        )
        for name in arrays[0]
    }


def train_in_one_place(
    terms: Terms,
    training: Patients,
    noise_multiplier: float | None,
    weights: Path | None = None,
    *,
    public_patients: int | None = None,
    patient_filter: PatientFilter | None = None,
    stream: KeyStream | None = None,
) -> nn.Module:
    """Train all rounds of ``terms`` on ``training``; return the model that would be released, on the CPU.

    Where lots are in a fixed order, a patient's lot follows from their place among the patients.

    Args:
        terms: the study.
        training: the patients.
        noise_multiplier: sigma; without it ``terms`` must be without privacy (:func:`remove_privacy`).
        weights: the public weights that the terms begin with.
        public_patients: the registered, rounded patient count; computed from ``training`` if not given.
        patient_filter: who takes part in a step; None: everybody in the lot.
        stream: secret randomness; fresh from the operating system unless a test gives one.

    Raises:
        TermsError, RefusedError, DivergedError: as :func:`simulate`.
    """
    public_patients = public_patients or compute_public_count(training.patients)
    optimiser = replace(make_optimiser(terms), control_variates=False)  # they correct sites towards each other
    shared = optimiser.make_initial_state(make_first_model(terms, weights))
    module, _ = begin_model(terms, weights)
    personal, records = read_personal_parameters(module), DeviceRecords(training, terms, CPU.device)
    correlated = noise_multiplier is not None and terms.privacy.placement is Placement.CORRELATED
    names, carried = [str(patient) for patient in range(training.patients)], None
    for number in range(1, terms.training.rounds + 1):
        model = optimiser.model_of(shared)
        trained = train(
            model, terms, records, public_patients, noise_multiplier, CPU, stream,
            number=number, model=module, personal=personal, patient_filter=patient_filter,
            in_turn=order_lots(terms, names, from_os().draw_bytes(KEY_BYTES), carried) if correlated else None,
        )  # fmt: skip
        carried = trained.carried
        ranges = list_trained_ranges(module, terms, number)
        shared, personal = optimiser.advance(shared, trained.update, ranges=ranges), trained.personal
    require_usable(optimiser.model_of(shared), terms)
    averaged = terms.release.model is Choice.AVERAGE
    set_shared_parameters(module, optimiser.average_of(shared) if averaged else optimiser.model_of(shared))
    set_personal_parameters(module, personal)
    return module


def score(module: nn.Module, testing: Patients, terms: Terms) -> SimulatedRun:
    """Score a trained model on ``testing``, without noise."""
    counts, task = count_scores(module, testing, terms).tolist(), make_task(terms.task, terms.data)
    bins = terms.evaluation.bins
    return SimulatedRun(task.compute_figures(counts, bins), task.count_patients(counts, bins))


def remove_privacy(terms: Terms) -> Terms:
    """Return the same study with privacy switched off."""
    off = terms.privacy.model_copy(update={"epsilon": None, "delta": None, "clipping_norm": None})
    unscored = terms.evaluation.model_copy(update={"epsilon": None})
    return terms.model_copy(update={"privacy": off, "evaluation": unscored})
