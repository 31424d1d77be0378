"""A site's own work in a round: DP-SGD steps from the shared model on the site's patients.

Rules:

* sampling and noise use fresh randomness of the operating system, never a seed from the terms;
* the update divides by public numbers only; what the site alone may know (the loss) goes to the log;
* training that breaks is not drawn anew: asked again, it repeats the same draw, so that what leaves is one draw of
  the mechanism that was paid, whether or not a draw broke it;
* the update is float64, a difference of two float32 models;
* before a study's first private training here, its model's gradients are compared with a loop on invented records.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils import parameters_to_vector

from client.data import Patients
from models.catalogue import build
from models.errors import ModelError
from models.parameters import from_vector, initial_vector, to_vector
from privacy.dpsgd import DpSgd, Example, Mechanism, self_test
from privacy.errors import TermsError, TrainingError
from privacy.stream import Stream, from_os
from privacy.study import Terms

if TYPE_CHECKING:
    from torch import nn

Vector = NDArray[np.float64]

_ONE_THREAD: Final = 100_000
"""Parameters below which a second thread does no work but to wait, and makes a step ten times as long."""

_SLICE: Final = 1 << 20  # parameters moved at once, so that a large model is never copied to float64
_tested: Final[set[str]] = set()  # digests of the terms whose model passed its self-test in this process


@dataclass(frozen=True)
class Trained:
    """What local training gives.

    Attributes:
        update: (P,) float64, the model after minus the model before; may be sealed.
        log: figures for the site's own eyes.
    """

    update: Vector
    log: dict[str, float]


class DeviceRecords:
    """A site's records on the training device."""

    def __init__(self, patients: Patients, device: torch.device) -> None:
        self.features = torch.from_numpy(patients.features).to(device)  # (records, inputs)
        self.labels = torch.from_numpy(patients.labels).to(device)  # (records,)
        self.patient = torch.from_numpy(patients.patient).to(device)  # (records,)
        self.patients = patients.patients


def choose_device(name: str) -> torch.device:
    """The device ``name``; ``auto`` is the graphics processor where there is one.

    Raises:
        TrainingError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise TrainingError(f"the device '{name}' is not available here; expected auto, cpu or cuda") from None
    return device


def build_model(terms: Terms) -> nn.Module:
    """The study's model, with arbitrary parameters.

    Raises:
        TermsError: the catalogue has no such model, or it does not take these options.
    """
    try:
        return build(terms.model.name, terms.model.options, terms.data.inputs)
    except ModelError as cause:
        raise TermsError(str(cause)) from None


def first_model(terms: Terms) -> Vector:
    """The shared model before the first round, the same bits at every site; (P,)."""
    return initial_vector(build_model(terms), terms.digest)


def train(
    start: Vector,
    terms: Terms,
    patients: Patients,
    public_patients: int,
    noise_multiplier: float | None,
    device: torch.device,
    stream: Stream | None = None,
    number: int = 1,
) -> Trained:
    """Train ``local_steps`` steps from ``start``. Run by a site, after its budget is reserved.

    Args:
        start: (P,) the shared model.
        terms: the study.
        patients: the site's training patients.
        public_patients: the registered, rounded patient count.
        noise_multiplier: sigma; None exactly when the study is without privacy.
        device: where to compute.
        stream: secret randomness; fresh from the operating system unless a test gives one.
        number: the round, which the learning rate follows.

    Raises:
        TermsError: the model cannot be built, or a patient's gradient would not be the one that is clipped.
        TrainingError: the parameters left the finite numbers.
    """
    module = build_model(terms).to(device)
    records = DeviceRecords(patients, device)
    _self_test_once(module, records, terms)
    from_vector(module, start)
    begin = to_vector(module)
    mechanism = Mechanism(
        sampling_rate=terms.training.sampling_rate,
        public_patients=public_patients,
        clipping_norm=terms.privacy.clipping_norm,
        noise_multiplier=noise_multiplier,
    )
    began = time.perf_counter()
    with _threads_for(begin.size):
        _descend(module, records, mechanism, terms, stream or from_os(), number)
    update = to_vector(module) - begin
    if not np.isfinite(update).all():
        raise TrainingError(
            "the parameters left the finite numbers; the study's learning_rate "
            f"({terms.training.learning_rate:g}) is too large for its data"
        )
    log = {"loss": _loss(module, records), "seconds": time.perf_counter() - began}
    return Trained(update, log)


@contextlib.contextmanager
def _threads_for(parameters: int) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if parameters < _ONE_THREAD else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _descend(
    module: nn.Module, records: DeviceRecords, mechanism: Mechanism, terms: Terms, stream: Stream, number: int
) -> None:
    """Local steps; ``proximal`` pulls them back to where they began, which costs no privacy: it sees no patient."""
    private = DpSgd(module, record_losses, mechanism, stream)
    parameters = list(module.parameters())
    rate, proximal = terms.training.learning_rate_in(number), terms.training.proximal
    with torch.no_grad():
        begin = parameters_to_vector(parameters)
    for _ in range(terms.training.local_steps):
        gradient = private.gradient(records)  # (P,)
        with torch.no_grad():
            for here, pull, origin in _slices(parameters, gradient, begin):
                moved = here.double()
                moved -= rate * (pull.double() + proximal * (moved - origin.double()))
                here.copy_(moved)


def _slices(parameters: list[nn.Parameter], *vectors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The parameters beside vectors of their length (P,), a slice of each at a time."""
    start = 0
    for parameter in parameters:
        for part in torch.split(parameter.view(-1), _SLICE):
            yield part, *(vector[start : start + part.numel()] for vector in vectors)
            start += part.numel()


def _self_test_once(module: nn.Module, records: DeviceRecords, terms: Terms) -> None:
    """The engine's self-test, with the arbitrary parameters of a new module; once for a study and process."""
    if terms.privacy.clipping_norm is None or terms.digest in _tested:
        return
    with _threads_for(sum(parameter.numel() for parameter in module.parameters())):
        self_test(module, record_losses, Example.of(records))
    _tested.add(terms.digest)


def record_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each record; (records,)."""
    return binary_cross_entropy_with_logits(logits, labels, reduction="none")


def _loss(module: nn.Module, records: DeviceRecords) -> float:
    with torch.no_grad():
        return float(record_losses(module(records.features), records.labels).mean())
