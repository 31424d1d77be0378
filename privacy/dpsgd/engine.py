"""Run one step of differentially private SGD: draw the lot, sum its clipped gradients in batches, add the noise.

Rules:

* Sampling and noise come from a :class:`privacy.randomness.KeyStream` alone, never from torch's generator. What the
  module or the augmentation draws comes from generators that are seeded from the same stream, once a lot
  (:mod:`privacy.dpsgd.torch_randomness`).
* When memory runs out, the physical batch is halved and the same lot is summed again, from the same seed: memory
  never leads to another lot.
* With ``views`` every record enters so many times, side by side; a patient's gradient is the mean over records and
  views before it is clipped, so a patient still moves the sum by at most C ("augmentation multiplicity", De et al.
  2022, "Unlocking high-accuracy differentially private image classification through scale", arXiv 2204.13650). A
  physical batch counts views.
* A patient with more records than a physical batch is summed in a vector of its own, then clipped.
* The sum over a lot of n patients is checked before its noise: apart from rounding it cannot be longer than n C. If
  it is, this program has a defect, and the lot is summed again with every patient in a vector of its own. The step
  continues either way, with a correct sum: whether the first sum was wrong depends on records, so only the site may
  see it.
* With a filter for each patient, everybody is in every step, and everybody's gradient is computed and scaled: by 0 for
  those who are left out. So how long a step takes does not depend on who they are, or how many. A lot that is summed
  again is charged again from where it began.
* Noise is drawn by other threads while the gradients are computed, and added in float64. Of a large model only the
  first 64 MiB are drawn ahead, the rest block by block; so it needs one vector of its size and little more.
* The sum takes its memory at the end of the first batch's backward pass, when most of the activations are free.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from privacy.dpsgd.batching import Batch, make_batches
from privacy.dpsgd.ghost_clipping import Admit, GhostClipping, add_unclipped, compute_clip_factors, compute_lengths
from privacy.dpsgd.layer_checks import check_module
from privacy.dpsgd.loss import BatchLoss, Loss
from privacy.dpsgd.mechanism import Mechanism, NoiseAhead, sample_patients
from privacy.dpsgd.named_tensors import Inputs, Targets, find_device, select_rows
from privacy.dpsgd.norms import add_scaled, compute_l2_norm
from privacy.dpsgd.records import Records
from privacy.dpsgd.torch_randomness import draw_seed, is_random, list_random_layers, make_generator, seed_torch
from privacy.dpsgd.trainable import FlatSum, Trainable
from privacy.errors import TermsError, TrainingError
from privacy.randomness import KeyStream

Method = Literal["auto", "book-keeping", "opacus"]

BATCH_BYTES: Final = 1 << 30  # memory that a physical batch may take, about
_ROUNDING: Final = 1e-3  # by which part rounding may make a sum longer than n C; a defect makes it longer

_log = logging.getLogger(__name__)


Augment = Callable[[Any, Any, torch.Generator], tuple[Inputs, Targets]]
"""(inputs, targets, generator) -> both with each record changed by its own draw from the generator.

It has no other randomness, treats records alike and leaves their number as it is; :func:`run_self_test` tests it.
"""


class Clipper(Protocol):
    """A way to sum the clipped gradients of patients."""

    def estimate_record_bytes(self, inputs: Inputs) -> int:
        """Estimate how much memory one record takes."""
        ...

    def add_clipped(
        self,
        inputs: Inputs,
        targets: Targets,
        batch: Batch,
        norm: float,
        into: FlatSum,
        admit: Admit | None = None,
    ) -> None:
        """Add each patient's gradient, clipped to ``norm``, to ``into``; only of those whom ``admit`` admits."""
        ...


