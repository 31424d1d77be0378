"""Compute norms and scaled sums that are right for every float32, from the smallest denormal to the largest number.

Clipping divides by a norm. A float32 below 1e-23 has a square of 0, and one above 1.8e19 an infinite square. So a
norm from float32 squares may be 0 where the gradient is not; its factor is then 1, and nothing is clipped.

Rules:

* The norm of float32 numbers is computed in float32 where the square is far from both ends. Elsewhere it is
  computed in float64, where no square of a float32 leaves the range.
* The norm is 0 only where every number is 0.
* float64 numbers (tests, research) have a norm up to 1e75; above that it counts as infinite. So a product of two
  norms stays finite, and squares lose less than 1e-80 by underflow.
* A vector is scaled and added in float64 and rounded once, so no factor is too small to be exact.
* A graphics processor that computes convolutions in TensorFloat-32 (torch's default, off by a part in a thousand)
  computes them in float32 while gradients are clipped.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Final

import torch

SLICE: Final = 1 << 24  # numbers in an intermediate result, unless one patient alone needs more
CACHED: Final = 1 << 16  # numbers that are worked on at once where they are used several times: a quarter megabyte
TINY: Final = 2.0**-126  # what a float32 product may lose by underflow, also where denormals count as zero
NOT_TINY: Final = 1e-6  # the part of a squared norm that may be lost that way
_LONG: Final = 1 << 20  # numbers of a long vector that are worked on at once
LARGEST: Final = 1e75


def count_numbers_at_once(device: torch.device) -> int:
    """Return how many numbers to work on at once on ``device`` where each is used several times.

    Those that stay in a processor's cache; a GPU takes longer over many small parts than over few large ones.
    """
    return CACHED if device.type == "cpu" else SLICE


def count_rows_at_once(rows: torch.Tensor) -> int:
    """Return how many of ``rows`` (n, ...) to work on at once, at least one: see :func:`count_numbers_at_once`."""
    each = rows.numel() // max(1, rows.shape[0])
    return max(1, count_numbers_at_once(rows.device) // max(1, each))


def compute_row_norms(rows: torch.Tensor) -> torch.Tensor:
    """Compute the norm of each row; (n, width) -> (n,) float64, off by a part in ten million.

    It is the root of a dot product: ``vector_norm`` in float32 is off by 5e-4 on long rows.
    """
    squared = _compute_squares(rows).double()
    if not _are_reliable(squared, rows):
        places = (~_find_reliable_squares(squared, rows)).nonzero().flatten()
        for some in torch.split(places, max(1, _LONG // max(1, rows.shape[1]))):
            squared[some] = rows[some].double().square().sum(1)
    if rows.dtype == torch.float64:
        squared = squared.masked_fill(squared > LARGEST**2, torch.inf)
    return squared.sqrt()


def compute_side_norms(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Compute what :func:`compute_row_norms` does of two matrices with n rows each, in fewer operations; (2, n)."""
    wider = left if left.shape[1] > right.shape[1] else right
    squared = torch.stack([_compute_squares(left), _compute_squares(right)])
    if squared.dtype == torch.float64 or not _are_reliable(squared, wider):
        return torch.stack([compute_row_norms(left), compute_row_norms(right)])
    return squared.double().sqrt_()


def _compute_squares(rows: torch.Tensor) -> torch.Tensor:
    """Return the squared norm of each row, in its type; (n, width) -> (n,)."""
    # a few rows at a time, because vecdot holds all products at once
    if rows.numel() <= count_numbers_at_once(rows.device):
        squared: torch.Tensor = torch.linalg.vecdot(rows, rows)
        return squared
    return torch.cat([torch.linalg.vecdot(part, part) for part in torch.split(rows, count_rows_at_once(rows))])


def compute_l2_norm(flat: torch.Tensor) -> torch.Tensor:
    """Compute the norm of a long vector as :func:`compute_row_norms` does, in parts added in float64; a scalar."""
    parts = torch.split(flat, _LONG)
    if len(parts) == 1:
        return compute_row_norms(flat[None])[0]
    squared = torch.stack([torch.dot(part, part) for part in parts]).double()
    if not _are_reliable(squared, flat[None, :_LONG]):
        for place in (~_find_reliable_squares(squared, flat[None, :_LONG])).nonzero().flatten().tolist():
            squared[place] = parts[place].double().square().sum()
    return squared.sum().sqrt()


def _are_reliable(squared: torch.Tensor, rows: torch.Tensor) -> bool:
    """Return whether :func:`_find_reliable_squares` finds all of them; three operations where that takes six."""
    if rows.dtype == torch.float64 or not squared.numel():
        return True
    # a NaN is both
    least, most = read_numbers(*torch.aminmax(squared))
    return bool(least >= TINY * rows.shape[1] / NOT_TINY and most < math.inf)


def _find_reliable_squares(squared: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return which squared norms of ``rows`` (n, width) lost little by underflow and did not overflow."""
    if rows.dtype == torch.float64:
        return torch.ones_like(squared, dtype=torch.bool)
    # underflow loses at most TINY for each of the width squares: together at most the part NOT_TINY of the sum
    return (squared >= TINY * rows.shape[1] / NOT_TINY) & (squared < torch.inf)


def read_numbers(*scalars: torch.Tensor) -> list[float]:
    """Read tensors of one number each; those of a graphics processor at once, since it is waited for each time."""
    if scalars[0].device.type == "cpu":
        return [float(scalar) for scalar in scalars]
    numbers: list[float] = torch.stack(scalars).tolist()
    return numbers


def add_scaled(into: torch.Tensor, vector: torch.Tensor, factor: float) -> None:
    """Add ``factor * vector`` to ``into``, both (P,)."""
    for ours, theirs in zip(torch.split(into, _LONG), torch.split(vector, _LONG), strict=True):
        ours.copy_(ours.double().add_(theirs.double(), alpha=factor))


def use_exact_float32(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Compute float32 convolutions in float32 inside the block, on any ``device``."""
    return contextlib.nullcontext() if device.type == "cpu" else _forbid_tf32()  # a processor has no other way


@contextlib.contextmanager
def _forbid_tf32() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
