"""Train with shared parameters, plainly and with noise on them (Yuan et al. 2019).

A part of ``benchmarks/privacy_systems_accuracy.py``.

===============  =====================================================================================================
alone            each hospital trains by itself; the mean over hospitals
together         federated averaging without noise
each upload      the analytic Gaussian mechanism on each upload, epsilon 8 for every one of them, as published
all uploads      the same with epsilon 8 for all uploads together: what the sentence "epsilon 8" should mean
patients         epsilon 8 for all steps together, but the unit is the patient: clipped gradients, as in DP-SGD
===============  =====================================================================================================

Total epsilons are those of the ledger's accountant.
"""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Final

import numpy as np

from benchmarks.privacy_systems_studies import (
    DELTA,
    EPSILON,
    LOCAL_STEPS,
    ROUNDS,
    Federation,
    Vector,
    compute_losses,
    compute_update,
    score,
    train_locally,
)
from models.parameters.flatten import set_shared_parameters
from privacy.accounting.analytic_gaussian import compute_analytic_noise
from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.events import Gaussian
from privacy.dpsgd import DpSgd, Mechanism
from privacy.mechanisms.noised_parameters import compute_upload_noise, make_event, make_upload
from privacy.randomness import KeyStream

NORM: Final = 1.0
"""To which an update, and a patient's gradient, are clipped."""

Adder = Callable[[Sequence[Vector]], Vector]
"""What becomes of the updates of a round: their mean, or nearly; (P,)."""


def measure(made: Federation, seed: int, rounds: int = ROUNDS) -> dict[str, float]:
    """Train in every way; return the accuracy by the name of the way."""
    stream = KeyStream(seed.to_bytes(32, "big"))  # a benchmark's noise, so that a run can be repeated
    first, steps = made.start, rounds * LOCAL_STEPS

    def with_noise(uploads: int) -> Adder:
        noise = compute_upload_noise(EPSILON, DELTA, uploads)
        return lambda updates: take_mean([make_upload(update, NORM, noise, stream) for update in updates])

    return {
        "alone": fmean(score(made, train_locally(made, first, each, steps, made.rate)) for each in made.hospitals),
        "together": score(made, train_together(made, first, rounds, take_mean)),
        "each upload": score(made, train_together(made, first, rounds, with_noise(1))),
        "all uploads": score(made, train_together(made, first, rounds, with_noise(rounds))),
        "patients": score(made, train_by_patients(made, first, steps, stream)),
    }


def list_totals(rounds: int = ROUNDS) -> dict[str, float]:
    """Return the epsilon of all rounds together, by the ledger's accountant, for the noised ways."""
    steps = rounds * LOCAL_STEPS
    return {
        "each upload": epsilon_of([make_event(compute_upload_noise(EPSILON, DELTA, 1), rounds)], DELTA),
        "all uploads": epsilon_of([make_event(compute_upload_noise(EPSILON, DELTA, rounds), rounds)], DELTA),
        "patients": epsilon_of(
            [Gaussian(noise_multiplier=compute_analytic_noise(EPSILON, DELTA, steps), count=steps)], DELTA
        ),
    }


def take_mean(updates: Sequence[Vector]) -> Vector:
    """Return the mean of updates, exactly; (P,)."""
    mean: Vector = np.mean(updates, axis=0)
    return mean


def train_together(made: Federation, start: Vector, rounds: int, add: Adder) -> Vector:
    """Train by federated averaging from ``start`` (P,); return the parameters afterwards."""
    model = start
    for _ in range(rounds):
        model = model + add([compute_update(made, model, each) for each in made.hospitals])
    return model


def train_by_patients(
    made: Federation, start: Vector, steps: int, stream: KeyStream, paid_steps: int | None = None
) -> Vector:
    """Take common steps along the sum of patients' clipped gradients, with noise of each hospital's own.

    Args:
        made: hospitals and network.
        start: the parameters to begin with; (P,).
        steps: how many.
        stream: of the noise.
        paid_steps: the steps that share ``EPSILON``, if others have a part of it.
    """
    noise = compute_analytic_noise(EPSILON, DELTA, paid_steps or steps)
    model = start
    for _ in range(steps):
        set_shared_parameters(made.network, model)
        total = np.zeros_like(model)
        for each in made.hospitals:
            patients = len(each.labels)
            engine = DpSgd(made.network, compute_losses, Mechanism(1.0, patients, NORM, 0.0), stream)
            total += engine.sum_lot(each.records, np.arange(patients)).numpy()
            total += noise * NORM * stream.draw_normal(len(model))
        model = model - made.rate * total / made.patients
    return model
