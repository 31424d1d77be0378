"""Count a site's share of the shared model's score: a histogram of its test patients, never a patient's score.

Rules:

* a test patient adds one to one cell (class x score bin), so one patient more or less changes one count by one;
* a patient with several records counts with the last one kept;
* scoring is total: every patient is counted in a cell, whatever the numbers are. A score that is not a number is
  counted in the lowest bin. Whether a site answers must not depend on a record;
* with privacy every cell, occupied or not, gets its own exact discrete Gaussian (Canonne, Kamath and Steinke 2020).
  Counts may become negative, and are not corrected here: this keeps sums over sites unbiased.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from client.data.examples import Patients
from models.task import Task
from models.tasks.binary import BinaryTask
from privacy.mechanisms.discrete_gaussian import sample
from privacy.randomness import KeyStream

BATCH: int = 8192  # records scored at a time
_LEAST_TOTAL, _LARGEST_TOTAL = -(1 << 31), (1 << 31) - 1
"""The range of a sealed total (``privacy/secure_aggregation/layout.py``)."""


def count_scores(module: nn.Module, patients: Patients, bins: int, task: Task | None = None) -> NDArray[np.int64]:
    """Count test patients by the cells of ``task`` (the binary one, if none is given); (cells,)."""
    last = np.flatnonzero(np.diff(patients.patient, append=patients.patients))  # (patients,)
    outputs = _compute_outputs(module, patients.features[last])
    return (task or BinaryTask()).count_cells(outputs, patients.labels[last], bins)


def add_noise_to_counts(counts: NDArray[np.int64], noise_multiplier: float, stream: KeyStream) -> NDArray[np.int64]:
    """Add exact discrete Gaussian noise of standard deviation ``noise_multiplier`` to the counts (sensitivity 1).

    Values beyond a sealed total's 32 bits are cut after the noise: post-processing, so nothing is charged for it.
    """
    noise = sample(Fraction(noise_multiplier) ** 2, counts.size, stream)
    cut = [
        max(_LEAST_TOTAL, min(_LARGEST_TOTAL, int(count) + each)) for count, each in zip(counts, noise, strict=True)
    ]
    return np.array(cut, dtype=np.int64)


def _compute_outputs(module: nn.Module, features: NDArray[np.float32]) -> torch.Tensor:
    """Compute what the model says of each record, in batches, on the CPU; (records, ...)."""
    device = next(module.parameters()).device
    with torch.no_grad():
        return torch.cat([module(part.to(device)).cpu() for part in torch.split(torch.from_numpy(features), BATCH)])
