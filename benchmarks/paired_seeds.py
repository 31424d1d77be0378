"""Train a study in one process with the same seeds without privacy and at each epsilon, so that figures are paired.

Rules:

* Sites, their files and their test patients are those of the federations. A site's steps, its rounding with error
  feedback or its share of the noise, and the reading of the opened sum are the product's own code. Sealing changes no
  integer, so it is left out, and with it keys, ledgers and processes.
* A seed gives the first model, the patients that each site draws in each step, and what dropout and augmentation draw.
  These are the same for every epsilon, because noise comes from a stream of its own (:class:`PairedStream`). So a
  difference between two epsilons of one seed is not that of another beginning or of other lots.
* Test patients are counted without noise, after the last round.

Streams are seeded here, so that a run can be repeated. Training on real patients never uses a fixed seed.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from client.data.dataset import compute_public_count
from client.data.examples import Patients
from client.data.site_data import read_data
from client.study.noise_modes import (
    MeanUpdate,
    NoiseMode,
    PublicRound,
    find_noise_mode,
    make_round_noise,
    read_mean_update,
    round_update,
)
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.global_step import compute_global_step
from client.training.local_steps import train
from client.training.scoring import count_scores
from client.training.study_model import begin_model, list_trained_ranges
from models.federated.server_optimiser import make_optimiser
from models.parameters.flatten import set_personal_parameters, set_shared_parameters
from models.parameters.initial import draw_initial_personal_parameters, draw_initial_shared_parameters
from models.parameters.vector import Vector
from models.task import Values
from models.tasks.registry import make_task
from privacy.errors import TermsError
from privacy.mechanisms.distributed_noise import make_noised_share
from privacy.mechanisms.value_range import count_most_patients
from privacy.randomness import KeyStream, NormalPart
from privacy.secure_aggregation.round_layout import compute_weight, make_grid
from privacy.study import Terms, Unit
from privacy.study.cost import compute_study_noise


class PairedStream(KeyStream):
    """A stream of one site in one round whose normal deviates come from a key of their own.

    So a study without noise draws the same patients as one with noise.
    """

    def __init__(self, *names: object) -> None:
        super().__init__(_derive_key("draws", *names))
        self._noise = KeyStream(_derive_key("noise", *names))

    def draw_normal(self, count: int) -> NDArray[np.float64]:
        """Draw from the noise's own key; see :meth:`privacy.randomness.KeyStream.draw_normal`."""
        return self._noise.draw_normal(count)

    def divide_normals(self, count: int, parts: int) -> list[NormalPart]:
        """Divide what the noise's own key gives; see :meth:`privacy.randomness.KeyStream.divide_normals`."""
        return self._noise.divide_normals(count, parts)


def _derive_key(*names: object) -> bytes:
    return hashlib.sha256(repr(names).encode()).digest()


@dataclass(frozen=True)
class PairedSite:
    """A site: its name and its two files as read."""

    name: str
    training: Patients
    testing: Patients

    @classmethod
    def read(cls, terms: Terms, name: str, train_file: Path, test_file: Path) -> Self:
        """Read both files by the study's contract.

        Raises:
            DataError: a file breaks the contract.
        """
        return cls(name, *(read_data(terms.data, path).patients for path in (train_file, test_file)))

    @property
    def public_patients(self) -> int:
        """The count that others may see."""
        return compute_public_count(self.training.patients)


