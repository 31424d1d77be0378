"""Run training jobs in this process: the model, the data and the device are loaded once."""

import logging
from functools import cached_property
from typing import TYPE_CHECKING, cast

from client.data.dataset import StudyFiles, read_study
from client.data.examples import Patients, treat_records_as_patients
from client.training.jobs import (
    ExportModel,
    ExportPersonal,
    FirstModel,
    Job,
    ListTrained,
    R,
    ScoreModel,
    SharedRound,
    ShareRound,
    Tensors,
    TrainedRound,
    TrainRound,
)
from models.parameters.vector import Vector
from privacy.mechanisms.distributed_noise import make_noised_share
from privacy.study import Placement, Terms, Unit

if TYPE_CHECKING:
    from client.training.device_records import DeviceRecords
    from client.training.lots_in_turn import LotsInTurn

_log = logging.getLogger(__name__)


class TrainingSession:
    """Training in this process; the child process runs it, and so does an in-memory federation.

    A job that needs records raises DataUnavailableError if the files cannot be read now, and DataError if they
    changed since they were registered.

    Raises:
        TermsError: the model cannot be built.
        RefusedError: ``weights``: the study's public weights cannot be used.
        TrainingError: the device is not available.
    """

    def __init__(self, terms: Terms, files: StudyFiles, device: str, precision: str = "float32") -> None:
        from client.training.device import Device
        from client.training.study_model import begin_model
        from models.parameters.flatten import read_personal_parameters

        self._terms, self._files = terms, files
        self._public_patients = files.public_patients
        if terms.privacy.unit is Unit.RECORD:
            # the most records there can be: a public number
            self._public_patients *= files.contract.records_per_patient
        self._device = Device.choose(device, precision)
        self._weights = files.weights
        self._module = begin_model(terms, self._weights)[0].to(self._device.device)
        self._first_personal = read_personal_parameters(self._module)

    @cached_property
    def _tables(self) -> "tuple[DeviceRecords, Patients, tuple[str, ...]]":
        """The training patients on the device, the test patients, and the identifiers of those who train.

        Read at first use, since admission must not depend on a record; kept on the device from then on.
        """
        from client.training.device_records import DeviceRecords

        training, testing = read_study(self._files)
        if clipped := training.clipped + testing.clipped:
            _log.info("%d numbers lie beyond their public range and were clipped", clipped)
        patients = training.patients
        if self._terms.privacy.unit is Unit.RECORD:
            patients = treat_records_as_patients(patients)
        return DeviceRecords(patients, self._terms, self._device.device), testing.patients, training.ids

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
                answer = self._make_first_model()
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
            case ListTrained():
                answer = self._list_trained(job)
            case _:
                raise TypeError(f"{type(job).__name__} is no job of a training session")
        return cast("R", answer)

    def close(self) -> None:
        """Do nothing: there is no process to end; see :class:`~client.training.interface.TrainingInterface`."""

    def _make_first_model(self) -> Vector:
        from client.training.study_model import make_first_model

        return make_first_model(self._terms, self._weights)

    def _export_model(self, job: ExportModel) -> Tensors:
        from models.parameters.lora import compute_plain_tensors

        self._set_parameters(job.model, None)
        return compute_plain_tensors(self._module)

    def _export_personal(self, job: ExportPersonal) -> Tensors:
        from models.parameters.flatten import copy_personal_tensors, set_personal_parameters

        set_personal_parameters(self._module, self._choose_personal_layers(job.personal))
        return copy_personal_tensors(self._module)

    def _train_round(self, job: TrainRound) -> TrainedRound:
        from client.training.local_steps import train
        from client.training.physical_batch import give_back
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
            self._choose_personal_layers(job.personal),
            self._order_lots(job),
        )
        give_back(self._device.device)
        figures = ", ".join(f"{name} {value:.4g}" for name, value in trained.log.items())
        _log.info("round %d: %s", job.number, figures)
        return TrainedRound(trained.update, trained.personal, trained.carried)

    def _order_lots(self, job: TrainRound) -> "LotsInTurn | None":
        """Return the order of lots and the noise of ``job``; None where lots are drawn by chance."""
        from client.training.lots_in_turn import order_lots

        if job.noise_multiplier is None or self._terms.privacy.placement is not Placement.CORRELATED:
            return None
        return order_lots(self._terms, self._tables[2], job.key, job.carried)

    def _share_round(self, job: ShareRound) -> SharedRound:
        from client.training.global_step import compute_global_step
        from client.training.physical_batch import give_back
        from client.training.site_update import compute_site_update
        from privacy.randomness import KeyStream

        stream = KeyStream(job.key)
        own = (job.model, self._terms, self._training, self._public_patients, self._device, stream)
        personal = self._choose_personal_layers(job.personal)
        if self._terms.privacy.unit is Unit.SITE:
            total, personal = compute_site_update(*own, job.number, job.noise.clipping_norm, self._module, personal)
        else:
            total = compute_global_step(*own, job.number, self._module)
        give_back(self._device.device)
        _log.info("round %d: a share with noise of %d squared grid units", job.number, job.variance)
        return SharedRound(make_noised_share(total, job.noise, job.variance, stream), personal)

    def _score_model(self, job: ScoreModel) -> tuple[int, ...]:
        from client.training.scoring import add_noise_to_counts, count_scores
        from privacy.randomness import KeyStream, from_os

        self._set_parameters(job.model, job.personal)
        counts = count_scores(self._module, self._testing, self._terms)
        if job.noise_multiplier is not None:
            stream = from_os() if job.key is None else KeyStream(job.key)
            counts = add_noise_to_counts(counts, job.noise_multiplier, self._terms, stream)
        return tuple(counts.tolist())

    def _list_trained(self, job: ListTrained) -> tuple[tuple[int, int], ...] | None:
        from client.training.study_model import list_trained_ranges

        return list_trained_ranges(self._module, self._terms, job.number)

    def _set_parameters(self, vector: Vector, personal: Vector | None) -> None:
        from models.parameters.flatten import set_personal_parameters, set_shared_parameters

        set_shared_parameters(self._module, vector)
        set_personal_parameters(self._module, self._choose_personal_layers(personal))

    def _choose_personal_layers(self, personal: Vector | None) -> Vector:
        return self._first_personal if personal is None else personal
