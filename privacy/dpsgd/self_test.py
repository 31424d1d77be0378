"""Compare the engine's gradients of two invented patients with a plain loop, before a study trains.

Some mistakes cannot be seen in a model's layers: a weight that is used outside its own layer, a loss that looks at
the whole batch, a custom layer that mixes records. Each would give a patient another gradient than the one that is
clipped, without a warning.

So the engine is compared, parameter by parameter, with autograd on one record after the other: for a patient with
one record, a patient with three, and both together. Once the bound is so large that nothing is clipped, and the
sums must agree. Once the bound clips both patients, and the norms must agree. This is done without the engine's own
check of a sum, which would hide a norm that is wrong. Then both patients are summed as training sums a lot, wherever
its noise is added (:meth:`privacy.dpsgd.DpSgd.sum_lot`): in one batch; in batches of two records, so that the patient
with three is summed in parts; and after memory ran out in the middle of the lot.

Where a rectifier is given a number next to zero, or numbers that are pooled are nearly equal, rounding alone decides
which way the gradient takes: a network with 32 million parameters was refused for it once. So where gradients differ,
the model is compared three more times. It passes only if the same records differ again (otherwise it keeps something
between its calls) and if two other draws of records agree.

Records are drawn from a fixed seed (:mod:`privacy.dpsgd.example`); nothing here reads a site's data.

What is random is switched off for the test: dropout, and layers with ``draws_randomly``, are put into evaluation
mode. If the model is still random, all of it is. A model that is random even then is refused: one record after the
other and all at once would draw differently, whatever the seed. An augmentation is tested apart: another record must
not change what becomes of the first ones.
"""

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from privacy.dpsgd.batching import make_batches
from privacy.dpsgd.engine import Augment, DpSgd, Method, choose_clipper
from privacy.dpsgd.example import Example
from privacy.dpsgd.ghost_clipping import CLIP_MARGIN, add_unclipped
from privacy.dpsgd.layer_checks import check_module
from privacy.dpsgd.loss import BatchLoss, Loss
from privacy.dpsgd.mechanism import Mechanism
from privacy.dpsgd.named_tensors import Inputs, Targets, list_tensors, select_rows
from privacy.dpsgd.norms import compute_l2_norm
from privacy.dpsgd.records import TensorRecords
from privacy.dpsgd.torch_randomness import make_generator, seed_torch
from privacy.dpsgd.trainable import FlatSum, Trainable
from privacy.errors import TermsError
from privacy.randomness import KeyStream

TOLERANCE: Final = 1e-4  # of a parameter's gradient
_BESIDE: Final = 1e-5  # of the whole gradient: a smaller part of it cannot be distinguished from rounding
_COUNTS: Final = np.array([1, 3])  # records of the two patients
_RECORDS: Final = int(_COUNTS.sum())
_LARGE, _LEAST = 1e30, 1e-30  # clipping norms of a mechanism
_FEW, _SOME = 2, 3  # records in a batch: less than a patient has; as many as the second patient has, so first comes
# the other one, and memory runs out in the middle of the lot


def run_self_test(
    module: nn.Module, loss: Loss, example: Example, method: Method = "auto", augment: Augment | None = None
) -> None:
    """Compare the engine with a loop, on invented records.

    Args:
        module: the model; its parameters must not all be zero.
        loss: of each record.
        example: shapes, types and ranges of a record.
        method: the engine, see :class:`privacy.dpsgd.DpSgd`.
        augment: the augmentation, if there is one.

    Raises:
        TermsError: a patient's gradient is not the one that is clipped; names the parameter. Or the gradient of an
            invented record is no finite number, the model is random in evaluation mode, or the augmentation mixes
            records.
    """
    check_module(module)
    trainable = Trainable(module)
    device = next(iter(trainable.parameters.values())).device
    lens = BatchLoss(module, loss)

    def compare(turn: int) -> str | None:
        inputs, targets = example.draw(_RECORDS, device, turn)
        if augment is not None:
            _require_separate_augmentation(augment, inputs, targets, device)
            inputs, targets = augment(inputs, targets, make_generator(0, device))
        return _find_other_gradient(lens, trainable, inputs, targets, method)

    found = compare(0)
    if found is not None and (compare(0) is None or compare(1) is not None or compare(2) is not None):
        raise TermsError(found)


