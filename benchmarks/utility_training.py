"""Five ways to train one model on a federation, which differ in where the patients are and where noise is added.

* ``none``: all patients in one place, no clipping, no noise.
* ``central``: all patients in one place, DP-SGD with continuous Gaussian noise. A federation is compared with this.
* ``distributed``: one global step a round. :func:`privacy.mechanisms.distributed_noise.make_noised_share` turns a
  site's clipped sum into integers, which are added as the sealed sum adds them, and
  :func:`privacy.mechanisms.distributed_noise.decode_opened_sum` reads the total. Sealing changes no integer, so it
  is left out.
* ``local``: every site takes several DP-SGD steps with full noise, then models are averaged by public patient
  counts. Rounding the average to 16 bits is left out.
* ``alone``: one site's patients, DP-SGD, no federation.

Every mode samples patients with :func:`privacy.dpsgd.sample_patients`, clips to the same norm and divides by the
expected lot, from public counts. Streams are seeded here, so that a run can be repeated. Training on real
patients never uses a fixed seed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.utility_data import Array, Records, Site, pooled
from client.data.dataset import compute_public_count
from models.parameters.vector import add_scaled
from privacy.accounting.calibration import compute_noise_multiplier
from privacy.dpsgd import sample_patients
from privacy.mechanisms.distributed_noise import SharedNoise, decode_opened_sum, make_noised_share
from privacy.randomness import KeyStream

CLIPPING_NORM: Final = 1.0
COLLUDERS: Final = 1
_NOISE_IN_RANGE: Final = 9.0  # standard deviations; the product needs fewer


class Learner(Protocol):
    """The functions that a mode needs of a model."""

    def first(self, seed: int) -> Array:
        """Draw the shared model before the first step, (P,)."""

    def lot_sum(
        self, model: Array, records: Records, chosen: NDArray[np.int64], clipping_norm: float | None
    ) -> Array:
        """Sum the (clipped) gradients of the ``chosen`` patients, (P,)."""

    def logits(self, model: Array, records: Records) -> Array:
        """Compute the logit of each patient, (patients,); above 0 predicts a positive label."""


@dataclass(frozen=True)
class Schedule:
    """The public numbers of a training; ``local`` averages models after every ``local_steps``."""

    steps: int
    sampling_rate: float
    local_steps: int


@dataclass(frozen=True)
class Promise:
    """The (epsilon, delta) of the whole training for a patient."""

    epsilon: float
    delta: float


@dataclass(frozen=True)
class Task:
    """One training: model, schedule, learning rate, promise (None without privacy) and seed."""

    learner: Learner
    schedule: Schedule
    learning_rate: float
    promise: Promise | None
    seed: int

    @property
    def noise(self) -> float | None:
        """The noise multiplier that keeps the promise; None without privacy."""
        return None if self.promise is None else _calibrated(self.promise, self.schedule)

    def stream(self, *names: object) -> KeyStream:
        """Make the stream of one site in one mode."""
        text = repr((self.seed, self.promise, self.schedule, *names))
        return KeyStream(hashlib.sha256(text.encode("utf-8")).digest())


@cache
def _calibrated(promise: Promise, schedule: Schedule) -> float:
    return compute_noise_multiplier(
        promise.epsilon, promise.delta, schedule.sampling_rate, 1, rounds=schedule.steps
    )


def trained(mode: str, task: Task, sites: Sequence[Site]) -> list[Array]:
    """Train in ``mode``; return its models, each (P,): one, or with ``alone`` one for each site."""
    first = task.learner.first(task.seed)
    match mode:
        case "none" | "central":
            everybody = pooled([site.train for site in sites])
            return [descended(task, first, everybody, task.schedule.steps, task.stream(mode))]
        case "distributed":
            return [_distributed(task, first, sites)]
        case "local":
            return [_local(task, first, sites)]
        case "alone":
            return [
                descended(task, first, site.train, task.schedule.steps, task.stream(mode, place))
                for place, site in enumerate(sites)
            ]
    raise ValueError(f"there is no mode '{mode}'")


def descended(task: Task, start: Array, records: Records, steps: int, stream: KeyStream) -> Array:
    """Train by DP-SGD in one place, as :func:`client.training.local_steps.train` does; (P,)."""
    model, noise, rate = start, task.noise, task.schedule.sampling_rate
    clipping_norm = None if noise is None else CLIPPING_NORM
    expected = rate * compute_public_count(records.patients)
    for _ in range(steps):
        total = task.learner.lot_sum(model, records, sample_patients(records.patients, rate, stream), clipping_norm)
        if noise is not None:
            total = total + noise * CLIPPING_NORM * stream.draw_normal(len(total))
        model = add_scaled(model, -total / expected, task.learning_rate)
    return model


def _distributed(task: Task, first: Array, sites: Sequence[Site]) -> Array:
    model, rate = first, task.schedule.sampling_rate
    streams = [task.stream("distributed", place) for place in range(len(sites))]
    noise = shared_noise(task, len(first), sites)
    variance = noise.compute_share_variance(len(sites))
    expected = rate * sum(site.public_patients for site in sites)
    for _ in range(task.schedule.steps):
        opened = np.zeros(len(first), dtype=np.int64)
        for site, stream in zip(sites, streams, strict=True):
            chosen = sample_patients(site.train.patients, rate, stream)
            total = task.learner.lot_sum(model, site.train, chosen, CLIPPING_NORM)
            opened += make_noised_share(total, noise, variance, stream)
        model = add_scaled(model, -decode_opened_sum(opened, noise) / expected, task.learning_rate)
    return model


def shared_noise(task: Task, parameters: int, sites: Sequence[Site]) -> SharedNoise:
    """Make the parameters of a task's distributed noise."""
    noise, lot = task.noise, task.schedule.sampling_rate * sum(site.public_patients for site in sites)
    assert noise is not None, "distributed noise needs a promise"
    return roomy_noise(noise, lot, parameters, len(sites))


def roomy_noise(noise: float, lot: float, parameters: int, sites: int) -> SharedNoise:
    """Make the noise that a study's author would choose: a range for noise and every lot, the proposed bits."""
    value_range = float(np.ceil(_NOISE_IN_RANGE * noise * np.sqrt(sites / (sites - COLLUDERS)) + 1.2 * lot))
    draft = SharedNoise(CLIPPING_NORM, noise, parameters, 16, value_range, COLLUDERS)
    wanted = SharedNoise(CLIPPING_NORM, noise, parameters, draft.propose_bits(), value_range, COLLUDERS)
    problem = wanted.describe_problem(sites)
    assert problem is None, problem
    return wanted


def _local(task: Task, first: Array, sites: Sequence[Site]) -> Array:
    model, steps = first, task.schedule.local_steps
    streams = [task.stream("local", place) for place in range(len(sites))]
    weights = [site.public_patients for site in sites]
    for _ in range(task.schedule.steps // steps):
        after = [descended(task, model, site.train, steps, own) for site, own in zip(sites, streams, strict=True)]
        update = sum(
            (weight * (own - model) for weight, own in zip(weights, after, strict=True)), np.zeros_like(model)
        )
        model = add_scaled(model, update / sum(weights), 1.0)
    return model
