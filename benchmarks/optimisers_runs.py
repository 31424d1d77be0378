"""Run one federated training with the product's own parts, without keys: every site's work, round after round.

* Local steps are those of benchmarks/optimisers_steps.py.
* client/study/noise_modes.py weights the update, rounds it with error feedback and reads the opened sum, as at a
  site.
* Sealing changes no integer, so it is left out; :func:`privacy.secure_aggregation.round_layout.layout_of` gives its
  bytes.
* With distributed noise a round is one global step: clipped sums, shares of the noise, their sum.
* The noise keeps the study's promise over all its rounds. The AUROC of held-out patients after every round is not
  charged; a study with privacy would have to pay for it.

Streams are seeded here, so that a run can be repeated. Training on real patients never uses a fixed seed.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.optimisers_data import Federation
from benchmarks.optimisers_steps import Site, local_update, lot_sum
from benchmarks.small_study import read_columns
from benchmarks.utility_training import roomy_noise
from client.study.control_variates import compute_step_length
from client.study.noise_modes import PublicRound, make_round_noise, read_mean_update, round_update
from client.training.simulate import pool_patients
from client.training.study_model import build_model
from models.federated.server_optimiser import LocalWork, make_optimiser
from models.parameters.flatten import set_shared_parameters
from models.parameters.vector import Vector
from privacy.accounting.calibration import compute_noise_multiplier
from privacy.keys import SigningKey
from privacy.mechanisms.distributed_noise import make_noised_share
from privacy.program import read_program
from privacy.randomness import KeyStream
from privacy.secure_aggregation.round_layout import compute_weight, layout_of, make_grid
from privacy.study import Placement, Terms
from privacy.study.launch import Launch, sign_order


def pooled_patients(federation: Federation) -> Federation:
    """Return a federation with all patients at one site."""
    return Federation(federation.dataset, federation.seed, (pool_patients(federation.sites),), federation.held_out)


def aurocs(terms: Terms, federation: Federation) -> list[float]:
    """Compute the AUROC of all sites' held-out patients together, after every round."""
    module = build_model(terms)
    features, labels = read_columns(federation.held_out)
    inputs = {"features": torch.from_numpy(features)}
    found = []
    for model in trained(terms, federation):
        set_shared_parameters(module, model)
        with torch.no_grad():
            found.append(float(roc_auc_score(labels, module(inputs).numpy())))
    return found


def trained(terms: Terms, federation: Federation) -> Iterator[Vector]:
    """Train; yield the shared model after every round, each (P,)."""
    terms = fitted(terms, federation)
    optimiser = make_optimiser(terms)
    shared = optimiser.make_initial_state(federation.first(terms))
    distributed = terms.privacy.placement is Placement.DISTRIBUTED
    cohort = _GlobalSteps(terms, federation) if distributed else _LocalSteps(terms, federation)
    for number in range(1, terms.training.rounds + 1):
        mean = cohort.mean_update(shared, number)
        shared = optimiser.advance(
            shared, mean, LocalWork(compute_step_length(terms, number))
        )  # every site takes part
        yield optimiser.model_of(shared)


def fitted(terms: Terms, federation: Federation) -> Terms:
    """Return ``terms``; with distributed noise, with the range and bits that a study's author would choose."""
    sigma = noise_of(terms)
    if terms.privacy.placement is Placement.LOCAL or sigma is None:
        return terms
    lot = terms.training.sampling_rate * sum(federation.counts)
    noise = roomy_noise(sigma, lot, len(federation.first(terms)), len(federation.sites))
    sealing = terms.secure_aggregation.model_copy(update={"value_range": noise.value_range, "bits": noise.bits})
    return terms.model_copy(update={"secure_aggregation": sealing})


def round_bytes(terms: Terms, federation: Federation) -> int:
    """Compute the sealed bytes that a site sends and receives in a round of training."""
    names = [f"site-{place}" for place in range(len(federation.sites))]
    named: dict[str, Any] = {
        "federation": "benchmark",
        "parameters": len(federation.first(terms)),
        "nonce": "0" * 32,
    }
    fit = fitted(terms, federation)
    value: dict[str, Any] = {
        **named,
        "terms": fit,
        "roster": [{"name": name, "identity": name.ljust(43, "-")} for name in names],
        "program": read_program(),
        "order": sign_order(SigningKey.generate(), "local", terms=fit, sites=names, **named),
    }
    layout = layout_of(Launch.model_validate(value), 1, 0)
    return layout.sealed_bytes + layout.compute_aggregate_bytes(len(names))


