"""A site's share of the shared model's score: a histogram of its test patients, never a patient's score.

Rules:

* a test patient adds one to one cell (class x score bin), so one patient more or less changes one count by one;
* a patient with several records counts with the last one kept;
* with privacy every cell, occupied or not, gets its own exact discrete Gaussian; counts may turn negative, and are
  not mended here, because sums over sites stay unbiased that way.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from client.data import Patients
from privacy.discrete_gaussian import sample
from privacy.stream import Stream

BATCH: int = 8192  # records scored at a time


def score_histogram(module: nn.Module, patients: Patients, bins: int) -> NDArray[np.int64]:
    """Counts by class and score bin: first the negatives' bins, then the positives'; (2 * bins,).

    The score is the probability of a positive label; bin b holds scores in [b/bins, (b+1)/bins), the last one its
    upper end as well.
    """
    last = np.flatnonzero(np.diff(patients.patient, append=patients.patients))  # (patients,)
    scores = _scores(module, patients.features[last])
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    cells = patients.labels[last].astype(np.int64) * bins + place
    return np.bincount(cells, minlength=2 * bins).astype(np.int64)


def noised(counts: NDArray[np.int64], noise_multiplier: float, stream: Stream) -> NDArray[np.int64]:
    """The counts plus exact discrete Gaussian noise of standard deviation ``noise_multiplier`` (sensitivity 1)."""
    variance = Fraction(noise_multiplier) ** 2
    return counts + np.array(sample(variance, counts.size, stream), dtype=np.int64)


def _scores(module: nn.Module, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """The probability of a positive label, (records,)."""
    device = next(module.parameters()).device
    with torch.no_grad():
        logits = [module(part.to(device)).cpu().double() for part in torch.split(torch.from_numpy(features), BATCH)]
    return torch.sigmoid(torch.cat(logits)).numpy()
