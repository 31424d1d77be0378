"""Run a site's own work in a round: DP-SGD steps from the shared model on the site's patients.

Rules:

* sampling and noise use fresh randomness of the operating system, never a seed from the terms. Where lots are taken in
  turn instead, the order of lots brings their noise (``client/training/lots_in_turn.py``);
* the update divides by public numbers only; what the site alone may know (the loss) goes to the log;
* training that fails is not drawn anew. Asked again, it repeats the same draw: what leaves is one draw of the
  mechanism that was paid, whether or not a draw failed;
* the update is float64, a difference of two float32 models;
* the site's personal layers are clipped and noised with the shared ones, as one gradient. Without noise, what they
  learned would be in the next update;
* before a study's first private training here, wherever its noise is added, its model's gradients are compared with
  a loop on invented records;
* training has diverged when it moved a parameter beyond the numbers that a model can compute with. With privacy
  parameters are outputs of the mechanism, so to report that they diverged costs nothing more. The loss is computed
  from records without noise: it goes to the log, and decides nothing. With a filter for each patient there is none:
  what the model makes of those who were left out is nobody's to see.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils import parameters_to_vector

from client.training.device import Device
from client.training.device_records import DeviceRecords, Tensors
from client.training.lots_in_turn import LotsInTurn
from client.training.physical_batch import choose_batch_bytes
from client.training.step_rules import make_directions
from client.training.study_model import build_model, find_layers, make_model_to_train
from models.augment.augmentation import make_augmentation
from models.fit import name_inputs, set_objective
from models.outputs import make_record_loss
from models.parameters.flatten import (
    list_trained_parameters,
    pad_personal,
    read_personal_parameters,
    read_shared_parameters,
    set_personal_parameters,
    set_shared_parameters,
)
from models.parameters.trainable import train_only
from models.parameters.vector import Vector
from models.tasks.registry import make_task
from privacy.dpsgd import Augment, DpSgd, Example, Loss, Mechanism, OrderedSteps, PatientFilter, Spec, run_self_test
from privacy.errors import TrainingError
from privacy.mechanisms.correlated_noise import BandedNoise
from privacy.randomness import KeyStream, from_os
from privacy.study import Placement, Terms, Unit
from privacy.study.data.tensors import Flags, Ids, Numbers
from privacy.study.stage import TASK_OBJECTIVE

if TYPE_CHECKING:
    from torch import nn


_ONE_THREAD: Final = 100_000
"""With fewer parameters a second thread does no work but waiting, and makes a step ten times as long."""

_LARGEST: Final = 1e9
"""The largest parameter of a usable model. Four layers of such weights still multiply to a finite float32."""

_SLICE: Final = 1 << 20  # parameters moved at once, so that a large model is never copied to float64 as a whole
_LOSS_RECORDS, _LOSS_LEAST, _LOSS_BATCH = 4096, 256, 64  # of the loss in the site's log
_tested: Final[set[str]] = set()  # digests of the terms whose model passed its self-test in this process


_log = logging.getLogger(__name__)


class DivergedError(TrainingError):
    """The parameters left the numbers that a model can compute with."""


@dataclass(frozen=True)
class Trained:
    """The result of local training.

    Attributes:
        update: (P,) float64, the model after minus the model before; may be sealed.
        personal: (Q,) the personal layers afterwards; they stay here.
        log: figures for the site's own log; none with a filter for each patient.
        carried: (bands - 1, P) the noise of the last steps, which a later round cancels; None where none does.
    """

    update: Vector
    personal: Vector
    log: dict[str, float]
    carried: Vector | None = None


def train(
    start: Vector,
    terms: Terms,
    records: DeviceRecords,
    public_patients: int,
    noise_multiplier: float | None,
    device: Device,
    stream: KeyStream | None = None,
    number: int = 1,
    correction: Vector | None = None,
    model: nn.Module | None = None,
    personal: Vector | None = None,
    in_turn: LotsInTurn | None = None,
    patient_filter: PatientFilter | None = None,
) -> Trained:
    """Train ``local_steps`` steps from ``start``.

    Run by a site, after its budget is reserved.

    Args:
        start: (P,) the shared model.
        terms: the study.
        records: the site's training patients, on the device.
        public_patients: the registered, rounded patient count.
        noise_multiplier: sigma; None exactly when the study is without privacy, or noises whole updates of sites.
        device: where to compute, and in which precision.
        stream: secret randomness; fresh from the operating system unless a test gives one.
        number: the round, which the learning rate follows.
        correction: (P,) added to every gradient; none of it may come from patients who are not paid for.
        model: the study's model as it begins (:func:`client.training.study_model.begin_model`), of which a copy is
            trained; without it, one that needs no public weights is built.
        personal: (Q,) the site's personal layers; without it, their first values.
        in_turn: the order of lots and their noise; None draws lots by chance, with independent noise.
        patient_filter: who takes part in a step, where everybody is in each of them; None: everybody in the lot.

    Raises:
        TermsError: the model cannot be built, or a patient's gradient would not be the one that is clipped.
        ValueError: the terms' noise is correlated, and no order of lots is given; or patients are drawn by chance, or
            not clipped, and a filter is given.
        DivergedError: the parameters left the numbers that a model can compute with.
    """
    if noise_multiplier is not None and (terms.privacy.placement is Placement.CORRELATED) != (in_turn is not None):
        raise ValueError("expected an order of lots exactly where the terms' noise is correlated")
    module = make_model_to_train(terms, model).to(device.device)
    run_self_test_once(terms, device.device)
    set_shared_parameters(module, start)
    if personal is not None:
        set_personal_parameters(module, personal)
    begin = read_shared_parameters(module)
    mechanism = Mechanism(
        sampling_rate=terms.training.sampling_rate,
        public_patients=public_patients,
        clipping_norm=_find_clipping_norm(terms),
        noise_multiplier=noise_multiplier,
    )
    began = time.perf_counter()
    with _limit_threads(_count_parameters(module)), begin_stage(module, terms, number):
        engine = make_engine(module, terms, mechanism, stream or from_os(), device, patient_filter)
        carried = _run_local_steps(module, engine, records, mechanism, terms, number, correction, in_turn)
        loss = None if patient_filter is not None else _compute_loss(module, records, terms)
    update, own = read_shared_parameters(module), read_personal_parameters(module)
    update -= begin
    require_usable(update, terms)
    require_usable(own, terms)
    if loss is None:
        return Trained(update, own, {}, carried)
    if not math.isfinite(loss):  # from records without noise: no answer may show it
        _log.warning(
            "round %d: the loss over this site's records is not a finite number; the study's learning_rate (%g) may be "
            "too large. Training continues: only this log may say so", number, terms.training.learning_rate,
        )  # fmt: skip
    return Trained(update, own, {"loss": loss, "seconds": time.perf_counter() - began}, carried)


def require_usable(parameters: Vector, terms: Terms) -> None:
    """Check that parameters, (P,), or what training moved them by, are numbers that a model can compute with.

    With privacy they are outputs of the mechanism, or shared by all sites. So whether this raises is
    post-processing.

    Raises:
        DivergedError: they are not.
    """
    # a comparison with NaN is false, so NaN raises too
    if not (parameters.max(initial=0.0) <= _LARGEST and parameters.min(initial=0.0) >= -_LARGEST):
        raise DivergedError(
            f"training diverged: a parameter is beyond {_LARGEST:g}, or no finite number; the study's learning_rate "
            f"({terms.training.learning_rate:g}) is too large for its data"
        )


def _find_clipping_norm(terms: Terms) -> float | None:
    """Return the clipping norm of a patient's gradient; None where no patient is clipped."""
    return None if terms.privacy.unit is Unit.SITE else terms.privacy.clipping_norm


