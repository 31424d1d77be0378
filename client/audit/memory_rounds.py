"""Run the rounds of an audited study over sites in memory, and keep what everybody else would see of one site.

Every step is the sites' own: training, clipping, noise, rounding, sealing under pair and own masks, the sum of
ciphertexts, opening, and the step of the shared model. What is left out is what carries nothing about records: the
coordinator's journal, signatures and the ledger (``tests/attacks/test_audited_federation.py`` audits with them).

What is seen is the most that the study's promise allows for:

=================  =====================================================================================================
placement          what is seen of the audited site
=================  =====================================================================================================
``local``          its own integers: the opened sum less those of all other sites, who conspire
``correlated``     the same, and so all of its noise before, as far as its gradients are known
``distributed``    the opened sum less the shares of as many conspiring sites as the terms name
=================  =====================================================================================================
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from client.study.noise_modes import (
    MeanUpdate,
    NoiseMode,
    PublicRound,
    find_noise_mode,
    make_round_noise,
    read_mean_update,
    round_update,
)
from client.training.interface import TrainingInterface
from client.training.jobs import FirstModel, ShareRound, TrainRound
from models.federated.server_optimiser import make_optimiser
from models.parameters.vector import Vector
from privacy.errors import TermsError
from privacy.mechanisms.distributed_noise import SharedNoise, decode_opened_sum
from privacy.mechanisms.value_range import count_most_patients
from privacy.randomness import KEY_BYTES, KeyStream
from privacy.secure_aggregation.aggregate import Aggregate
from privacy.secure_aggregation.opening import open_aggregate
from privacy.secure_aggregation.quantise import dequantise
from privacy.secure_aggregation.round_layout import compute_weight, count_sealed_values, make_grid, make_layout
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.seal import seal
from privacy.study import Terms, Unit

Integers = NDArray[np.uint32]
AUDITED: Final = 0  # the place of the audited site among the names


@dataclass(frozen=True, eq=False)
class SeenRound:
    """What an attacker sees of the audited site in one round.

    Attributes:
        number: the round.
        model: (P,) the shared model that it began from.
        total: (P,) the sum of the clipped gradients of all its lots, with noise. In ``distributed`` placement those of
            the sites that do not conspire.
        integers: (P,) of each site before it seals them, by name.
        sealed: what each site sends, by name.
        opened: (d,) the integers of the sum, which every site opens.
    """

    number: int
    model: Vector
    total: Vector
    integers: Mapping[str, Integers] = field(repr=False, default_factory=dict)
    sealed: Mapping[str, bytes] = field(repr=False, default_factory=dict)
    opened: NDArray[np.int64] = field(repr=False, default_factory=lambda: np.empty(0, dtype=np.int64))


class MemoryRounds:
    """Sites of one study in memory.

    Args:
        terms: the audited study.
        sessions: the training of each site, by name.
        patients: the public patient count of each.
        noise_multiplier: sigma; None without privacy.
        stream: secret randomness of sampling, noise, rounding and masks.

    Raises:
        TermsError: the noise does not fit the grid or the range that the terms ask for.
    """

    def __init__(
        self,
        terms: Terms,
        sessions: Mapping[str, TrainingInterface],
        patients: Mapping[str, int],
        noise_multiplier: float | None,
        stream: KeyStream,
    ) -> None:
        self._terms, self._sessions, self._patients, self._stream = terms, sessions, patients, stream
        self._names, self._sigma = tuple(sessions), noise_multiplier
        self._mode = find_noise_mode(terms)
        self._optimiser = make_optimiser(terms)
        model = sessions[self._names[AUDITED]].run(FirstModel())
        self._shared = self._optimiser.make_initial_state(model)
        self._parameters = len(model)
        self.layout = make_layout(terms, count_sealed_values(terms, len(model)), 0, sites=len(self._names))
        self._key = StudyKey.generate()
        self._pairs = _make_pair_secrets(self._names, stream)
        self._residuals: dict[str, Vector | float] = dict.fromkeys(self._names, 0.0)
        self._personal: dict[str, Vector | None] = dict.fromkeys(self._names)
        self._carried: dict[str, Vector | None] = dict.fromkeys(self._names)
        self._room = count_most_patients(patients.values()) if terms.sums_patients else 0
        self._halvings = 0
        if self._mode is not NoiseMode.LOCAL and (problem := self._noise.describe_problem(len(self._names))):
            raise TermsError(f"this study cannot be audited with {len(self._names)} sites: {problem}")

    def run(self, pay: Callable[[int], None] = lambda number: None) -> Iterator[SeenRound]:
        """Run all rounds; yield what is seen of the audited site in each. ``pay`` is called before each begins."""
        for number in range(1, self._terms.training.rounds + 1):
            pay(number)
            model = self._optimiser.model_of(self._shared)
            integers = {name: self._work(name, number, model) for name in self._names}
            sealed, opened = self._exchange(number, integers)
            facts = self._make_facts(number)
            seen = self._look(opened, integers, facts)
            mean: MeanUpdate = read_mean_update(self._terms, self._parameters, opened, facts)
            self._shared = self._optimiser.advance(self._shared, mean.update)
            self._halvings = mean.halvings
            yield SeenRound(number, model, seen, integers, sealed, opened)

    @property
    def _noise(self) -> SharedNoise:
        return make_round_noise(
            self._terms, self._parameters, self._sigma, self._terms.privacy.clipping_norm, self._room
        )

    @property
    def _reference(self) -> int:
        return max(self._patients.values())

    def _work(self, name: str, number: int, model: Vector) -> Integers:
        session, draw = self._sessions[name], self._stream.draw_bytes(KEY_BYTES)
        if self._mode is not NoiseMode.LOCAL:
            variance = self._noise.compute_share_variance(len(self._names))
            return session.run(
                ShareRound(model, number, self._noise, variance, draw, self._personal[name])
            ).integers
        trained = session.run(
            TrainRound(model, number, self._sigma, draw, None, self._personal[name], self._carried[name])
        )
        self._personal[name], self._carried[name] = trained.personal, trained.carried
        grid = make_grid(self._terms, self._halvings, self._sigma)
        rounded = round_update(
            trained.update, self._compute_weight(name), self._residuals[name], grid, self._stream
        )
        self._residuals[name] = rounded.residual
        return rounded.quantised.integers

    def _exchange(
        self, number: int, integers: Mapping[str, Integers]
    ) -> tuple[dict[str, bytes], NDArray[np.int64]]:
        """Seal every site's integers, add what is sealed, take the masks off, and open the sum."""
        context = f"audit round {number}".encode()
        seeds, aggregate = (
            {name: self._stream.draw_bytes(KEY_BYTES) for name in self._names},
            Aggregate(self.layout),
        )
        sealed = {
            name: b"".join(
                seal(
                    self.layout,
                    integers[name],
                    (),
                    site=name,
                    cohort=self._names,
                    context=context,
                    study_key=self._key,
                    pair_secrets=self._pairs[name],
                    own_seed=seeds[name],
                )
            )
            for name in self._names
        }
        for each in sealed.values():
            aggregate.add(each)
        aggregate.subtract_masks(seeds, context)
        opened = open_aggregate(
            self.layout, aggregate.to_bytes(), cohort=self._names, context=context, study_key=self._key
        )
        return sealed, opened.values

    def _look(self, opened: NDArray[np.int64], integers: Mapping[str, Integers], facts: PublicRound) -> Vector:
        """Return what conspiring sites see of the audited one; their own integers they know."""
        others = self._names[AUDITED + 1 :]
        if self._mode is NoiseMode.LOCAL:
            left = opened - _add(integers, others)
            update = dequantise(left, 1, make_grid(self._terms, self._halvings, self._sigma))
            update /= self._compute_weight(self._names[AUDITED])
            return read_total_of_update(self._terms, facts.number, update, self._patients[self._names[AUDITED]])
        conspiring = others[: self._terms.cohort.colluders]
        return decode_opened_sum(opened - _add(integers, conspiring), self._noise)

    def _compute_weight(self, name: str) -> float:
        return compute_weight(self._terms, self._patients[name], self._reference)

    def _make_facts(self, number: int) -> PublicRound:
        return PublicRound(
            number=number,
            patients=self._patients,
            reference=self._reference,
            noise_multiplier=self._sigma,
            halvings=self._halvings,
            room=self._room,
            clipping_norm=self._terms.privacy.clipping_norm,
        )


