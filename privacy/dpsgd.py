"""One step of differentially private SGD whose unit is the patient.

Abadi et al. 2016, "Deep learning with differential privacy"; whole persons instead of records as in McMahan et al.
2018, "Learning differentially private recurrent language models". In a step every patient enters the lot with
probability q, alone; the gradients of a patient's records are averaged into one, which is scaled down to norm C
over all parameters together; the sum over the lot gets Gaussian noise of standard deviation sigma * C in every
coordinate; the result is divided by the expected lot.

**Guarantee.** One step is the Poisson-sampled Gaussian mechanism with sampling rate q and noise multiplier sigma;
T steps are its T-fold composition, for any starting point and learning rate.

**Privacy unit.** The patient with all records; neighbouring data sets differ by one patient added or removed.

========================================  ==========================================================================
edge case                                 what happens
========================================  ==========================================================================
nobody is drawn (empty lot)               the noise alone is the answer
a patient with several records            their mean gradient is clipped, so one patient moves the sum by at most C
a gradient that is not finite             that patient counts as zero; nobody else is touched
a lot larger or smaller than expected     divided by the expected lot (public) all the same
a lot that does not fit in memory         summed in chunks of whole patients to the same sum (memory does not tell)
a layer that mixes records                refused by name (:func:`check_module`)
rounding while clipping and summing       done in float64, and clipping aims a little below C, so the bound is kept
rounding inside a float32 module          the others in a chunk can change a gradient's last bits (a relative 1e-7);
                                          not covered by the guarantee; a float64 module has margin for it
no privacy (``clipping_norm`` is None)    no clipping and no noise; everything else alike
========================================  ==========================================================================

Sampling and noise come from a :class:`privacy.stream.Stream` alone, never from torch's generator. How long a step
takes and how large the lot was depend on secrets and stay at the site. This is the only file that knows Opacus,
which computes the gradient of each record.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModule
from torch import nn

from privacy.errors import TermsError
from privacy.stream import Stream

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(outputs, labels) -> the loss of each record, (records,)."""

GRADIENT_BYTES: Final = 64 << 20  # per-record gradients held at once, unless one patient alone needs more
_CLIP_MARGIN: Final = 1.0 - 2.0**-30  # more than float64 sums lose, so that a patient's share never passes C


@dataclass(frozen=True)
class Mechanism:
    """The public numbers of a step.

    Attributes:
        sampling_rate: q, each patient's probability to enter the lot.
        public_patients: the patient count the expected lot is taken from; public, so it is a rounded one.
        clipping_norm: C; None together with the noise multiplier switches privacy off.
        noise_multiplier: sigma; the noise has standard deviation sigma * C.
    """

    sampling_rate: float
    public_patients: int
    clipping_norm: float | None
    noise_multiplier: float | None

    def __post_init__(self) -> None:
        if (self.clipping_norm is None) != (self.noise_multiplier is None):
            raise ValueError("a clipping norm and a noise multiplier come together or not at all")
        if self.expected_lot <= 0:
            raise ValueError("the expected lot must be positive")

    @property
    def expected_lot(self) -> float:
        """The sampling rate times the public patient count."""
        return self.sampling_rate * self.public_patients


class Records(Protocol):
    """Records on the training device, grouped by patient (``patient`` never falls)."""

    features: torch.Tensor  # (records, ...) float
    labels: torch.Tensor  # (records,)
    patient: torch.Tensor  # (records,) int64 in 0..patients-1
    patients: int


