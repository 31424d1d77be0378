"""How a lot is laid out for the engine: physical batches of whole patients, patients of equal size side by side.

Rules:

* a physical batch holds whole patients, as many as fit its limit of records, or a single patient who is larger;
* within a lot, patients are put in order of their number of records, so that a batch is a few **runs** of patients
  with equally many records: the rows of a run are a plain array (patients, records each, ...), without padding;
* a record weighs one over its patient's number of records: a patient's gradient is the mean over the records;
* order and limits change the last bits of a sum and nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class SizeGroup:
    """Neighbours in a batch with equally many records.

    Attributes:
        patients: their places among the batch's patients.
        records: the places of their records among the batch's records.
        each: records of one patient.
    """

    patients: slice
    records: slice
    each: int

    @property
    def count(self) -> int:
        """How many patients."""
        return int(self.patients.stop - self.patients.start)

    def group_by_patient(self, rows: torch.Tensor) -> torch.Tensor:
        """The run's part of ``rows`` (records, positions, width), by patient: (count, each * positions, width)."""
        return rows[self.records].reshape(self.count, -1, rows.shape[-1])


@dataclass(frozen=True)
class Batch:
    """Some patients of a lot.

    Attributes:
        rows: (records,) where their records are in the site's records, patient after patient.
        sizes: (patients,) records of each patient, rising.
    """

    rows: Indices
    sizes: Indices

    @property
    def patients(self) -> int:
        """How many patients."""
        return len(self.sizes)

    @property
    def records(self) -> int:
        """How many records."""
        return len(self.rows)

    @cached_property
    def runs(self) -> tuple[SizeGroup, ...]:
        """The batch cut where the number of records changes."""
        cuts = [0, *(np.flatnonzero(np.diff(self.sizes)) + 1).tolist(), self.patients]
        ends = np.concatenate([[0], np.cumsum(self.sizes)])
        return tuple(
            SizeGroup(slice(first, last), slice(int(ends[first]), int(ends[last])), int(self.sizes[first]))
            for first, last in pairwise(cuts)
        )

    @cached_property
    def owner(self) -> torch.Tensor:
        """The patient of each record; (records,) int64."""
        return torch.from_numpy(np.repeat(np.arange(self.patients), self.sizes))

    @cached_property
    def weights(self) -> torch.Tensor:
        """One over the number of records of the record's patient; (records,) float64."""
        return torch.from_numpy(np.repeat(1.0 / self.sizes, self.sizes))

    def keep_patients(self, kept: NDArray[np.bool_]) -> Self:
        """The batch without some of its patients; ``kept`` is (patients,)."""
        return type(self)(self.rows[np.repeat(kept, self.sizes)], self.sizes[kept])

    def split_records(self, limit: int) -> Iterator[Self]:
        """A single patient's records, ``limit`` at a time, as batches of one patient."""
        for start in range(0, self.records, limit):
            rows = self.rows[start : start + limit]
            yield type(self)(rows, np.array([len(rows)]))


def make_batches(counts: Indices, chosen: Indices, limit: int) -> Iterator[Batch]:
    """The patients ``chosen`` in physical batches of at most ``limit`` records, or one patient.

    Args:
        counts: (patients,) the records of each patient of the site, who follow one another.
        chosen: (lot,) patient indices.
        limit: records in a batch.
    """
    starts = np.cumsum(counts) - counts
    order = chosen[np.argsort(counts[chosen], kind="stable")]
    order = order[counts[order] > 0]
    sizes = counts[order]
    ends = np.cumsum(sizes)
    first = 0
    while first < len(order):
        before = int(ends[first] - sizes[first])
        last = max(first + 1, int(np.searchsorted(ends, before + limit, side="right")))
        inside = sizes[first:last]
        within = np.arange(int(inside.sum())) - np.repeat(np.cumsum(inside) - inside, inside)
        yield Batch(np.repeat(starts[order[first:last]], inside) + within, inside)
        first = last