class PairedCohort:
    """A study's sites in one process: what they keep from round to round, and what a round does with them.

    Args:
        terms: the study, with an epsilon or without privacy.
        sites: every one takes part in every round.
        seed: of the first model and of all draws.
        weights: the public weights that the study begins with.

    Raises:
        TermsError: the study asks for what these rounds leave out, or its model cannot be built.
        RefusedError: the weights are not those of the terms.
        DataError: a site has too few patients.
    """

    def __init__(self, terms: Terms, sites: Sequence[PairedSite], seed: int, weights: Path | None = None) -> None:
        _require_plain(terms)
        self._terms, self._sites, self._seed = terms, sites, seed
        self._sigma = None if terms.privacy.epsilon is None else compute_study_noise(terms)
        self._module, given = begin_model(terms, weights)
        key = _derive_key("first model", seed).hex()
        self._first = draw_initial_shared_parameters(self._module, key, given)  # (P,)
        personal = draw_initial_personal_parameters(self._module, key, given)  # (Q,)
        self._personal = {site.name: personal for site in sites}
        self._residuals: dict[str, Vector | float] = {site.name: 0.0 for site in sites}
        self._records = {site.name: DeviceRecords(site.training, terms, CPU.device) for site in sites}
        self._patients = {site.name: site.public_patients for site in sites}

    @property
    def first(self) -> Vector:
        """The shared model before the first round; (P,)."""
        return self._first

    def train(self) -> Vector:
        """Train all rounds; return the shared model after the last, (P,).

        Raises:
            TermsError: a patient's gradient would not be the one that is clipped.
            DivergedError: the parameters left the numbers that a model can compute with.
        """
        *_, last = self.train_by_rounds()
        return last

    def train_by_rounds(self) -> Iterator[Vector]:
        """Train as :meth:`train`; yield the shared model after each round, (P,)."""
        optimiser, training = make_optimiser(self._terms), self._terms.training
        shared, halvings = optimiser.make_initial_state(self._first), 0
        for number in range(1, training.rounds + 1):
            mean = self._compute_mean_update(optimiser.model_of(shared), number, halvings)
            ranges = list_trained_ranges(self._module, self._terms, number)
            shared = optimiser.advance(shared, mean.update, ranges=ranges)
            same = training.find_stage(number) is training.find_stage(number + 1)
            halvings = mean.halvings if same else 0  # the next stage's updates may be longer
            yield optimiser.model_of(shared)

    def score(self, model: Vector) -> Values:
        """Count the test patients of every site, with its own personal layers; return the figures of all."""
        set_shared_parameters(self._module, model)
        counts = []
        for site in self._sites:
            set_personal_parameters(self._module, self._personal[site.name])
            counts.append(count_scores(self._module, site.testing, self._terms))
        task, bins = make_task(self._terms.task, self._terms.data), self._terms.evaluation.bins
        return task.compute_figures(np.stack(counts).sum(axis=0).tolist(), bins)

    def _compute_mean_update(self, model: Vector, number: int, halvings: int) -> MeanUpdate:
        """Let every site work in round ``number``; open the sum."""
        shares_noise = find_noise_mode(self._terms) is NoiseMode.GLOBAL_STEP
        facts = PublicRound(
            number=number,
            patients=self._patients,
            reference=max(self._patients.values()),
            noise_multiplier=self._sigma,
            halvings=halvings,
            room=count_most_patients(self._patients.values()) if shares_noise else 0,
        )
        make = self._make_share if shares_noise else self._make_update
        opened = np.stack([make(model, facts, site.name) for site in self._sites]).sum(
            axis=0, dtype=np.int64
        )  # (P,)
        return read_mean_update(self._terms, len(model), opened, facts)

    def _make_update(self, model: Vector, facts: PublicRound, site: str) -> NDArray[np.uint32]:
        stream, terms = PairedStream(self._seed, site, facts.number), self._terms
        trained = train(
            model, terms, self._records[site], self._patients[site], self._sigma, CPU, stream,
            number=facts.number, model=self._module, personal=self._personal[site],
        )  # fmt: skip
        self._personal[site] = trained.personal
        weight = compute_weight(terms, self._patients[site], facts.reference)
        grid = make_grid(terms, facts.halvings, self._sigma)
        rounded = round_update(trained.update, weight, self._residuals[site], grid, stream)
        self._residuals[site] = rounded.residual
        return rounded.quantised.integers

    def _make_share(self, model: Vector, facts: PublicRound, site: str) -> NDArray[np.uint32]:
        stream, terms = PairedStream(self._seed, site, facts.number), self._terms
        total = compute_global_step(
            model, terms, self._records[site], self._patients[site], CPU, stream, facts.number, self._module
        )
        noise = make_round_noise(terms, len(model), self._sigma, None, facts.room)
        return make_noised_share(total, noise, noise.compute_share_variance(len(self._sites)), stream)


def _require_plain(terms: Terms) -> None:
    """Refuse what the rounds here leave out.

    Raises:
        TermsError: the unit is no patient, sites take turns, or terms correct sites towards each other.
    """
    mode, training = find_noise_mode(terms), terms.training
    problems = {
        "privacy.unit": terms.privacy.unit is not Unit.PATIENT,
        "cohort.participation": terms.cohort.participation < 1,
        "training.control_variates": training.control_variates,
        "training.weight_decay with shared noise": bool(training.weight_decay) and mode is NoiseMode.GLOBAL_STEP,
    }
    for what, present in problems.items():
        if present:
            raise TermsError(f"{what}: paired trainings leave it out; run a federation of processes instead")
