"""Training in this process: the model, the data and the device, loaded once."""

import logging
from functools import cached_property
from typing import TYPE_CHECKING, cast

from client.data.dataset import StudyFiles, read_study
from client.data.examples import Patients, one_by_one
from client.training.jobs import (
    ExportModel,
    ExportPersonal,
    FirstModel,
    Job,
    R,
    ScoreModel,
    SharedRound,
    ShareRound,
    Tensors,
    TrainedRound,
    TrainRound,
)
from models.parameters.vector import Vector
from privacy.mechanisms.distributed_noise import noise_share
from privacy.study import Terms, Unit

if TYPE_CHECKING:
    from client.training.device_records import DeviceRecords

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
        self._device = Device.chosen(device, precision)
        self._weights = files.weights
        self._module = begin_model(terms, self._weights)[0].to(self._device.device)
        self._first_personal = to_personal(self._module)

    @cached_property
    def _tables(self) -> "tuple[DeviceRecords, Patients]":
        """The training patients on the device, and the test patients.

        Read at first use, since admission must not depend on a record; kept on the device from then on.
        """
        from client.training.device_records import DeviceRecords

        training, testing = read_study(self._files)
        if clipped := training.clipped + testing.clipped:
            _log.info("%d numbers lie beyond their public range and were clipped", clipped)
        patients = training.patients
        if self._terms.privacy.unit is Unit.RECORD:
            patients = one_by_one(patients)
        return DeviceRecords(patients, self._device.device), testing.patients

    @property
    def _training(self) -> "DeviceRecords":
        return self._tables[0]

    @property
    def _testing(self) -> Patients:
        return self._tables[1]

    def run(self, job: Job[R]) -> R:
        """Do the work of ``job``; see :class:`~client.training.interface.TrainingInterface`."""
        answer: object
        match job:
            case FirstModel():
                answer = self._first_model()
            case ExportModel():
                answer = self._export_model(job)
            case ExportPersonal():
                answer = self._export_personal(job)
            case TrainRound():
                answer = self._train_round(job)
            case ShareRound():
                answer = self._share_round(job)
            case ScoreModel():
                answer = self._score_model(job)
            case _:
                raise TypeError(f"{type(job).__name__} is no job of a training session")
        return cast("R", answer)

    def close(self) -> None:
        """See :class:`~client.training.interface.TrainingInterface`; there is nothing to let go of here."""

    def _first_model(self) -> Vector:
        from client.training.study_model import first_model

        return first_model(self._terms, self._weights)

    def _export_model(self, job: ExportModel) -> Tensors:
        from models.parameters.lora import plain_tensors

        self._set(job.model, None)
        return plain_tensors(self._module)

    def _export_personal(self, job: ExportPersonal) -> Tensors:
        from models.parameters.flatten import from_personal, personal_tensors

        from_personal(self._module, self._personal_or_first(job.personal))
        return personal_tensors(self._module)

    def _train_round(self, job: TrainRound) -> TrainedRound:
        from client.training.local_steps import train
        from privacy.randomness import KeyStream

        trained = train(
            job.model,
            self._terms,
            self._training,
            self._public_patients,
            job.noise_multiplier,
            self._device,
            KeyStream(job.key),
            job.number,
            job.correction,
            self._module,
            self._personal_or_first(job.personal),
        )
        figures = ", ".join(f"{name} {value:.4g}" for name, value in trained.log.items())
        _log.info("round %d: %s", job.number, figures)
        return TrainedRound(trained.update, trained.personal)

    def _share_round(self, job: ShareRound) -> SharedRound:
        from client.training.global_step import global_step
        from client.training.site_update import site_update
        from privacy.randomness import KeyStream

        stream = KeyStream(job.key)
        own = (job.model, self._terms, self._training, self._public_patients, self._device, stream)
        personal = self._personal_or_first(job.personal)
        if self._terms.privacy.unit is Unit.SITE:
            total, personal = site_update(*own, job.number, job.noise.clipping_norm, self._module, personal)
        else:
            total = global_step(*own, self._module)
        _log.info("round %d: a share with noise of %d squared grid units", job.number, job.variance)
        return SharedRound(noise_share(total, job.noise, job.variance, stream), personal)

    def _score_model(self, job: ScoreModel) -> tuple[int, ...]:
        from client.training.scoring import noised, score_histogram
        from privacy.randomness import KeyStream, from_os

        self._set(job.model, job.personal)
        counts = score_histogram(self._module, self._testing, self._terms.evaluation.bins)
        if job.noise_multiplier is not None:
            counts = noised(counts, job.noise_multiplier, from_os() if job.key is None else KeyStream(job.key))
        return tuple(counts.tolist())

    def _set(self, vector: Vector, personal: Vector | None) -> None:
        from models.parameters.flatten import from_personal, from_vector

        from_vector(self._module, vector)
        from_personal(self._module, self._personal_or_first(personal))

    def _personal_or_first(self, personal: Vector | None) -> Vector:
        return self._first_personal if personal is None else personal
