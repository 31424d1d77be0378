"""Divide a lot into physical batches of whole patients, with patients of equal size next to each other.

Rules:

* A physical batch holds whole patients: as many as fit its limit of records, or a single larger patient.
* Within a lot patients are sorted by their number of records, so that a batch consists of a few **runs** of
  patients with equally many records. The rows of a run are a plain array (patients, records each, ...), without
  padding.
* A record weighs one over its patient's number of records: a patient's gradient is the mean over the records.
* Order and limits change the last bits of a sum and nothing else.
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
    """A run: neighbouring patients of a batch with equally many records.

    Attributes:
        patients: their positions among the batch's patients.
        records: the positions of their records among the batch's records.
        each: number of records of one patient.
    """

    patients: slice
    records: slice
    each: int

    @cached_property
    def count(self) -> int:
        """Number of patients."""
        return int(self.patients.stop - self.patients.start)

    def group_by_patient(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the run's part of ``rows``, by patient.

        (records, positions, width) -> (count, each * positions, width).
        """
        if self.each == 1 and self.count == rows.shape[0]:
            return rows
        return rows[self.records].reshape(self.count, -1, rows.shape[-1])


@dataclass(frozen=True)
class Batch:
    """Some patients of a lot.

    Attributes:
        rows: (records,) indices of their records among the site's records, patient after patient.
        sizes: (patients,) number of records of each patient, in rising order.
    """

    rows: Indices
    sizes: Indices

    @cached_property
    def patients(self) -> int:
        """Number of patients."""
        return len(self.sizes)

    @cached_property
    def records(self) -> int:
        """Number of records."""
        return len(self.rows)

    @cached_property
    def runs(self) -> tuple[SizeGroup, ...]:
        """The batch divided where the patients' number of records changes."""
        if self.patients and self.sizes[0] == self.sizes[-1]:  # in rising order, so all are equal
            return (SizeGroup(slice(0, self.patients), slice(0, self.records), int(self.sizes[0])),)
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

    def find_patients(self, counts: Indices) -> Indices:
        """Find who the batch's patients are among all of a site, by the ``counts`` of their records; (patients,)."""
        first = self.rows[np.cumsum(self.sizes) - self.sizes]  # of each patient's records
        found: Indices = np.searchsorted(np.cumsum(counts), first, side="right").astype(np.int64)
        return found

    def repeat_records(self, views: int) -> Self:
        """Return the batch with every record ``views`` times, side by side."""
        return type(self)(np.repeat(self.rows, views), self.sizes * views)

    def split_records(self, limit: int) -> Iterator[Self]:
        """Yield a single patient's records, ``limit`` at a time, as batches of one patient."""
        for start in range(0, self.records, limit):
            rows = self.rows[start : start + limit]
            yield type(self)(rows, np.array([len(rows)]))


def make_batches(counts: Indices, chosen: Indices, limit: int) -> Iterator[Batch]:
    """Yield the patients ``chosen`` in physical batches of at most ``limit`` records, or of one patient.

    Args:
        counts: (patients,) number of records of each patient of the site, whose records are neighbours.
        chosen: (lot,) patient indices.
        limit: number of records in a batch.
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
        inside, begin = sizes[first:last], starts[order[first:last]]
        if inside[-1] == 1:  # the largest of them
            yield Batch(begin, inside)
        else:
            # 0, 1, ... for the records of each patient, patient after patient; (records,)
            within = np.arange(int(inside.sum())) - np.repeat(np.cumsum(inside) - inside, inside)
            yield Batch(np.repeat(begin, inside) + within, inside)
        first = last
