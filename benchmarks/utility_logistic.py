"""Logistic regression with clipped sums in closed form: the same as ``DpSgd``, ten times as fast.

The gradient of a patient is (sigmoid(w x + b) - y) (x, 1), so that its norm is known without computing it
(Goodfellow 2015, "Efficient per-example gradient computations").

:func:`check_against_the_product` runs before every measurement: the clipped sums must equal those of
:meth:`privacy.dpsgd.DpSgd.sum_lot`, and steps with noise those of :func:`client.training.local_steps.train`, from
the same randomness.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchmarks.small_study import make_patients
from benchmarks.utility_data import Array, Records
from benchmarks.utility_training import CLIPPING_NORM, Task, descended
from client.data.dataset import compute_public_count
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.local_steps import make_loss, train
from models.parameters.flatten import set_shared_parameters
from models.parameters.initial import draw_initial_shared_parameters
from models.tabular.logistic import MODEL as LOGISTIC
from privacy.dpsgd import CLIP_MARGIN, DpSgd, Mechanism
from privacy.randomness import KeyStream
from privacy.study import Terms

_CLOSE: Final = 1e-5


@dataclass(frozen=True)
class Logistic:
    """The catalogue's ``logistic`` as a learner: ``inputs`` weights, then the bias."""

    inputs: int

    def first(self, seed: int) -> Array:
        """Draw the shared model before the first step, (inputs + 1,)."""
        return draw_initial_shared_parameters(
            _build(self.inputs), hashlib.sha256(f"utility {seed}".encode()).hexdigest()
        )

    def lot_sum(
        self, model: Array, records: Records, chosen: NDArray[np.int64], clipping_norm: float | None
    ) -> Array:
        """Sum the (clipped) gradients of the ``chosen`` patients, (inputs + 1,)."""
        lot = records if len(chosen) == records.patients else records.of(chosen)
        # sigmoid(z) - y, with sigmoid(z) = (1 + tanh(z / 2)) / 2, which cannot overflow.
        slopes = 0.5 * (1.0 + np.tanh(0.5 * self.logits(model, lot))) - lot.labels  # (lot,)
        if clipping_norm is not None:
            norms = np.abs(slopes) * np.sqrt(1.0 + np.einsum("pi,pi->p", lot.features, lot.features))
            slopes = slopes * np.minimum(1.0, CLIP_MARGIN * clipping_norm / np.maximum(norms, 1e-300))
        return np.append(slopes @ lot.features, slopes.sum())

    def logits(self, model: Array, records: Records) -> Array:
        """Compute the logit of each patient, (patients,)."""
        found: Array = records.features @ model[:-1] + model[-1]
        return found


def check_against_the_product(task: Task, records: Records, terms: Terms) -> None:
    """Compare with the product's own gradients and steps on ``records``.

    Args:
        task: with a promise.
        records: of one site.
        terms: of any study with these inputs; its training numbers are replaced by the task's.

    Raises:
        AssertionError: they differ.
    """
    count, start = records.patients, task.learner.first(task.seed)
    patients = make_patients(records.features, records.labels)
    module = _build(records.features.shape[1])
    set_shared_parameters(module, start)
    rate, public = task.schedule.sampling_rate, compute_public_count(count)
    chosen = np.arange(0, count, 2, dtype=np.int64)
    device_records = DeviceRecords(patients, terms, CPU.device)
    private = DpSgd(module, make_loss(terms), Mechanism(rate, public, CLIPPING_NORM, 0.0), KeyStream(bytes(32)))
    theirs = private.sum_lot(device_records, chosen).numpy()
    _assert_close(task.learner.lot_sum(start, records, chosen, CLIPPING_NORM), theirs, "clipped sums")
    changed: dict[str, Any] = {
        "local_steps": task.schedule.local_steps,
        "sampling_rate": rate,
        "learning_rate": task.learning_rate,
    }
    studied = terms.model_copy(update={"training": terms.training.model_copy(update=changed)})
    update = train(start, studied, device_records, public, task.noise, CPU, KeyStream(bytes(32))).update
    ours = descended(task, start, records, task.schedule.local_steps, KeyStream(bytes(32))) - start
    _assert_close(ours, update, "steps with noise")


def _build(inputs: int) -> nn.Module:
    return LOGISTIC.build(LOGISTIC.options(), {"features": inputs}, ())


def _assert_close(ours: Array, theirs: Array, what: str) -> None:
    away = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    assert away < _CLOSE, f"{what} differ from the product's by a relative {away:.1e}"
