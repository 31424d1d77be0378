"""Run one step of differentially private SGD: draw the lot, sum its clipped gradients in batches, add the noise.

Rules:

* Sampling and noise come from a :class:`privacy.randomness.KeyStream` alone, never from torch's generator.
* When memory runs out, the physical batch is halved and the same lot is summed again: memory never leads to another
  draw.
* A patient with more records than a physical batch is summed in a vector of its own, then clipped.
* The sum over a lot of n patients is checked before its noise: apart from rounding it cannot be longer than n C. If
  it is, this program has a defect, and the lot is summed again with every patient in a vector of its own. The step
  continues either way, with a correct sum: whether the first sum was wrong depends on records, so only the site may
  see it.
* Noise is added in slices in float64, so a large model needs one vector of its size and no more.
"""

import logging
from collections.abc import Callable
from typing import Final, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from privacy.dpsgd.batching import Batch, make_batches
from privacy.dpsgd.ghost_clipping import GhostClipping, add_unclipped, compute_clip_factors
from privacy.dpsgd.layer_checks import check_module
from privacy.dpsgd.loss import BatchLoss, Loss
from privacy.dpsgd.mechanism import Mechanism, add_noise, sample_patients
from privacy.dpsgd.norms import add_scaled, compute_l2_norm
from privacy.dpsgd.trainable import Trainable
from privacy.errors import TermsError, TrainingError
from privacy.randomness import KeyStream

Method = Literal["auto", "book-keeping", "opacus"]

BATCH_BYTES: Final = 1 << 30  # memory that a physical batch may take, about
_ROUNDING: Final = 1e-3  # by which part rounding may make a sum longer than n C; a defect makes it longer

_log = logging.getLogger(__name__)


class Records(Protocol):
    """Records on the training device, grouped by patient: ``patient`` is in rising order."""

    features: torch.Tensor  # (records, ...)
    labels: torch.Tensor  # (records, ...)
    patient: torch.Tensor  # (records,) int64 in 0..patients-1
    patients: int


class Clipper(Protocol):
    """A way to sum the clipped gradients of patients."""

    def estimate_record_bytes(self, features: torch.Tensor) -> int:
        """Estimate how much memory one record takes."""
        ...

    def add_clipped(
        self, features: torch.Tensor, labels: torch.Tensor, batch: Batch, norm: float, into: torch.Tensor
    ) -> None:
        """Add each patient's gradient, clipped to ``norm``, to ``into`` (P,)."""
        ...