def _find_other_gradient(
    lens: BatchLoss, trainable: Trainable, inputs: Inputs, targets: Targets, method: Method
) -> str | None:
    """Compare the engine's sums for the two patients of these records with a loop; describe the first that differs."""
    with _mute_engine(), _switch_off_randomness(lens.module, inputs):
        patients, sizes = _compute_gradients_one_by_one(lens, trainable, inputs, targets)
        norms = [float(compute_l2_norm(patient)) for patient in patients]
        if not all(math.isfinite(norm) for norm in norms):
            raise TermsError(
                "the gradient of an invented record is not a finite number; a model needs one for any inputs of the "
                "data contract, also where a mask is set at one place only"
            )
        tight = min(norms) / 2  # clips both patients
        for norm in (_LARGE, tight) if tight > _LEAST else (_LARGE,):
            factors = [min(1.0, CLIP_MARGIN * norm / own) if own > 0 else 1.0 for own in norms]
            wanted = [factor * patient for factor, patient in zip(factors, patients, strict=True)]
            for chosen, got in _compute_sums(lens, trainable, inputs, targets, method, norm):
                want = torch.stack([wanted[one] for one in chosen]).sum(0)
                size = sum(factors[one] * sizes[one] for one in chosen)
                if (found := _compare_gradients(trainable, got, want, size)) is not None:
                    return found
    return None