class PatientFilter(Protocol):
    """Who takes part in a step, by the length of their own clipped gradients in this step and those before."""

    def admit(self, lengths: NDArray[np.float64], patients: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Charge the present step to ``patients``, and return who takes part; (some,).

        The last answer about a patient counts, since a lot may be summed more than once.
        """
        ...

    def settle(self) -> None:
        """End the step."""
        ...


class DpSgd:
    """Private gradients of one module. The caller keeps the module and updates its parameters.

    Args:
        module: maps inputs to outputs, each record for itself. A layer that is random in another way than dropout
            says so with an attribute ``draws_randomly = True``, and does not draw in evaluation mode.
        loss: of each record.
        mechanism: the public numbers.
        stream: secret randomness for sampling and noise.
        method: ``book-keeping`` (ghost clipping); ``opacus``, the reference; ``auto``: the first one that can.
        batch_bytes: memory for a physical batch, about; it changes nothing but what a random module draws.
        precision: type of the passes (``torch.autocast``), for example bfloat16; clipping stays in float32.
        views: how often each record of a chosen patient enters.
        augment: changes each view of a record by its own draw; None: views differ by what the module draws.
        patient_filter: who takes part in a step; None: everybody in the lot.

    Raises:
        TermsError: the module has a layer without per-sample gradients.
        ValueError: less than one view; or a filter where patients are drawn by chance, or not clipped.
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
        views: int = 1,
        augment: Augment | None = None,
        patient_filter: PatientFilter | None = None,
    ) -> None:
        if views < 1:
            raise ValueError(f"expected at least one view of a record, got {views}")
        if patient_filter is not None and (mechanism.sampling_rate != 1 or mechanism.clipping_norm is None):
            raise ValueError("a filter for each patient needs everybody in every step (sampling_rate 1), clipped")
        check_module(module)
        self._lens = BatchLoss(module, loss, precision)
        self._trainable = Trainable(module)
        self._random_layers = list_random_layers(module)
        self._clipper = choose_clipper(self._lens, self._trainable, method)
        self._mechanism = mechanism
        self._stream = stream
        self._batch_bytes = batch_bytes
        self._views = views
        self._augment = augment
        self._patient_filter = patient_filter
        self._draws: torch.Generator | None = None  # of the augmentation, in the present lot
        self._limit: int | None = None  # views of records in a physical batch, once known

    @property
    def records_at_once(self) -> int | None:
        """How many views of records a physical batch may have now; None before the first lot that has a record."""
        return self._limit

    def compute_gradient(self, records: Records) -> torch.Tensor:
        """Return the noised gradient of one step over the expected lot; (P,) on the records' device."""
        norm, multiplier = self._mechanism.clipping_norm, self._mechanism.noise_multiplier
        chosen = sample_patients(records.patients, self._mechanism.sampling_rate, self._stream)
        seed = self._draw_seed()
        if norm is None or multiplier is None:
            total = self._sum_checked(records, chosen, seed)
        else:
            with NoiseAhead(self._trainable.count, self._stream, self._trainable.device) as noise:
                total = self._sum_checked(records, chosen, seed)
                noise.add_to(total, multiplier * norm)
        if self._patient_filter is not None:
            self._patient_filter.settle()
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
        return self._sum_checked(records, chosen, self._draw_seed())

    def _draw_seed(self) -> int | None:
        """Draw the seed of a lot's other randomness; None: nothing is random."""
        draws = self._augment is not None or any(is_random(layer) for layer in self._random_layers)
        return draw_seed(self._stream) if draws else None

    def _sum_checked(self, records: Records, chosen: NDArray[np.int64], seed: int | None) -> torch.Tensor:
        """Sum the lot as :meth:`sum_lot` does, and again if the sum is longer than its patients allow."""
        total = FlatSum(self._trainable)
        self._sum_in_memory(records, chosen, total, seed)
        norm = self._mechanism.clipping_norm
        # written with not, so that a sum that is not a number is caught as well
        if norm is not None and not float(compute_l2_norm(total.vector)) <= len(chosen) * norm * (1 + _ROUNDING):
            _log.warning(
                "a sum of clipped gradients was longer than its patients allow, which is a defect of this program: "
                "please report it; it is summed again, patient by patient"
            )
            total.clear()
            self._sum_in_memory(records, chosen, total, seed, apart=True)
        return total.vector

    def _sum_in_memory(
        self,
        records: Records,
        chosen: NDArray[np.int64],
        total: FlatSum,
        seed: int | None,
        apart: bool = False,
    ) -> None:
        while not _fits(lambda: self._sum_from_seed(records, chosen, total, seed, apart)):
            if self._limit == 1 or self._limit is None:
                raise TrainingError("there is not enough memory for the gradient of a single record")
            self._limit //= 2  # for all later lots too
            _log.info("not enough memory; from now on %d records at a time", self._limit)
            total.clear()

    def _sum_from_seed(
        self, records: Records, chosen: NDArray[np.int64], total: FlatSum, seed: int | None, apart: bool
    ) -> None:
        """Sum the lot once, from the beginning of what ``seed`` makes the module and the augmentation draw."""
        with contextlib.nullcontext() if seed is None else seed_torch(seed, self._trainable.device):
            if self._augment is not None:
                # torch's generator, which the seed filled, gives this one a seed of its own
                self._draws = make_generator(int(torch.randint(2**63 - 1, ())), self._trainable.device)
            self._sum_batches(records, chosen, total, apart)

    def _sum_batches(self, records: Records, chosen: NDArray[np.int64], total: FlatSum, apart: bool) -> None:
        for batch in self._make_batches(records, chosen, apart):
            self._add_batch(records, batch, total, apart)

    def _make_batches(self, records: Records, chosen: NDArray[np.int64], apart: bool) -> Iterator[Batch]:
        counts = records.counts
        if self._limit is None and counts[chosen].any():
            self._limit = max(1, self._batch_bytes // self._estimate_record_bytes(records))
        limit = 1 if apart else (self._limit or 1) // self._views
        for batch in make_batches(counts, chosen, max(1, limit)):
            yield batch if self._views == 1 else batch.repeat_records(self._views)

    def _estimate_record_bytes(self, records: Records) -> int:
        inputs, targets = records.select(np.zeros(1, np.int64))
        if self._augment is not None:  # it may change a record's size; what it draws here decides nothing
            inputs, _ = self._augment(inputs, targets, make_generator(0, find_device(inputs)))
        return self._clipper.estimate_record_bytes(inputs)

    def _add_batch(self, records: Records, batch: Batch, total: FlatSum, apart: bool) -> None:
        """Add a batch's gradients; ``apart``: it is one patient, who is summed in a vector of its own."""
        norm, limit = self._mechanism.clipping_norm, self._limit
        assert limit is not None
        if norm is not None and batch.records <= limit and not apart:
            admit = self._make_admit(records, batch)
            self._clipper.add_clipped(*self._select_records(records, batch), batch, norm, total, admit)
            return
        into = total.vector if norm is None else self._trainable.make_zeros()
        parts = [batch] if batch.records <= limit else batch.split_records(limit)
        for part in parts:
            # a part weighs its records one over its own number; they must weigh one over the patient's number
            weights = part.weights * (part.records / batch.records) if part is not batch else batch.weights
            add_unclipped(self._lens, self._trainable, *self._select_records(records, part), weights, into)
        if norm is not None:
            self._add_apart(into, norm, total, self._make_admit(records, batch))

    def _add_apart(self, gradient: torch.Tensor, norm: float, total: FlatSum, admit: Admit | None) -> None:
        """Add the gradient (P,) of one patient, clipped to ``norm``, to ``total``; zero if it is not finite."""
        length = compute_l2_norm(gradient)
        finite = bool(torch.isfinite(length))
        factor = compute_clip_factors(length, norm)
        if admit is not None:
            known = length if finite else torch.zeros_like(length)
            factor = factor * admit(compute_lengths(known, norm).reshape(1))[0]
        if finite:
            add_scaled(total.vector, gradient, float(factor))

    def _make_admit(self, records: Records, batch: Batch) -> Admit | None:
        """Make the function that says which patients of the batch take part; None without a filter."""
        patient_filter = self._patient_filter
        if patient_filter is None:
            return None
        patients = batch.find_patients(records.counts)

        def admit(lengths: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(patient_filter.admit(lengths.cpu().numpy(), patients)).to(lengths.device)

        return admit

    def _select_records(self, records: Records, batch: Batch) -> tuple[Inputs, Targets]:
        if self._views == 1:
            inputs, targets = records.select(batch.rows)
        else:  # each record is read once, also from a file
            rows, places = np.unique(batch.rows, return_inverse=True)
            repeats = torch.from_numpy(places)
            inputs, targets = (select_rows(tensors, repeats) for tensors in records.select(rows))
        if self._augment is not None:
            assert self._draws is not None
            inputs, targets = self._augment(inputs, targets, self._draws)
        return inputs, targets


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
