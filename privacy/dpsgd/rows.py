"""A patient's gradient as a sum of outer products of rows: its norm and its clipped sum, without building it.

The gradient of a matrix that is applied to rows is ``sum over rows j of left_j right_j^T``, where ``right_j`` is a
row that went in and ``left_j`` the gradient of what came out. Rows of a patient are those of all records, positions
and calls. Three ways to the norm; for each run of patients the cheapest is taken:

* **one row**: the norm is ``|left| |right|`` (Goodfellow 2015, arXiv 1510.01799);
* **many rows**: the gradient is built, and kept for the sum, when it takes no more room than its rows do;
* **otherwise** by the Gram matrices of the rows, ``|G|^2 = sum_jk (left_j . left_k)(right_j . right_k)`` ("ghost
  norm"; Bu et al. 2022, arXiv 2205.10683, whose choice is this one).

Gram matrices lose half of the digits when a patient's rows cancel; then that patient's gradient is built after all.
The clipped sum over patients is one product of matrices, its rows weighted by the patients' factors (book-keeping,
Bu et al. 2022, arXiv 2210.00038).
"""

from collections.abc import Callable
from typing import Final, Protocol

import torch

from privacy.dpsgd.lots import Batch, Run

SLICE: Final = 1 << 24  # numbers in an intermediate result, unless one patient alone needs more
_CANCELS: Final = (
    1e-3  # squared norm over the rows' own squares, below which float32 Gram matrices are not believed
)


class Share(Protocol):
    """What every patient of a batch contributes to one parameter."""

    def squared_norms(self) -> torch.Tensor:
        """Squared norm of each patient's gradient; (patients,) float64. Called once, before :meth:`add`."""
        ...

    def add(self, factors: torch.Tensor, into: torch.Tensor) -> None:
        """Add the sum of the patients' gradients, each times its factor (patients,), to ``into``."""
        ...


class Built:
    """Gradients that were built. ``gradients`` is (patients, ...)."""

    def __init__(self, gradients: torch.Tensor) -> None:
        self._gradients = gradients.flatten(1)

    def squared_norms(self) -> torch.Tensor:
        """See :class:`Share`."""
        return squares(self._gradients)

    def add(self, factors: torch.Tensor, into: torch.Tensor) -> None:
        """See :class:`Share`."""
        into.view(-1).addmv_(self._gradients.T, factors)


class OuterProducts:
    """Gradients of a matrix that was applied to rows.

    Args:
        left: (records, positions, outputs) gradients of what came out.
        right: (records, positions, inputs) what went in.
        batch: whose records they are.
    """

    def __init__(self, left: torch.Tensor, right: torch.Tensor, batch: Batch) -> None:
        self._left, self._right, self._batch = left, right, batch
        self._built: dict[int, torch.Tensor] = {}

    def squared_norms(self) -> torch.Tensor:
        """See :class:`Share`."""
        return torch.cat([self._run_norms(place, run) for place, run in enumerate(self._batch.runs)])

    def add(self, factors: torch.Tensor, into: torch.Tensor) -> None:
        """See :class:`Share`."""
        matrix = into.view(self._left.shape[-1], self._right.shape[-1])
        for place, run in enumerate(self._batch.runs):
            own = factors[run.patients]
            if place in self._built:
                into.view(-1).addmv_(self._built[place].flatten(1).T, own)
            else:
                left = run.grouped(self._left) * own[:, None, None]
                matrix.addmm_(left.flatten(0, 1).T, run.grouped(self._right).flatten(0, 1))

    def _run_norms(self, place: int, run: Run) -> torch.Tensor:
        left, right = run.grouped(self._left), run.grouped(self._right)
        rows, outputs, inputs = left.shape[1], left.shape[2], right.shape[2]
        if rows == 1:
            return squares(left[:, 0]) * squares(right[:, 0])
        if building_is_cheaper(rows, outputs, inputs):
            self._built[place] = torch.bmm(left.mT, right)
            return squares(self._built[place].flatten(1))
        return gram_norms(left, right)


def building_is_cheaper(rows: int, outputs: int, inputs: int) -> bool:
    """Whether a patient's gradient takes no more room than its rows; it then costs less than Gram matrices too."""
    return outputs * inputs <= rows * (outputs + inputs)


def gram_norms(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Squared norm of each ``left^T right`` by Gram matrices; left (n, rows, a), right (n, rows, b) -> (n,) float64."""
    at_once = max(1, SLICE // (2 * left.shape[1] ** 2))
    parts = []
    for start in range(0, len(left), at_once):
        some = slice(start, start + at_once)
        grams = torch.bmm(left[some], left[some].mT)
        grams *= torch.bmm(right[some], right[some].mT)
        squared: torch.Tensor = grams.flatten(1).sum(1, dtype=torch.float64)
        uncertain = squared < _CANCELS * grams.diagonal(dim1=1, dim2=2).sum(1)
        for place in uncertain.nonzero().flatten().tolist():
            squared[place] = squares((left[start + place].T @ right[start + place]).flatten()[None])[0]
        parts.append(squared)
    return torch.cat(parts)


def squares(rows: torch.Tensor) -> torch.Tensor:
    """Squared norm of each row; (n, width) -> (n,) float64.

    A product with itself: off by a part in ten million. ``vector_norm`` in float32 is off by 5e-4 on long rows.
    """
    squared: torch.Tensor = torch.linalg.vecdot(rows, rows)
    return squared.double()


def by_patient(records: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Sum of the rows of each patient's records; (records, width) -> (patients, width)."""
    if batch.records == batch.patients:
        return records
    return torch.cat([run.grouped(records[:, None]).sum(1) for run in batch.runs])


def in_slices(count: int, numbers_each: int, compute: Callable[[slice], torch.Tensor]) -> torch.Tensor:
    """``compute`` for ``count`` patients, a few at a time so that an intermediate result stays small."""
    at_once = max(1, SLICE // max(1, numbers_each))
    return torch.cat([compute(slice(start, min(start + at_once, count))) for start in range(0, count, at_once)])