def _compute_sums(
    lens: BatchLoss, trainable: Trainable, inputs: Inputs, targets: Targets, method: Method, norm: float
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Yield clipped sums, (P,) each, beside the patients whose sum it is."""
    clipper = choose_clipper(lens, trainable, method)
    for chosen in ([0], [1], [0, 1]):
        total = FlatSum(trainable)
        for batch in make_batches(_COUNTS, np.array(chosen), _RECORDS):
            rows = torch.from_numpy(batch.rows)
            clipper.add_clipped(select_rows(inputs, rows), select_rows(targets, rows), batch, norm, total)
        yield chosen, total.vector
    records = TensorRecords(inputs, targets, np.repeat(np.arange(len(_COUNTS)), _COUNTS))
    mechanism, record_bytes = Mechanism(1.0, len(_COUNTS), norm, 0.0), clipper.estimate_record_bytes(inputs)
    for loss, limit in ((lens.loss, _RECORDS), (lens.loss, _FEW), (_RunOutOfMemoryOnce(lens.loss), _SOME)):
        engine = DpSgd(lens.module, loss, mechanism, KeyStream(bytes(32)), method, limit * record_bytes)
        yield chosen, engine.sum_lot(records, np.array(chosen))


class _RunOutOfMemoryOnce:
    """A loss that finds no memory the first time it is of more than one record."""

    def __init__(self, loss: Loss) -> None:
        self._loss, self._failed = loss, False

    def __call__(self, outputs: Any, targets: Any) -> torch.Tensor:
        losses = self._loss(outputs, targets)
        if len(losses) > 1 and not self._failed:
            self._failed = True
            raise MemoryError
        return losses


@contextlib.contextmanager
def _mute_engine() -> Iterator[None]:
    """Keep the engine from logging inside the block, where memory only seems to run out."""
    log = logging.getLogger(DpSgd.__module__)
    log.addFilter(_drop)
    try:
        yield
    finally:
        log.removeFilter(_drop)


def _drop(record: logging.LogRecord) -> bool:
    return False


def _compute_gradients_one_by_one(
    lens: BatchLoss, trainable: Trainable, inputs: Inputs, targets: Targets
) -> tuple[list[torch.Tensor], list[float]]:
    """Compute each patient's mean gradient, (P,), record after record, and the mean norm of the records' own."""
    patients, sizes, record = list[torch.Tensor](), list[float](), 0
    for count in _COUNTS.tolist():
        total, size = trainable.make_zeros(), 0.0
        weight = torch.full((1,), 1.0 / count, dtype=torch.float64)
        for one in range(record, record + count):
            some, alone = slice(one, one + 1), trainable.make_zeros()
            add_unclipped(lens, trainable, select_rows(inputs, some), select_rows(targets, some), weight, alone)
            total, size = total + alone, size + float(compute_l2_norm(alone))
        record += count
        patients.append(total)
        sizes.append(size)
    return patients, sizes


def _compare_gradients(trainable: Trainable, got: torch.Tensor, want: torch.Tensor, size: float) -> str | None:
    """Compare two gradients, (P,), and describe the first parameter that differs.

    ``size`` is how long what was summed is: where it cancels, rounding stays.
    """
    parts = zip(trainable.make_views(got).items(), trainable.make_views(want).values(), strict=True)
    for (name, ours), theirs in parts:
        allowed = TOLERANCE * float(compute_l2_norm(theirs.flatten())) + _BESIDE * size
        off = float(compute_l2_norm((ours - theirs).flatten()))
        if not off <= allowed:
            return (
                f"parameter '{name}' has another gradient than the one that is clipped (off by {off:.1e}, expected at "
                f"most {allowed:.1e}); a weight must be used by its own layer only, and neither layers nor loss may "
                "look at several records"
            )
    return None


def _require_separate_augmentation(
    augment: Augment, inputs: Inputs, targets: Targets, device: torch.device
) -> None:
    first, places = (
        slice(0, _RECORDS - 1),
        torch.tensor([*range(_RECORDS - 1), 0]),
    )  # the last record is another one
    kept = augment(inputs, targets, make_generator(0, device))
    changed = augment(select_rows(inputs, places), select_rows(targets, places), make_generator(0, device))
    if not all(
        _are_equal(select_rows(own, first), select_rows(other, first))
        for own, other in zip(kept, changed, strict=True)
    ):
        raise TermsError(
            "the augmentation of a record changes with another record; each must depend on itself alone"
        )


@contextlib.contextmanager
def _switch_off_randomness(module: nn.Module, inputs: Inputs) -> Iterator[None]:
    """Switch off the module's randomness inside the block, and restore the module afterwards.

    Raises:
        TermsError: it cannot be switched off.
    """
    modes = {layer: layer.training for layer in module.modules()}
    buffers = {buffer: buffer.clone() for buffer in module.buffers()}
    with seed_torch(0, list_tensors(inputs)[0].device):
        try:
            for layer in modes:
                if isinstance(layer, nn.modules.dropout._DropoutNd) or getattr(layer, "draws_randomly", False):
                    layer.training = False
            if _gives_other_outputs(module, inputs):
                module.eval()
                if _gives_other_outputs(module, inputs):
                    raise TermsError(
                        "the model is random in evaluation mode; let it draw only where self.training is true"
                    )
            yield
        finally:
            for layer, mode in modes.items():
                layer.training = mode
            with torch.no_grad():
                for buffer, old in buffers.items():  # such as running statistics
                    buffer.copy_(old)


def _gives_other_outputs(module: nn.Module, inputs: Inputs) -> bool:
    """Return whether a second call gives other outputs than the first."""
    with torch.no_grad():
        return not _are_equal(module(inputs), module(inputs))


def _are_equal(these: Any, those: Any) -> bool:
    """Return whether tensors, or mappings or sequences of them, are equal; NaN equals NaN."""
    if isinstance(these, torch.Tensor):
        return (
            torch.equal(torch.nan_to_num(these), torch.nan_to_num(those))
            if these.is_floating_point()
            else torch.equal(these, those)
        )
    if isinstance(these, Mapping):
        return all(_are_equal(these[name], those[name]) for name in these)
    if isinstance(these, tuple | list):
        return all(_are_equal(one, other) for one, other in zip(these, those, strict=True))
    return bool(these == those)