class DpSgd:
    """Private gradients of one module. The module stays the caller's, who moves its parameters.

    Args:
        module: takes features, answers outputs; every record for itself.
        loss: of each record.
        mechanism: the public numbers.
        stream: secret randomness for sampling and noise.
        gradient_bytes: memory for per-record gradients; does not change the result.

    Raises:
        TermsError: the module has a layer without a gradient of each record.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        mechanism: Mechanism,
        stream: Stream,
        gradient_bytes: int = GRADIENT_BYTES,
    ) -> None:
        check_module(module)
        self._module = module
        self._loss = loss
        self._mechanism = mechanism
        self._stream = stream
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._count = sum(parameter.numel() for parameter in self._parameters)
        self._chunk_records = max(1, gradient_bytes // (8 * self._count))

    def gradient(self, records: Records) -> torch.Tensor:
        """The gradient of one step, averaged over the expected lot; (P,) float64 on the records' device."""
        chosen = sample_patients(records.patients, self._mechanism.sampling_rate, self._stream)
        total = self.lot_sum(records, chosen)
        if self._mechanism.clipping_norm is not None and self._mechanism.noise_multiplier is not None:
            deviation = self._mechanism.noise_multiplier * self._mechanism.clipping_norm
            total += torch.from_numpy(deviation * self._stream.normal(self._count)).to(total.device)
        return total / self._mechanism.expected_lot

    def lot_sum(self, records: Records, chosen: NDArray[np.int64]) -> torch.Tensor:
        """Sum over the chosen patients of their (clipped) gradients, without noise; (P,) float64.

        Args:
            records: all records of the site.
            chosen: (lot,) rising patient indices.
        """
        total = torch.zeros(self._count, dtype=torch.float64, device=records.features.device)
        for first, last in self._chunks(records, chosen):
            inside = torch.from_numpy(chosen[first:last]).to(records.patient.device)
            rows = torch.isin(records.patient, inside).nonzero().squeeze(1)
            owner = torch.searchsorted(inside, records.patient[rows])  # (rows,) 0..last-first-1
            patients = self._patient_gradients(records.features[rows], records.labels[rows], owner, last - first)
            total += _clip(patients, self._mechanism.clipping_norm).sum(dim=0)
        return total

    def _chunks(self, records: Records, chosen: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Runs of ``chosen``, whole patients each, with about ``chunk_records`` records or one patient."""
        sizes = torch.bincount(records.patient, minlength=records.patients).cpu().numpy()[chosen]
        first = held = 0
        for place, size in enumerate(sizes):
            if held and held + size > self._chunk_records:
                yield first, place
                first, held = place, 0
            held += int(size)
        if held:
            yield first, len(chosen)

    def _patient_gradients(
        self, features: torch.Tensor, labels: torch.Tensor, owner: torch.Tensor, patients: int
    ) -> torch.Tensor:
        """Mean gradient over each patient's records; (patients, P) float64."""
        each = self._record_gradients(features, labels)  # (rows, P)
        sums = torch.zeros(patients, self._count, dtype=torch.float64, device=each.device)
        sums.index_add_(0, owner, each)
        records = torch.bincount(owner, minlength=patients).to(torch.float64)
        return sums / records[:, None]

    def _record_gradients(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The gradient of each record alone; (rows, P) float64."""
        hooked = GradSampleModule(self._module, loss_reduction="sum", strict=False)
        try:
            # torch's backward hooks, which Opacus reads, want an input that asks for its gradient
            outputs = hooked(features.detach().requires_grad_())
            torch.autograd.backward(self._loss(outputs, labels).sum())
            each = [cast(Any, parameter).grad_sample.flatten(1).double() for parameter in self._parameters]
        finally:
            hooked.to_standard_module()
            for parameter in self._parameters:
                parameter.grad = None
        return torch.cat(each, dim=1)


def sample_patients(patients: int, rate: float, stream: Stream) -> NDArray[np.int64]:
    """Each of 0..patients-1 with probability ``rate``, independently; rising, (lot,)."""
    return np.flatnonzero(stream.uniform(patients) < rate).astype(np.int64)


def check_module(module: nn.Module) -> None:
    """Refuse a module in which a record has no gradient of its own.

    Raises:
        TermsError: naming the first layer that mixes records, or whose parameters Opacus cannot handle.
    """
    for name, layer in module.named_modules():
        if _mixes_records(layer):
            raise TermsError(
                f"layer '{name}' ({type(layer).__name__}) mixes records, so no patient's share can be bounded; "
                "use a normalisation within a record, such as GroupNorm"
            )
        own = any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
        if own and type(layer) not in GradSampleModule.GRAD_SAMPLERS:
            raise TermsError(f"layer '{name}' ({type(layer).__name__}) has no known gradient of each record")


def _mixes_records(layer: nn.Module) -> bool:
    if isinstance(layer, nn.modules.instancenorm._InstanceNorm):
        return layer.track_running_stats
    return isinstance(layer, nn.modules.batchnorm._BatchNorm)


def _clip(gradients: torch.Tensor, clipping_norm: float | None) -> torch.Tensor:
    """Each row scaled down to norm ``clipping_norm``; a row that is not finite becomes zero; (patients, P)."""
    if clipping_norm is None:
        return gradients
    norms = torch.linalg.vector_norm(gradients, dim=1)  # (patients,)
    factors = (clipping_norm * _CLIP_MARGIN / norms).clamp(max=1.0)
    usable = torch.isfinite(norms)
    return torch.where(usable[:, None], gradients * factors[:, None], 0.0)
