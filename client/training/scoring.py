"""Count a site's share of the shared model's totals: what its test patients add to the cells, never a patient's score.

Rules:

* what a test patient adds is the task's (``privacy/study/tasks/``); it is bounded, whatever the numbers are;
* a patient with several records counts with the last one kept, or with all of them, as the terms say;
* scoring is total: whether a site answers must not depend on a record;
* with privacy every cell, occupied or not, gets its own exact discrete Gaussian (Canonne, Kamath and Steinke 2020), of
  the variance that its group needs. Counts may become negative, and are not corrected here: this keeps sums over sites
  unbiased.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from client.data.examples import Array, Patients
from models.fit import name_inputs, set_objective
from models.outputs import read_outputs
from models.tasks.registry import make_task
from privacy.mechanisms.discrete_gaussian import sample
from privacy.randomness import KeyStream
from privacy.study import Terms
from privacy.study.evaluation import CountedRecords
from privacy.study.stage import TASK_OBJECTIVE
from privacy.study.tasks.task import compute_squared_scales, count_cells

_BATCH: Final = 8192  # records scored at a time, at most
_BATCH_VALUES: Final = 1 << 22  # input values of these
_LEAST_TOTAL, _LARGEST_TOTAL = -(1 << 31), (1 << 31) - 1
"""The range of a sealed total (``privacy/secure_aggregation/layout.py``)."""


def count_scores(module: nn.Module, patients: Patients, terms: Terms) -> NDArray[np.int64]:
    """Count what the test patients add to the cells of the study's task; (cells,)."""
    task, bins = make_task(terms.task, terms.data), terms.evaluation.bins
    sources = name_inputs(terms.model, terms.data)
    counts = np.zeros(count_cells(terms.cell_groups), dtype=np.int64)
    set_objective(module, TASK_OBJECTIVE)
    module.eval()
    for rows in _list_batches(patients, terms):
        inputs = {name: patients.inputs[source][rows] for name, source in sources.items()}
        targets = {name: patients.find(name)[rows] for name in terms.task.list_targets()}
        counts += task.count_cells(compute_outputs(module, inputs), targets, bins)
    return counts


def compute_outputs(module: nn.Module, inputs: dict[str, NDArray[np.generic]]) -> torch.Tensor:
    """Compute what the model says of each record, on the CPU; (records, ...)."""
    device = next(module.parameters()).device
    with torch.no_grad():
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)).to(device) for name, value in inputs.items()}
        return read_outputs(module(tensors)).cpu()


def add_noise_to_counts(
    counts: NDArray[np.int64], noise_multiplier: float, terms: Terms, stream: KeyStream
) -> NDArray[np.int64]:
    """Add exact discrete Gaussian noise to the counts, of the variance that each cell's group needs.

    Values beyond a sealed total's 32 bits are cut after the noise: post-processing, so nothing is charged for it.
    """
    noised = list[int]()
    place = 0
    for group in terms.cell_groups:
        # the same scale for all cells of a group (privacy/study/tasks/task.py)
        variance = Fraction(noise_multiplier) ** 2 * compute_squared_scales(terms.cell_groups)[place]
        noise = sample(variance, group.cells, stream)
        noised += [
            int(count) + each for count, each in zip(counts[place : place + group.cells], noise, strict=True)
        ]
        place += group.cells
    cut = [max(_LEAST_TOTAL, min(_LARGEST_TOTAL, each)) for each in noised]
    return np.array(cut, dtype=np.int64)


def _list_batches(patients: Patients, terms: Terms) -> list[NDArray[np.int64]]:
    """List the records that count, a few at a time."""
    if terms.evaluation.records is CountedRecords.ALL:
        rows = np.arange(patients.records)
    else:
        rows = np.flatnonzero(np.diff(patients.patient, append=patients.patients))  # (patients,)
    each = sum(_count_values(array) for array in patients.inputs.values())
    size = max(1, min(_BATCH, _BATCH_VALUES // max(1, each)))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _count_values(array: Array) -> int:
    return int(np.prod(array.shape[1:]))