@contextlib.contextmanager
def begin_stage(module: nn.Module, terms: Terms, number: int) -> Iterator[None]:
    """Train inside the block what the stage of round ``number`` trains, for its objective."""
    stage = terms.training.find_stage(number)
    set_objective(module, TASK_OBJECTIVE if stage is None else stage.objective)
    module.train()
    with train_only(module, find_layers(module, terms, number)):
        yield


@contextlib.contextmanager
def _limit_threads(parameters: int) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if parameters < _ONE_THREAD else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _run_local_steps(
    module: nn.Module,
    engine: DpSgd,
    records: DeviceRecords,
    mechanism: Mechanism,
    terms: Terms,
    number: int,
    correction: Vector | None,
    in_turn: LotsInTurn | None,
) -> Vector | None:
    """Run the local steps; neither ``proximal`` nor ``correction`` costs privacy, since they see no patient.

    ``proximal`` pulls every step back to where the steps began; ``correction`` is the same in each. Return the noise
    that a later round cancels, (bands - 1, P); None where none does.
    """
    private: DpSgd | OrderedSteps = engine
    parameters, noise = list(list_trained_parameters(module).values()), None
    if in_turn is not None:
        noise = in_turn.make_noise(mechanism, sum(each.numel() for each in parameters))
        private = in_turn.order(engine, mechanism, noise)
    rate, proximal = terms.training.compute_learning_rate(number), terms.training.proximal
    decay = terms.training.weight_decay
    with torch.no_grad():
        begin = parameters_to_vector(parameters)
    pulled = None if correction is None else torch.from_numpy(pad_personal(module, correction)).to(begin)
    directions = make_directions(terms.training, mechanism)
    for _ in range(terms.training.local_steps):
        gradient = _compute_mean_gradient(private, records, terms.training.accumulate)  # (P,)
        if pulled is not None:
            gradient.add_(pulled)
        with torch.no_grad():
            for here, pull, origin in _list_slices(parameters, directions.direct(gradient), begin):
                # w <- w - rate * (g + mu (w - w0) + d w): FedProx's proximal term (Li et al. 2020), and decoupled
                # weight decay (Loshchilov and Hutter 2019); g is the direction of the gradient
                moved = here.double()
                moved -= rate * (pull.double() + proximal * (moved - origin.double()) + decay * moved)
                here.copy_(moved)
    return noise.stack_past() if isinstance(noise, BandedNoise) else None


