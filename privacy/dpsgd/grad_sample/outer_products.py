"""Compute the norm and the clipped sum of gradients that are sums of outer products of rows, without building them.

The gradient of a matrix that is applied to rows is ``sum over rows j of left_j right_j^T``. ``right_j`` is a row of
the input and ``left_j`` the gradient of that row's output. The rows of a patient are those of all records,
positions and calls.

There are three ways to compute the norm. For each run of patients the cheapest one is taken:

* **one row**: the norm is ``|left| |right|`` (Goodfellow 2015, arXiv 1510.01799);
* **many rows**: the gradient is built, and kept for the sum, when it takes no more room than its rows, which are then
  let go;
* **otherwise** the norm comes from the Gram matrices of the rows, ``|G|^2 = sum_jk (left_j . left_k)(right_j .
  right_k)`` ("ghost norm"; Bu et al. 2022, arXiv 2205.10683, who also choose for each layer).

The clipped sum over patients is one product of matrices, with the rows weighted by the patients' factors
(book-keeping, Bu et al. 2022, arXiv 2210.00038).

**A norm is never smaller than the gradient that is added**, for every float32. Rules:

* Norms are float64 (:mod:`privacy.dpsgd.norms`): no square underflows or overflows unnoticed.
* A norm from Gram matrices in float32 is used where every term is far from both ends of float32 and the rows do not
  cancel. Elsewhere the Gram matrices are computed again in float64.
* What is added is made of the same numbers whose norm was taken. It is added in float32 where a factor times a row
  keeps its digits there. Elsewhere (huge numbers, tiny factors, rows that cancel) it is added in float64 and
  rounded once.
"""

import math
from collections.abc import Iterator
from typing import Final

import torch

from privacy.dpsgd.batching import Batch, SizeGroup
from privacy.dpsgd.grad_sample.patient_gradients import (
    LARGE,
    Factors,
    Materialised,
    clear_rows,
    read_versions,
    require_unchanged,
)
from privacy.dpsgd.norms import (
    LARGEST,
    NOT_TINY,
    SLICE,
    TINY,
    compute_side_norms,
    count_numbers_at_once,
    read_numbers,
)

_COLUMNS: Final = 128  # of output gradients that are weighted at a time, at least: fewer make slow products
_CANCELS: Final = 1e-3  # squared norm over the rows' own squares; below it rows cancel too much for float32
_VANISHES: Final = 1e-12  # the same for float64: a norm of a millionth of the rows; smaller ones are raised to it


class OuterProducts:
    """Per-patient gradients of a matrix that was applied to rows.

    Args:
        left: (records, positions, outputs) output gradients.
        right: (records, positions, inputs) inputs.
        batch: the patients of the records.
        norms: (2, records) float64 norms of both sides' rows, if there is one for each patient and they are known.
    """

    grows = False

    def __init__(
        self, left: torch.Tensor, right: torch.Tensor, batch: Batch, norms: torch.Tensor | None = None
    ) -> None:
        self._sides: tuple[torch.Tensor, torch.Tensor] | None = left, right  # None once every gradient is built
        self._shape = left.shape[-1], right.shape[-1]
        self._batch, self._row_norms = batch, norms
        self._built: dict[int, Materialised] = {}
        self._apart: dict[
            int, torch.Tensor
        ] = {}  # (patients of a run,) whose gradients are added in float64, if any
        self._versions = read_versions(left, right)

    @property
    def numbers(self) -> int:
        """How many numbers the rows have that are held until they are added."""
        return 0 if self._sides is None else sum(side.numel() for side in self._sides)

    def compute_norms(self) -> torch.Tensor:
        """Compute norms as in :class:`privacy.dpsgd.grad_sample.patient_gradients.PatientGradients`."""
        assert self._sides is not None, "norms are computed once"
        runs, sides = self._batch.runs, self._sides
        require_unchanged(self._versions, *sides)
        norms = [
            self._compute_run_norms(place, run, *(run.group_by_patient(side) for side in sides))
            for place, run in enumerate(runs)
        ]
        if len(self._built) == len(runs):
            self._sides = None
        return norms[0] if len(norms) == 1 else torch.cat(norms)

    def leave_out(self, patients: torch.Tensor) -> None:
        """Leave patients out as in :class:`privacy.dpsgd.grad_sample.patient_gradients.PatientGradients`."""
        if self._sides is not None:
            require_unchanged(self._versions, *self._sides)
            left, right = self._sides
            self._sides = clear_rows(left, patients, self._batch), clear_rows(right, patients, self._batch)
            self._versions = read_versions(*self._sides)
        for place, run in enumerate(self._batch.runs):
            if place in self._built:
                self._built[place].leave_out(patients[run.patients])
            elif place in self._apart:
                self._apart[place] &= ~patients[run.patients]

    def add(self, factors: Factors, into: torch.Tensor, fresh: bool = False) -> None:
        """Add as in :class:`privacy.dpsgd.grad_sample.patient_gradients.PatientGradients`.

        Args:
            factors: of the patients' gradients.
            into: the sum.
            fresh: whether ``into`` counts as zero, whatever it holds.
        """
        matrix = into.view(self._shape)  # (outputs, inputs)
        if fresh and (self._built or len(self._batch.runs) > 1):
            matrix.zero_()
            fresh = False
        if self._sides is not None:
            require_unchanged(self._versions, *self._sides)
        for place, run in enumerate(self._batch.runs):
            own = factors.select(run.patients)
            if place in self._built:
                self._built[place].add(own, into)
                continue
            assert self._sides is not None, "rows are let go only where every gradient is built"
            # (patients, rows, outputs) and (patients, rows, inputs)
            left, right = (run.group_by_patient(side) for side in self._sides)
            own = own.set_apart(self._apart.get(place))
            # the sum over patients and rows of factor * left^T right is one product of matrices
            flat, weights = right.flatten(0, 1), own.plain[:, None, None]
            for some in _slice_columns(left):
                # with beta 0 what was there is not even read
                weighted = (left[:, :, some] * weights).flatten(0, 1)
                matrix[some].addmm_(weighted.T, flat, beta=0 if fresh else 1)
                del weighted
            if own.apart is not None:
                add_outer_products(left[own.apart], right[own.apart], own.exact[own.apart], matrix)

    def _compute_run_norms(
        self, place: int, run: SizeGroup, left: torch.Tensor, right: torch.Tensor
    ) -> torch.Tensor:
        rows, outputs, inputs = left.shape[1], left.shape[2], right.shape[2]
        if rows == 1:  # the norm of an outer product is the product of the norms
            known = self._row_norms
            sides = compute_side_norms(left[:, 0], right[:, 0]) if known is None else known[:, run.patients]
            norms = sides[0] * sides[1]
            if not float(sides.amax()) <= LARGE:  # one that is not a number must not hide a large one
                self._apart[place] = sides.amax(0) > LARGE
        elif is_building_cheaper(rows, outputs, inputs):
            self._built[place] = Materialised(torch.bmm(left.mT, right))
            norms = self._built[place].compute_norms()
        else:
            norms, self._apart[place] = compute_gram_norms(left, right)
        return norms


