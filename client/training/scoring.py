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
from privacy.mechanisms.discrete_gaussian import sample
from privacy.randomness import KeyStream

BATCH: int = 8192  # records scored at a time
_LEAST_TOTAL, _LARGEST_TOTAL = -(1 << 31), (1 << 31) - 1
"""The range of a sealed total (``privacy/secure_aggregation/layout.py``)."""


def count_scores(module: nn.Module, patients: Patients, bins: int) -> NDArray[np.int64]:
    """Count test patients by class and score bin: first the negatives' bins, then the positives'; (2 * bins,).

    The score is the probability of a positive label. Bin b holds scores in [b/bins, (b+1)/bins). The last one also
    holds its upper end, the first one also what is not a number.
    """
    last = np.flatnonzero(np.diff(patients.patient, append=patients.patients))  # (patients,)
    # an attacker who steers the model can choose the patients whose score is NaN: it must be counted, not fail
    scores = np.nan_to_num(_compute_scores(module, patients.features[last]), nan=0.0)
    place = np.clip((scores * bins).astype(np.int64), 0, bins - 1)
    cells = patients.labels[last].astype(np.int64) * bins + place  # (patients,)
    return np.bincount(cells, minlength=2 * bins).astype(np.int64)


def add_noise_to_counts(counts: NDArray[np.int64], noise_multiplier: float, stream: KeyStream) -> NDArray[np.int64]:
    """Add exact discrete Gaussian noise of standard deviation ``noise_multiplier`` to the counts (sensitivity 1).

    Values beyond a sealed total's 32 bits are cut after the noise: post-processing, so nothing is charged for it.
    """
    noise = sample(Fraction(noise_multiplier) ** 2, counts.size, stream)
    cut = [
        max(_LEAST_TOTAL, min(_LARGEST_TOTAL, int(count) + each)) for count, each in zip(counts, noise, strict=True)
    ]
    return np.array(cut, dtype=np.int64)


def _compute_scores(module: nn.Module, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute the probability of a positive label; (records,)."""
    device = next(module.parameters()).device
    with torch.no_grad():
        logits = [module(part.to(device)).cpu().double() for part in torch.split(torch.from_numpy(features), BATCH)]
    return torch.sigmoid(torch.cat(logits)).numpy()