class _LocalSteps:
    """Rounds of local steps: sites train separately, and their updates are averaged."""

    def __init__(self, terms: Terms, federation: Federation) -> None:
        self._terms, self._optimiser = terms, make_optimiser(terms)
        self._sites, self._streams = _sites(federation), _streams(federation)
        self._patients, self._reference = _patients(federation), max(federation.counts)
        self._weights = [compute_weight(terms, count, self._reference) for count in federation.counts]
        self._residuals: list[Vector | float] = [0.0 for _ in federation.sites]
        self._variates: list[Vector | float] = [0.0 for _ in federation.sites]
        self._halvings = 0

    def mean_update(self, shared: Vector, number: int) -> Vector:
        """Train and open the mean update of round ``number``; (P,)."""
        grid, parameters = make_grid(self._terms, self._halvings), len(self._optimiser.model_of(shared))
        total = np.zeros(parameters, dtype=np.int64)
        for place, stream in enumerate(self._streams):
            update = self._update(shared, number, place)
            rounded = round_update(update, self._weights[place], self._residuals[place], grid, stream)
            total += rounded.quantised.integers
            self._residuals[place] = rounded.residual
        mean = read_mean_update(self._terms, parameters, total, self._facts(number))
        self._halvings = mean.halvings
        return mean.update

    def _facts(self, number: int) -> PublicRound:
        return PublicRound(number, self._patients, self._reference, noise_of(self._terms), self._halvings)

    def _update(self, shared: Vector, number: int, place: int) -> Vector:
        """Compute one site's update; advance its control variate as client/study/control_variates.py does."""
        terms, controlled = self._terms, self._terms.training.control_variates
        correction = self._optimiser.variate_of(shared) - self._variates[place] if controlled else None
        model, noise = self._optimiser.model_of(shared), noise_of(terms)
        update = local_update(terms, model, self._sites[place], noise, self._streams[place], number, correction)
        if correction is not None:
            self._variates[place] = -correction - update / compute_step_length(terms, number)
        return update


class _GlobalSteps:
    """Rounds of one global step: sites sum clipped gradients, and each adds a share of the noise."""

    def __init__(self, terms: Terms, federation: Federation) -> None:
        self._terms, self._optimiser, self._patients = terms, make_optimiser(terms), _patients(federation)
        self._sites, self._streams = _sites(federation), _streams(federation)

    def mean_update(self, shared: Vector, number: int) -> Vector:
        """Compute and open the mean update of round ``number``; (P,)."""
        model, sigma = self._optimiser.model_of(shared), noise_of(self._terms)
        noise = make_round_noise(self._terms, len(model), sigma, None, room=0)
        variance = noise.compute_share_variance(len(self._sites))
        total = np.zeros(len(model), dtype=np.int64)
        for site, stream in zip(self._sites, self._streams, strict=True):
            total += make_noised_share(lot_sum(self._terms, model, site, stream), noise, variance, stream)
        facts = PublicRound(number, self._patients, max(self._patients.values()), sigma)
        return read_mean_update(self._terms, len(model), total, facts).update


def noise_of(terms: Terms) -> float | None:
    """Compute the noise multiplier that keeps the study's (epsilon, delta); None without privacy."""
    promise, training = terms.privacy, terms.training
    if promise.epsilon is None or promise.delta is None:
        return None
    return _calibrated(promise.epsilon, promise.delta, training.sampling_rate, training.lots, training.rounds)


@cache
def _calibrated(epsilon: float, delta: float, rate: float, lots: int, rounds: int) -> float:
    return compute_noise_multiplier(epsilon, delta, rate, lots, rounds=rounds)


def _sites(federation: Federation) -> list[Site]:
    return [Site.of(patients, count) for patients, count in zip(federation.sites, federation.counts, strict=True)]


def _patients(federation: Federation) -> dict[str, int]:
    """Return the cohort with its public patient counts, as a round's headers show them."""
    return {f"site-{place:03}": count for place, count in enumerate(federation.counts)}


def _streams(federation: Federation) -> list[KeyStream]:
    """Make each site's stream; with one seed the draws are the same for all optimisers."""
    texts = [f"optimisers {federation.dataset} {federation.seed} {place}" for place in range(len(federation.sites))]
    return [KeyStream(hashlib.sha256(text.encode()).digest()) for text in texts]