def _slice_columns(rows: torch.Tensor) -> Iterator[slice]:
    """Divide the columns of ``rows`` (n, positions, width) so that few numbers are weighted at a time.

    Half of what is worked on at once elsewhere: beside a long vector that is summed, the rest would be noticed.
    """
    at_once = max(_COLUMNS, count_numbers_at_once(rows.device) // (2 * max(1, rows.shape[0] * rows.shape[1])))
    return (slice(first, first + at_once) for first in range(0, rows.shape[2], at_once))


def is_building_cheaper(rows: int, outputs: int, inputs: int) -> bool:
    """Return whether a patient's gradient takes no more room than its rows.

    Then it also costs less time than Gram matrices, whose sum needs the same product once more.
    """
    return outputs * inputs <= rows * (outputs + inputs)


def compute_gram_norms(left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the norm of each ``left^T right`` by Gram matrices; left (n, rows, a), right (n, rows, b).

    Returns:
        The norms, (n,) float64, and for which of them float32 was not exact enough, (n,): add those in float64.
    """
    at_once = max(1, SLICE // (2 * left.shape[1] ** 2))
    norms, apart = [], []
    for start in range(0, len(left), at_once):
        some = slice(start, start + at_once)
        squared, enough = _compute_squares_by_gram(left[some], right[some])
        if enough is None or left.dtype == torch.float64:
            enough = torch.ones_like(squared, dtype=torch.bool)
        else:
            for place in (~enough).nonzero().flatten().tolist():
                one = slice(start + place, start + place + 1)
                squared[place] = _compute_squares_by_gram(left[one].double(), right[one].double())[0][0]
        norms.append(squared.sqrt())
        apart.append(~enough)
    return (norms[0], apart[0]) if len(norms) == 1 else (torch.cat(norms), torch.cat(apart))


def _compute_squares_by_gram(left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the squared norm of each ``left^T right``, (n,) float64, and whether it is exact enough, (n,).

    None instead of the latter: all are.
    """
    rows, width = left.shape[1], left.shape[2] + right.shape[2]
    lefts, rights = torch.bmm(left, left.mT), torch.bmm(right, right.mT)  # (n, rows, rows)
    diagonals = torch.stack([side.diagonal(dim1=1, dim2=2) for side in (lefts, rights)])  # (2, n, rows)
    traces = diagonals.sum(2, dtype=torch.float64)  # (2, n)
    lefts *= rights  # the sum of its entries is the squared norm (Bu et al. 2022)
    squared: torch.Tensor = lefts.flatten(1).sum(1, dtype=torch.float64)
    own = lefts.diagonal(dim1=1, dim2=2).sum(1, dtype=torch.float64)  # of each row alone
    # nearly always the worst of all passes what is asked of each below, in a third of the operations
    worst = *torch.aminmax(squared), torch.sub(squared, own, alpha=_CANCELS).amin(), traces.amax()
    # no comparison with a NaN is true
    least, most, beyond, longest = read_numbers(*worst)
    lost = TINY * rows * (2 * width * longest + rows)
    if most < math.inf and longest <= LARGEST**2 and least * NOT_TINY >= lost and beyond >= 0.0:
        return squared, None
    # underflow may lose TINY in each term of the two Gram products and of their product
    each = TINY * rows * (width * (traces[0] + traces[1]) + rows)
    enough = (squared >= _CANCELS * own) & (squared * NOT_TINY >= each) & torch.isfinite(squared)
    # below this even float64 is not exact enough, and a norm that is too large only clips more
    squared = torch.maximum(squared, _VANISHES * own)
    return squared.masked_fill(traces.amax(0) > LARGEST**2, torch.inf), enough


def add_outer_products(left: torch.Tensor, right: torch.Tensor, factors: torch.Tensor, into: torch.Tensor) -> None:
    """Add the sum of ``factor left^T right`` to ``into`` (a, b) in float64, rounded once.

    Args:
        left: (n, rows, a).
        right: (n, rows, b).
        factors: (n,) float64.
        into: (a, b), any type.
    """
    wide = right.double().flatten(0, 1)
    at_once = max(1, SLICE // (2 * max(wide.shape)))
    for first in range(0, len(into), at_once):
        some = slice(first, first + at_once)
        weighted = left[:, :, some].double() * factors[:, None, None]
        into[some].copy_(into[some].double().addmm_(weighted.flatten(0, 1).T, wide))