class DpSgd:
    """Private gradients of one module. The caller keeps the module and updates its parameters.

    Args:
        module: maps features to outputs, each record for itself.
        loss: of each record.
        mechanism: the public numbers.
        stream: secret randomness for sampling and noise.
        method: ``book-keeping`` (ghost clipping); ``opacus``, the reference; ``auto``: the first one that can.
        batch_bytes: memory for a physical batch, about; it does not change the result.
        precision: type of the passes (``torch.autocast``), for example bfloat16; clipping stays in float32.

    Raises:
        TermsError: the module has a layer without per-sample gradients.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        mechanism: Mechanism,
        stream: KeyStream,
        method: Method = "auto",
        batch_bytes: int = BATCH_BYTES,
        precision: torch.dtype | None = None,
    ) -> None:
        check_module(module)
        self._lens = BatchLoss(module, loss, precision)
        self._trainable = Trainable(module)
        self._clipper = choose_clipper(self._lens, self._trainable, method)
        self._mechanism = mechanism
        self._stream = stream
        self._batch_bytes = batch_bytes
        self._limit: int | None = None  # records in a physical batch, once known

    def compute_gradient(self, records: Records) -> torch.Tensor:
        """Return the noised gradient of one step over the expected lot; (P,) on the records' device."""
        chosen = sample_patients(records.patients, self._mechanism.sampling_rate, self._stream)
        total = self.sum_lot(records, chosen)
        if self._mechanism.clipping_norm is not None and self._mechanism.noise_multiplier is not None:
            add_noise(total, self._mechanism.noise_multiplier * self._mechanism.clipping_norm, self._stream)
        # the expected lot is public; the real one is secret (McMahan et al. 2018)
        return total.div_(self._mechanism.expected_lot)

    def sum_lot(self, records: Records, chosen: NDArray[np.int64]) -> torch.Tensor:
        """Sum the (clipped) gradients of the chosen patients, without noise; (P,), float32 or float64.

        Args:
            records: all records of the site.
            chosen: (lot,) patient indices.

        Raises:
            TermsError: a layer hides patients' gradients, or the loss does not give one number a record.
            TrainingError: there is not enough memory for a single record.
        """
        total = self._trainable.make_zeros()
        counts = np.bincount(records.patient.cpu().numpy(), minlength=records.patients)
        self._sum_in_memory(records, counts, chosen, total)
        norm = self._mechanism.clipping_norm
        # written with not, so that a sum that is not a number is caught as well
        if norm is not None and not float(compute_l2_norm(total)) <= len(chosen) * norm * (1 + _ROUNDING):
            _log.warning(
                "a sum of clipped gradients was longer than its patients allow, which is a defect of this program: "
                "please report it; it is summed again, patient by patient"
            )
            total.zero_()
            self._sum_in_memory(records, counts, chosen, total, apart=True)
        return total

    def _sum_in_memory(
        self,
        records: Records,
        counts: NDArray[np.int64],
        chosen: NDArray[np.int64],
        total: torch.Tensor,
        apart: bool = False,
    ) -> None:
        while not _fits(lambda: self._sum_batches(records, counts, chosen, total, apart)):
            if self._limit == 1 or self._limit is None:
                raise TrainingError("there is not enough memory for the gradient of a single record")
            self._limit //= 2  # for all later lots too
            _log.info("not enough memory; from now on %d records at a time", self._limit)
            total.zero_()

    def _sum_batches(
        self,
        records: Records,
        counts: NDArray[np.int64],
        chosen: NDArray[np.int64],
        total: torch.Tensor,
        apart: bool,
    ) -> None:
        if len(chosen) and self._limit is None:
            self._limit = max(1, self._batch_bytes // self._clipper.estimate_record_bytes(records.features))
        for batch in make_batches(counts, chosen, 1 if apart else self._limit or 1):
            self._add_batch(records, batch, total, apart)

    def _add_batch(self, records: Records, batch: Batch, total: torch.Tensor, apart: bool) -> None:
        """Add a batch's gradients; ``apart``: it is one patient, who is summed in a vector of its own."""
        norm, limit = self._mechanism.clipping_norm, self._limit
        assert limit is not None
        if norm is not None and batch.records <= limit and not apart:
            self._clipper.add_clipped(*_select_records(records, batch), batch, norm, total)
            return
        into = total if norm is None else torch.zeros_like(total)
        parts = [batch] if batch.records <= limit else batch.split_records(limit)
        for part in parts:
            # a part weighs its records one over its own number; they must weigh one over the patient's number
            weights = part.weights * (part.records / batch.records) if part is not batch else batch.weights
            add_unclipped(self._lens, self._trainable, *_select_records(records, part), weights, into)
        # a gradient that is not finite counts as zero
        if norm is not None and torch.isfinite(length := compute_l2_norm(into)):
            add_scaled(total, into, float(compute_clip_factors(length, norm)))


def choose_clipper(lens: BatchLoss, trainable: Trainable, method: Method) -> Clipper:
    """Choose how the gradients of a module are clipped and summed.

    Raises:
        TermsError: the method, or any method for ``auto``, cannot handle the module.
    """
    if method != "opacus":
        try:
            return GhostClipping(lens, trainable)
        except TermsError as cause:
            if method == "book-keeping":
                raise
            reason = str(cause)
    from privacy.dpsgd.opacus_reference import OpacusHooks

    try:
        hooks = OpacusHooks(lens, trainable)
    except TermsError as cause:
        raise (cause if method == "opacus" else TermsError(reason)) from None
    if method == "auto":
        _log.info("gradients come from Opacus, which is slower: %s", reason)
    return hooks


def _select_records(records: Records, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.from_numpy(batch.rows).to(records.features.device)
    return records.features[rows], records.labels[rows]


def _fits(compute: Callable[[], None]) -> bool:
    """Return whether ``compute`` had enough memory. What it held is free again afterwards."""
    try:
        compute()
    except MemoryError:
        return False
    except RuntimeError as error:
        # torch raises OutOfMemoryError on some devices only; elsewhere the message says so
        if not isinstance(error, torch.OutOfMemoryError) and not _is_out_of_memory_message(str(error)):
            raise
        return False
    return True


def _is_out_of_memory_message(sentence: str) -> bool:
    return any(words in sentence for words in ("not enough memory", "can't allocate memory", "out of memory"))
