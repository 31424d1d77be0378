"""Compare the engine's gradients of two invented patients with a plain loop, before a study trains.

Some mistakes cannot be seen in a model's layers: a weight that is used outside its own layer, a loss that looks at
the whole batch, a custom layer that mixes records. Each would give a patient another gradient than the one that is
clipped, without a warning.

So the engine is compared, parameter by parameter, with autograd on one record after the other: for a patient with
one record, a patient with three, and both together. Once the bound is so large that nothing is clipped, and the
sums must agree. Once the bound clips both patients, and the norms must agree.

Records are drawn from a fixed seed; nothing here reads a site's data. Dropout is switched off for the test. If the
model is still random, it is put into evaluation mode.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from torch import nn

from privacy.dpsgd.batching import make_batches
from privacy.dpsgd.engine import Method, Records, choose_clipper
from privacy.dpsgd.ghost_clipping import CLIP_MARGIN, add_unclipped
from privacy.dpsgd.layer_checks import check_module
from privacy.dpsgd.loss import BatchLoss, Loss
from privacy.dpsgd.norms import compute_l2_norm
from privacy.dpsgd.trainable import Trainable
from privacy.errors import TermsError

TOLERANCE: Final = 1e-4  # of a parameter's gradient
_BESIDE: Final = 1e-5  # of the whole gradient: a smaller part of it cannot be distinguished from rounding
_COUNTS: Final = np.array([1, 3])  # records of the two patients
_SEED: Final = 20221015


@dataclass(frozen=True)
class Example:
    """Shapes and types of a record.

    Attributes:
        features: shape of a record's features.
        labels: shape of its label; () for one number.
        features_dtype: type of the features; floating point is drawn from [-1, 1], integers are 0 or 1.
        labels_dtype: type of the labels, which are 0 or 1.
    """

    features: tuple[int, ...]
    labels: tuple[int, ...] = ()
    features_dtype: torch.dtype = torch.float32
    labels_dtype: torch.dtype = torch.float32

    @classmethod
    def from_records(cls, records: Records) -> Self:
        """Read the shapes and types of ``records``, and none of their values."""
        features, labels = records.features, records.labels
        return cls(tuple(features.shape[1:]), tuple(labels.shape[1:]), features.dtype, labels.dtype)

    def draw(self, records: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw invented records and labels, always the same ones."""
        random = torch.Generator().manual_seed(_SEED)
        if self.features_dtype.is_floating_point:
            features = torch.rand((records, *self.features), generator=random) * 2 - 1
        else:
            features = torch.randint(0, 2, (records, *self.features), generator=random)
        labels = torch.randint(0, 2, (records, *self.labels), generator=random)
        return features.to(device, self.features_dtype), labels.to(device, self.labels_dtype)


def run_self_test(module: nn.Module, loss: Loss, example: Example, method: Method = "auto") -> None:
    """Compare the engine with a loop, on invented records.

    Args:
        module: the model; its parameters must not all be zero.
        loss: of each record.
        example: shapes and types of a record.
        method: the engine, see :class:`privacy.dpsgd.DpSgd`.

    Raises:
        TermsError: a patient's gradient is not the one that is clipped; names the parameter.
    """
    check_module(module)
    trainable = Trainable(module)
    device = next(iter(trainable.parameters.values())).device
    features, labels = example.draw(int(_COUNTS.sum()), device)
    with _switch_off_randomness(module, features):
        patients = _compute_gradients_one_by_one(BatchLoss(module, loss), trainable, features, labels)
        clipper = choose_clipper(BatchLoss(module, loss), trainable, method)
        norms = [float(compute_l2_norm(patient)) for patient in patients]
        tight = min(norms) / 2  # clips both patients
        for norm in (math.inf, tight) if tight > 0 else (math.inf,):
            factors = [min(1.0, CLIP_MARGIN * norm / own) if own > 0 else 1.0 for own in norms]
            for chosen in ([0], [1], [0, 1]):
                got = trainable.make_zeros()
                for batch in make_batches(_COUNTS, np.array(chosen), int(_COUNTS.sum())):
                    clipper.add_clipped(features[batch.rows], labels[batch.rows], batch, norm, got)
                want = torch.stack([factors[patient] * patients[patient] for patient in chosen]).sum(0)
                _require_equal_gradients(trainable, got, want)


def _compute_gradients_one_by_one(
    lens: BatchLoss, trainable: Trainable, features: torch.Tensor, labels: torch.Tensor
) -> list[torch.Tensor]:
    """Compute each patient's mean gradient, record after record; (P,) each."""
    patients, record = [], 0
    for count in _COUNTS.tolist():
        total = trainable.make_zeros()
        weight = torch.full((1,), 1.0 / count, dtype=torch.float64)
        for one in range(record, record + count):
            add_unclipped(lens, trainable, features[one : one + 1], labels[one : one + 1], weight, total)
        record += count
        patients.append(total)
    return patients


def _require_equal_gradients(trainable: Trainable, got: torch.Tensor, want: torch.Tensor) -> None:
    whole = float(compute_l2_norm(want))
    parts = zip(trainable.make_views(got).items(), trainable.make_views(want).values(), strict=True)
    for (name, ours), theirs in parts:
        allowed = TOLERANCE * float(compute_l2_norm(theirs.flatten())) + _BESIDE * whole
        off = float(compute_l2_norm((ours - theirs).flatten()))
        if not off <= allowed:
            raise TermsError(
                f"parameter '{name}' has another gradient than the one that is clipped (off by {off:.1e}, expected at "
                f"most {allowed:.1e}); a weight must be used by its own layer only, and neither layers nor loss may "
                "look at several records"
            )


@contextlib.contextmanager
def _switch_off_randomness(module: nn.Module, features: torch.Tensor) -> Iterator[None]:
    """Switch off the module's randomness inside the block, and restore the module afterwards."""
    modes = {layer: layer.training for layer in module.modules()}
    buffers = {buffer: buffer.clone() for buffer in module.buffers()}
    with torch.random.fork_rng(devices=[]):
        try:
            for layer in modes:
                if isinstance(layer, nn.modules.dropout._DropoutNd):
                    layer.training = False
            with torch.no_grad():
                if not torch.equal(module(features[:1]), module(features[:1])):
                    module.eval()
            yield
        finally:
            for layer, mode in modes.items():
                layer.training = mode
            with torch.no_grad():
                for buffer, old in buffers.items():  # such as running statistics
                    buffer.copy_(old)