def make_engine(
    module: nn.Module,
    terms: Terms,
    mechanism: Mechanism,
    stream: KeyStream,
    device: Device,
    patient_filter: PatientFilter | None = None,
) -> DpSgd:
    """Make the engine of a study, with its filter of patients, if any, and batches that ``device`` has room for."""
    return DpSgd(
        module,
        make_loss(terms),
        mechanism,
        stream,
        batch_bytes=choose_batch_bytes(device.device),
        precision=device.precision,
        views=terms.training.views,
        augment=make_augment(terms),
        patient_filter=patient_filter,
    )


def make_augment(terms: Terms) -> Augment | None:
    """Make the function that varies records of the model's inputs and of the targets; None without augmentation."""
    choice = terms.training.augmentation
    if choice is None:
        return None
    vary, sources = make_augmentation(choice), name_inputs(terms.model, terms.data)

    def augment(inputs: Tensors, targets: Tensors, draws: torch.Generator) -> tuple[Tensors, Tensors]:
        varied, aims = vary({sources[name]: value for name, value in inputs.items()}, targets, draws)
        return {name: varied[source] for name, source in sources.items()}, dict(aims)

    return augment


def _compute_mean_gradient(private: DpSgd | OrderedSteps, records: DeviceRecords, lots: int) -> torch.Tensor:
    """Compute the mean of the noised gradients of several lots, each taken and paid for itself; (P,)."""
    total = private.compute_gradient(records)
    for _ in range(lots - 1):
        total.add_(private.compute_gradient(records))
    return total.div_(lots)


def _list_slices(parameters: list[nn.Parameter], *vectors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield the parameters beside vectors of their length (P,), one slice of each at a time."""
    start = 0
    for parameter in parameters:
        for part in torch.split(parameter.view(-1), _SLICE):  # views: writing to a part moves the parameter
            yield part, *(vector[start : start + part.numel()] for vector in vectors)
            start += part.numel()


def _count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def run_self_test_once(terms: Terms, device: torch.device) -> None:
    """Run the engine's self-test with the arbitrary parameters of a new module, once for a study and process.

    Nothing is tested where no patient is clipped: without privacy, and with the site as unit.

    Raises:
        TermsError: a patient's gradient would not be the one that is clipped. Records are invented: it depends on
            none.
    """
    if _find_clipping_norm(terms) is None or terms.digest in _tested:
        return
    module = build_model(terms).to(device)
    with _limit_threads(_count_parameters(module)):
        for number in _list_first_rounds(terms):
            with begin_stage(module, terms, number):
                run_self_test(module, make_loss(terms), make_example(terms), augment=make_augment(terms))
    _tested.add(terms.digest)


def make_example(terms: Terms) -> Example:
    """Return shapes, types and ranges of a record, by the contract: nothing of it is read from records."""
    tensors = {each.name: each for each in (*terms.data.list_inputs(), *terms.data.list_targets())}
    sources = name_inputs(terms.model, terms.data)
    return Example(
        inputs={name: _specify(tensors[source]) for name, source in sources.items()},
        targets={name: _specify(tensors[name]) for name in terms.task.list_targets()},
    )


def _specify(tensor: Numbers | Ids | Flags) -> Spec:
    match tensor:
        case Numbers():
            low, high = tensor.range
            return Spec(tensor.shape, torch.float32, low, high)
        case Ids():
            return Spec(tensor.shape, torch.int64, 0, tensor.values - 1)
        case Flags():
            return Spec(tensor.shape, torch.bool, 0, 1)


def _list_first_rounds(terms: Terms) -> list[int]:
    """List the first round of each stage; the first round without stages."""
    rounds = [stage.rounds for stage in terms.training.stages]
    return [1 + sum(rounds[:place]) for place in range(len(rounds))] or [1]


def make_loss(terms: Terms) -> Loss:
    """Return the loss of the study, which gives one value for each record."""
    return make_record_loss(make_task(terms.task, terms.data))


def _compute_loss(module: nn.Module, records: DeviceRecords, terms: Terms) -> float:
    """Compute the mean loss over some records, the same in every round, in batches; NaN without records."""
    rows, loss = _choose_loss_records(records.records, terms), make_loss(terms)
    total = 0.0
    module.eval()
    with torch.no_grad():
        for part in np.array_split(rows, max(1, math.ceil(len(rows) / _LOSS_BATCH))):
            if len(part):
                inputs, targets = records.select(part)
                total += float(loss(module(inputs), targets).double().sum())
    module.train()
    return total / len(rows) if len(rows) else math.nan


def _choose_loss_records(records: int, terms: Terms) -> NDArray[np.int64]:
    """Choose whose loss the log tells: no more than a round's steps draw on average, or it would take longer than they.

    A few hundred at least, because the loss of a handful says little. They are spread over the file, which may be
    sorted by what is learned; (count,).
    """
    training = terms.training
    drawn = math.ceil(training.local_steps * training.accumulate * training.sampling_rate * records)
    count = min(records, _LOSS_RECORDS, max(drawn, _LOSS_LEAST))
    return np.arange(count) * records // max(1, count)
