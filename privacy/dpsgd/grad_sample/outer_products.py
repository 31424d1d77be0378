"""A patient's gradient as a sum of outer products of rows: its norm and its clipped sum, without building it.

The gradient of a matrix that is applied to rows is ``sum over rows j of left_j right_j^T``, where ``right_j`` is a
row that went in and ``left_j`` the gradient of what came out. Rows of a patient are those of all records, positions
and calls. Three ways to the norm; for each run of patients the cheapest is taken:

* **one row**: the norm is ``|left| |right|`` (Goodfellow 2015, arXiv 1510.01799);
* **many rows**: the gradient is built, and kept for the sum, when it takes no more room than its rows do;
* **otherwise** by the Gram matrices of the rows, ``|G|^2 = sum_jk (left_j . left_k)(right_j . right_k)`` ("ghost
  norm"; Bu et al. 2022, arXiv 2205.10683, whose choice is this one).

The clipped sum over patients is one product of matrices, its rows weighted by the patients' factors (book-keeping,
Bu et al. 2022, arXiv 2210.00038).

**A norm is never smaller than the gradient that is added**, for every float32 there is. Rules:

* norms are float64 (:mod:`privacy.dpsgd.norms`): no square underflows or overflows unseen;
* Gram matrices are believed where every term is far from both ends of float32 and the rows do not cancel; elsewhere
  they are computed again in float64;
* what is added is made of the very numbers whose norm was taken. It is added in float32 where a factor times a row
  keeps its digits there; elsewhere (huge numbers, tiny factors, rows that cancel) in float64, rounded once.
"""

from typing import Final

import torch

from privacy.dpsgd.batching import Batch, SizeGroup
from privacy.dpsgd.grad_sample.patient_gradients import LARGE, Materialised, find_unsafe_factors
from privacy.dpsgd.norms import LARGEST, NOT_TINY, SLICE, TINY, compute_row_norms

_CANCELS: Final = 1e-3  # squared norm over the rows' own squares, below which float32 is not believed
_VANISHES: Final = 1e-12  # the same, below which float64 is not: a part in a million of the rows


class OuterProducts:
    """Gradients of a matrix that was applied to rows.

    Args:
        left: (records, positions, outputs) gradients of what came out.
        right: (records, positions, inputs) what went in.
        batch: whose records they are.
    """

    def __init__(self, left: torch.Tensor, right: torch.Tensor, batch: Batch) -> None:
        self._left, self._right, self._batch = left, right, batch
        self._built: dict[int, Materialised] = {}
        self._apart: dict[int, torch.Tensor] = {}  # (patients of the run,) whose gradients are added in float64

    def compute_norms(self) -> torch.Tensor:
        """See :class:`PatientGradients`."""
        return torch.cat([self._compute_run_norms(place, run) for place, run in enumerate(self._batch.runs)])

    def add(self, factors: torch.Tensor, into: torch.Tensor) -> None:
        """See :class:`PatientGradients`."""
        matrix = into.view(self._left.shape[-1], self._right.shape[-1])
        for place, run in enumerate(self._batch.runs):
            own = factors[run.patients]
            if place in self._built:
                self._built[place].add(own, into)
                continue
            left, right = run.group_by_patient(self._left), run.group_by_patient(self._right)
            apart = self._apart[place] | find_unsafe_factors(own)
            plain = own.masked_fill(apart, 0.0).to(into.dtype)
            matrix.addmm_((left * plain[:, None, None]).flatten(0, 1).T, right.flatten(0, 1))
            if apart.any():
                add_outer_products(left[apart], right[apart], own[apart], matrix)

    def _compute_run_norms(self, place: int, run: SizeGroup) -> torch.Tensor:
        left, right = run.group_by_patient(self._left), run.group_by_patient(self._right)
        rows, outputs, inputs = left.shape[1], left.shape[2], right.shape[2]
        if rows == 1:
            lefts, rights = compute_row_norms(left[:, 0]), compute_row_norms(right[:, 0])
            norms = lefts * rights
            self._apart[place] = torch.stack([lefts, rights, norms]).amax(0) > LARGE
        elif is_building_cheaper(rows, outputs, inputs):
            self._built[place] = Materialised(torch.bmm(left.mT, right))
            norms = self._built[place].compute_norms()
        else:
            norms, self._apart[place] = compute_gram_norms(left, right)
        return norms


def is_building_cheaper(rows: int, outputs: int, inputs: int) -> bool:
    """Whether a patient's gradient takes no more room than its rows; it then costs less than Gram matrices too."""
    return outputs * inputs <= rows * (outputs + inputs)


def compute_gram_norms(left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Norm of each ``left^T right`` by Gram matrices; left (n, rows, a), right (n, rows, b).

    Returns:
        The norms, (n,) float64, and which of them float32 was not enough for, (n,): add those in float64.
    """
    at_once = max(1, SLICE // (2 * left.shape[1] ** 2))
    norms, apart = [], []
    for start in range(0, len(left), at_once):
        some = slice(start, start + at_once)
        squared, enough = _compute_squares_by_gram(left[some], right[some])
        if left.dtype == torch.float64:
            enough.fill_(True)
        for place in (~enough).nonzero().flatten().tolist():
            one = slice(start + place, start + place + 1)
            squared[place] = _compute_squares_by_gram(left[one].double(), right[one].double())[0][0]
        norms.append(squared.sqrt())
        apart.append(~enough)
    return torch.cat(norms), torch.cat(apart)


def _compute_squares_by_gram(left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared norm of each ``left^T right``, (n,) float64, and whether float32 rounds it by little, (n,)."""
    rows, width = left.shape[1], left.shape[2] + right.shape[2]
    lefts, rights = torch.bmm(left, left.mT), torch.bmm(right, right.mT)
    traces = [side.diagonal(dim1=1, dim2=2).sum(1, dtype=torch.float64) for side in (lefts, rights)]  # (n,) each
    lefts *= rights
    squared: torch.Tensor = lefts.flatten(1).sum(1, dtype=torch.float64)
    own = lefts.diagonal(dim1=1, dim2=2).sum(1, dtype=torch.float64)  # no two rows together
    # each of the three products may lose TINY for each of its terms
    lost = TINY * rows * (width * (traces[0] + traces[1]) + rows)
    enough = (squared >= _CANCELS * own) & (squared * NOT_TINY >= lost) & torch.isfinite(squared)
    squared = torch.maximum(squared, _VANISHES * own)
    return squared.masked_fill(torch.maximum(*traces) > LARGEST**2, torch.inf), enough


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
