"""Training in this process: the model, the data and the device, loaded once."""

import logging
from functools import cached_property

from client.data.dataset import StudyFiles, read_study
from client.data.examples import Patients, one_by_one
from client.training.interface import Integers, Tensors
from models.parameters.vector import Vector
from privacy.mechanisms.distributed_noise import SharedNoise, noise_share
from privacy.study import Terms, Unit

_log = logging.getLogger(__name__)


class TrainingSession:
    """Training in this process; what the child runs, and what an in-memory federation uses.

    Whatever needs records raises DataUnavailableError if the files cannot be read now, and DataError if they changed
    since they were registered.

    Raises:
        TermsError: the model cannot be built.
        RefusedError: ``weights``: the study's public weights cannot be used.
        TrainingError: the device is not available.
    """

    def __init__(self, terms: Terms, files: StudyFiles, device: str, precision: str = "float32") -> None:
        from client.training.device import Device
        from client.training.study_model import begin_model
        from models.parameters.flatten import to_personal

        self._terms, self._files = terms, files
        self._public_patients = files.public_patients
        if terms.privacy.unit is Unit.RECORD:
            # the most records there can be: a public number
            self._public_patients *= files.contract.records_per_patient
        self._hardware = Device.chosen(device, precision)
        self._weights = files.weights
        self._module = begin_model(terms, self._weights)[0].to(self._hardware.device)
        self._first_personal = to_personal(self._module)

    @cached_property
    def _tables(self) -> tuple[Patients, Patients]:
        """The training and the test patients; read at first use, since admission must not depend on a record."""
        training, testing = read_study(self._files)
        if clipped := training.clipped + testing.clipped:
            _log.info("%d numbers lie beyond their public range and were clipped", clipped)
        if self._terms.privacy.unit is Unit.RECORD:
            return one_by_one(training.patients), testing.patients
        return training.patients, testing.patients

    @property
    def _training(self) -> Patients:
        return self._tables[0]

    @property
    def _testing(self) -> Patients:
        return self._tables[1]

    def initial(self) -> Vector:
        """See :class:`TrainingInterface`."""
        from client.training.study_model import first_model

        return first_model(self._terms, self._weights)

    def tensors(self, vector: Vector) -> Tensors:
        """See :class:`TrainingInterface`."""
        from models.parameters.lora import plain_tensors

        self._set(vector, None)
        return plain_tensors(self._module)

    def own_tensors(self, personal: Vector | None) -> Tensors:
        """See :class:`TrainingInterface`."""
        from models.parameters.flatten import from_personal, personal_tensors

        from_personal(self._module, self._first_personal if personal is None else personal)
        return personal_tensors(self._module)

    def train(
        self,
        start: Vector,
        round_number: int,
        noise_multiplier: float | None,
        key: bytes,
        correction: Vector | None = None,
        personal: Vector | None = None,
    ) -> tuple[Vector, Vector]:
        """See :class:`TrainingInterface`."""
        from client.training.local_steps import train
        from privacy.randomness import KeyStream

        trained = train(
            start,
            self._terms,
            self._training,
            self._public_patients,
            noise_multiplier,
            self._hardware,
            KeyStream(key),
            round_number,
            correction,
            self._module,
            self._first_personal if personal is None else personal,
        )
        figures = ", ".join(f"{name} {value:.4g}" for name, value in trained.log.items())
        _log.info("round %d: %s", round_number, figures)
        return trained.update, trained.personal

    def share(
        self,
        start: Vector,
        round_number: int,
        noise: SharedNoise,
        variance: int,
        key: bytes,
        personal: Vector | None = None,
    ) -> tuple[Integers, Vector]:
        """See :class:`TrainingInterface`."""
        from client.training.global_step import global_step
        from client.training.site_update import site_update
        from privacy.randomness import KeyStream

        stream = KeyStream(key)
        own = (start, self._terms, self._training, self._public_patients, self._hardware, stream)
        after = self._first_personal if personal is None else personal
        if self._terms.privacy.unit is Unit.SITE:
            total, after = site_update(*own, round_number, noise.clipping_norm, self._module, after)
        else:
            total = global_step(*own, self._module)
        _log.info("round %d: a share with noise of %d squared grid units", round_number, variance)
        return noise_share(total, noise, variance, stream), after

    def score(
        self,
        vector: Vector,
        noise_multiplier: float | None,
        personal: Vector | None = None,
        key: bytes | None = None,
    ) -> tuple[int, ...]:
        """See :class:`TrainingInterface`."""
        from client.training.scoring import noised, score_histogram
        from privacy.randomness import KeyStream, from_os

        self._set(vector, personal)
        counts = score_histogram(self._module, self._testing, self._terms.evaluation.bins)
        if noise_multiplier is not None:
            counts = noised(counts, noise_multiplier, from_os() if key is None else KeyStream(key))
        return tuple(counts.tolist())

    def _set(self, vector: Vector, personal: Vector | None) -> None:
        from models.parameters.flatten import from_personal, from_vector

        from_vector(self._module, vector)
        from_personal(self._module, self._first_personal if personal is None else personal)

    def close(self) -> None:
        """See :class:`TrainingInterface`."""