def read_total_of_update(terms: Terms, number: int, update: Vector, public_patients: int) -> Vector:
    """Read the noised sum of clipped gradients, (P,), off an update that plain local steps made; (P,).

    A step is the learning rate times the mean of ``accumulate`` sums over the expected lot.
    """
    training = terms.training
    lot = training.sampling_rate * count_units(terms, public_patients)
    total: Vector = -update * (lot * training.accumulate / training.compute_learning_rate(number))
    return total


def count_units(terms: Terms, public_patients: int) -> int:
    """Return how many units of sampling a site of so many patients is said to have: patients, or all their records."""
    return public_patients * (terms.data.records_per_patient if terms.privacy.unit is Unit.RECORD else 1)


def _add(integers: Mapping[str, Integers], names: Sequence[str]) -> NDArray[np.int64]:
    total: NDArray[np.int64] = np.sum([integers[name].astype(np.int64) for name in names], axis=0, dtype=np.int64)
    return total


def _make_pair_secrets(names: Sequence[str], stream: KeyStream) -> dict[str, dict[str, bytes]]:
    secrets: dict[str, dict[str, bytes]] = {name: {} for name in names}
    for one, other in itertools.combinations(names, 2):
        secrets[one][other] = secrets[other][one] = stream.draw_bytes(KEY_BYTES)
    return secrets
