"""Score every canary by what was seen of the audited site: how much of its own gradient is in the sums.

The attacker knows the model of each round, what every canary's clipped gradient would be, and what the ordinary
patients look like; what they do not know is who was drawn, and the noise. Of each sum they take off what ordinary
patients are expected to add, and solve for the numbers of lots that each canary was in.

====================  ================================================================================================
score                 what it finds
====================  ================================================================================================
``mean``              presence: the mean over rounds, weighted by how much noise is in each; 0 if absent, 1 if present
``reversed``          influence on other patients that outweighs a canary's own: the mean with the other sign
``one side``,         the same where it depends on the canary's target: the mean less that of the canaries whose
``other side``        gradients point to the same side, with one sign for each side
``change``            noise that repeats: the largest change from one round to the next. Where two rounds have the same
                      noise it is zero for who was absent
====================  ================================================================================================

Scores may be anything: no bound relies on their being good. That one canary's mean does not depend on another's coin,
which the bound ``independent`` presumes, holds where every canary has a direction of its own; then noise in the solved
numbers is as good as independent, and ``independent`` says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from client.audit.canaries import Canaries, read_as_trained
from client.audit.memory_rounds import SeenRound
from client.data.examples import treat_records_as_patients
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.local_steps import make_loss
from client.training.study_model import build_model
from models.parameters.flatten import set_shared_parameters
from privacy.audit.empirical.guesses import Scores
from privacy.dpsgd import DpSgd, Mechanism
from privacy.randomness import KeyStream
from privacy.study import StepRule, Terms, Unit

_MOST_CORRELATION: Final = 0.1
"""Between the noise of two canaries' numbers, up to which they count as independent."""
_RIDGE: Final = 1e-9  # of the mean squared norm of a gradient, so that solving always works


@dataclass(frozen=True, eq=False)
class Attack:
    """The scores of every canary.

    Attributes:
        scores: (canaries,) each, in the order of the module's table; ``change`` only where there are two rounds.
        independent: whether one canary's mean does not depend on another's coin.
    """

    scores: tuple[Scores, ...]
    independent: bool


class Attacker:
    """Solves every sum for the canaries in it.

    Args:
        terms: the audited study.
        canaries: all of them, present or not.
        ordinary: the ordinary patients whose gradients are in what is seen; None where they are real: then the bounds
            are computed from noised sums and invented patients alone.
        noise_multiplier: sigma.
    """

    def __init__(
        self, terms: Terms, canaries: Canaries, ordinary: DeviceRecords | None, noise_multiplier: float
    ) -> None:
        self._terms, self._ordinary, self._sigma = terms, ordinary, noise_multiplier
        # with the record as unit each record is drawn and clipped for itself
        self._units = canaries.records_each if terms.privacy.unit is Unit.RECORD else 1  # of one canary
        patients = read_as_trained(terms, canaries.records)
        if terms.privacy.unit is Unit.RECORD:
            patients = treat_records_as_patients(patients)
        self._canaries = DeviceRecords(patients, terms, CPU.device)
        self._module = build_model(terms)
        norm = terms.privacy.clipping_norm
        mechanism = Mechanism(terms.training.sampling_rate, 1, norm, noise_multiplier=0.0)
        self._engine = DpSgd(self._module, make_loss(terms), mechanism, KeyStream(bytes(32)))
        self._numbers: list[Scores] = []
        self._variances: list[Scores] = []
        self._correlation = 0.0
        self._sides = np.ones(len(canaries.present))

    def look(self, seen: SeenRound) -> None:
        """Solve the sum of one round."""
        set_shared_parameters(self._module, seen.model)
        self._module.train()
        training, norm = self._terms.training, self._terms.privacy.clipping_norm or 1.0
        expected = training.lots * training.sampling_rate
        gradients = self._compute_gradients()  # (canaries, P)
        left = seen.total
        if self._ordinary is not None:
            left = left - expected * self._sum_gradients(self._ordinary)
        gram = gradients @ gradients.T
        if not self._numbers:
            self._sides = np.where(gram[0] < 0, -1.0, 1.0)
        gram[np.diag_indices_from(gram)] += _RIDGE * (np.trace(gram) / len(gram) + _RIDGE)
        inverse = np.linalg.inv(gram)
        self._numbers.append(inverse @ (gradients @ left) / expected)
        noise = np.maximum(np.diag(inverse), 0.0) * training.lots * (self._sigma * norm) ** 2
        self._variances.append(noise / expected**2 + (1 - training.sampling_rate) / (2 * expected))
        self._correlation = max(self._correlation, _find_largest_correlation(inverse))

    def finish(self) -> Attack:
        """Return the scores."""
        numbers, weights = np.array(self._numbers), 1 / np.array(self._variances)  # (rounds, canaries)
        mean = (weights * numbers).sum(axis=0) / weights.sum(axis=0)
        sided = self._sides * (mean - _compute_group_means(mean, self._sides))
        scores: tuple[Scores, ...] = (mean, -mean, sided, -sided)
        if len(numbers) > 1:
            scores = (*scores, np.abs(np.diff(numbers, axis=0)).max(axis=0))
        training = self._terms.training
        plain = training.step.rule is StepRule.PLAIN and not training.proximal and not training.weight_decay
        return Attack(scores, plain and self._correlation <= _MOST_CORRELATION)

    def _compute_gradients(self) -> NDArray[np.float64]:
        """Return what each canary adds to a sum, clipped; (canaries, P)."""
        units = np.arange(self._canaries.patients, dtype=np.int64).reshape(-1, self._units)
        return np.stack([self._engine.sum_lot(self._canaries, each).double().numpy() for each in units])

    def _sum_gradients(self, records: DeviceRecords) -> NDArray[np.float64]:
        everybody = np.arange(records.patients, dtype=np.int64)
        total: NDArray[np.float64] = self._engine.sum_lot(records, everybody).double().numpy()
        return total


def _compute_group_means(values: Scores, groups: NDArray[np.float64]) -> Scores:
    """Return for each value the mean of its group; (canaries,)."""
    means = np.empty_like(values)
    for group in np.unique(groups):
        means[groups == group] = values[groups == group].mean()
    return means


def _find_largest_correlation(covariance: NDArray[np.floating]) -> float:
    deviations = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    correlation = np.abs(covariance / np.outer(deviations, deviations))
    np.fill_diagonal(correlation, 0.0)
    return float(correlation.max()) if len(correlation) > 1 else 0.0


def score_rounds(
    terms: Terms,
    canaries: Canaries,
    ordinary: DeviceRecords | None,
    noise_multiplier: float,
    seen: Sequence[SeenRound],
) -> Attack:
    """Score the canaries by all rounds that were seen."""
    attacker = Attacker(terms, canaries, ordinary, noise_multiplier)
    for each in seen:
        attacker.look(each)
    return attacker.finish()
