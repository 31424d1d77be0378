"""A small convolutional network for chest X-rays; the product's own ``DpSgd`` computes its clipped sums.

Two 3 x 3 convolutions of stride 2 with 8 and 16 channels, tanh, one linear layer: 2,033 parameters. Bounded
activations suit clipped gradients (Papernot et al. 2021, "Tempered sigmoid activations for deep learning with
differential privacy"); docs/utility.md compares them with ELU after group normalisation.
"""

import hashlib
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.utility_data import Array, Records
from models.parameters.flatten import set_shared_parameters
from models.parameters.initial import draw_initial_shared_parameters
from models.tasks.binary import compute_record_losses
from privacy.dpsgd import DpSgd, Mechanism, TensorRecords
from privacy.randomness import KeyStream


def network() -> nn.Module:
    """Build the network: (patients, 1, 28, 28) -> (patients,) logits."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),  # (patients, 8, 14, 14)
        nn.Tanh(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),  # (patients, 16, 7, 7)
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, 1),
        nn.Flatten(0),
    )


@dataclass(frozen=True)
class Convolutional:
    """The network as a learner."""

    module: nn.Module = field(default_factory=network)
    seen: WeakKeyDictionary[Records, TensorRecords] = field(default_factory=WeakKeyDictionary)

    def first(self, seed: int) -> Array:
        """Draw the shared model before the first step, (P,)."""
        return draw_initial_shared_parameters(self.module, hashlib.sha256(f"utility {seed}".encode()).hexdigest())

    def lot_sum(
        self, model: Array, records: Records, chosen: NDArray[np.int64], clipping_norm: float | None
    ) -> Array:
        """Sum the (clipped) gradients of the ``chosen`` patients, (P,)."""
        set_shared_parameters(self.module, model)
        mechanism = Mechanism(1.0, records.patients, clipping_norm, None if clipping_norm is None else 0.0)
        private = DpSgd(self.module, compute_record_losses, mechanism, KeyStream(bytes(32)))
        total: Array = private.sum_lot(self._device(records), chosen).numpy()
        return total

    def logits(self, model: Array, records: Records) -> Array:
        """Compute the logit of each patient, (patients,)."""
        set_shared_parameters(self.module, model)
        with torch.no_grad():
            features, _ = self._device(records).select(np.arange(records.patients))
            found: Array = self.module(features).double().numpy()
        return found

    def _device(self, records: Records) -> TensorRecords:
        if records not in self.seen:
            features, labels = (each.astype(np.float32) for each in (records.features, records.labels))
            self.seen[records] = TensorRecords(features, labels, np.arange(records.patients))
        return self.seen[records]
