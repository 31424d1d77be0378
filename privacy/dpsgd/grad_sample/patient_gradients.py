"""Define the forms in which per-patient gradients of one parameter are kept, with their norms and weighted sums."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

import torch

from privacy.dpsgd.activations import Call
from privacy.dpsgd.batching import Batch
from privacy.dpsgd.norms import SLICE, add_scaled, compute_row_norms

_SMALL: Final = 2.0**-60  # a factor below it loses digits in float32
LARGE: Final = 2.0**30  # a gradient with a norm above it is added in float64


class PatientGradients(Protocol):
    """The gradients of one parameter for every patient of a batch."""

    def compute_norms(self) -> torch.Tensor:
        """Compute the norm of each patient's gradient, or a bound of it; (patients,) float64.

        Called once, before :meth:`add`, in the middle of the backward pass.
        """
        ...

    def leave_out(self, patients: torch.Tensor) -> None:
        """Let the gradients of some ``patients`` (patients,) bool count as zero, whatever they are; after the norms."""
        ...

    def add(self, factors: torch.Tensor, into: torch.Tensor) -> None:
        """Add the sum of the patients' gradients, each times its factor (patients,) float64, to ``into``."""
        ...


class Materialised:
    """Gradients that are built in memory.

    Args:
        gradients: (patients, ...).
        norms: their norms, (patients,) float64, where these are known already.
    """

    def __init__(self, gradients: torch.Tensor, norms: torch.Tensor | None = None) -> None:
        self._gradients = gradients.flatten(1)  # (patients, numbers)
        self._norms = norms

    def compute_norms(self) -> torch.Tensor:
        """Compute norms as in :class:`PatientGradients`."""
        if self._norms is None:
            self._norms = compute_row_norms(self._gradients)
        return self._norms

    def leave_out(self, patients: torch.Tensor) -> None:
        """Leave patients out as in :class:`PatientGradients`."""
        assert self._norms is not None, "norms come before patients are left out"
        self._gradients = self._gradients.masked_fill(patients[:, None], 0.0)
        self._norms = self._norms.masked_fill(patients, 0.0)

    def add(self, factors: torch.Tensor, into: torch.Tensor) -> None:
        """Add as in :class:`PatientGradients`: in float32 where that keeps the digits, else in float64."""
        assert self._norms is not None, "norms come before the sum"
        apart = (self._norms > LARGE) | find_unsafe_factors(factors)
        own = factors.masked_fill(apart, 0.0).to(into.dtype)
        into.view(-1).addmv_(self._gradients.T, own)
        for place in apart.nonzero().flatten().tolist():
            add_scaled(into.view(-1), self._gradients[place], float(factors[place]))


def find_unsafe_factors(factors: torch.Tensor) -> torch.Tensor:
    """Return which factors lose digits in float32, alone or times a row; (patients,)."""
    return factors < _SMALL


def clear_rows(rows: torch.Tensor, patients: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return ``rows``, equally many for each record of the batch, with zeros for some ``patients`` (patients,) bool."""
    owner = batch.owner.to(rows.device).repeat_interleave(len(rows) // batch.records)
    return rows.masked_fill(patients[owner].view(-1, *[1] * (rows.dim() - 1)), 0.0)


def sum_by_patient(records: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Sum the rows of each patient's records; (records, width) -> (patients, width)."""
    if batch.records == batch.patients:
        return records
    return torch.cat([run.group_by_patient(records[:, None]).sum(1) for run in batch.runs])


def map_in_slices(
    count: int, numbers_each: int, compute: Callable[[slice], torch.Tensor], limit: int = SLICE
) -> torch.Tensor:
    """Run ``compute`` for ``count`` patients, a few at a time, so that intermediate results stay below ``limit``."""
    at_once = max(1, limit // max(1, numbers_each))
    if count <= at_once:
        return compute(slice(0, count))
    return torch.cat([compute(slice(start, min(start + at_once, count))) for start in range(0, count, at_once)])


LayerGradients = Mapping[str, PatientGradients]
"""Gradients of a layer's parameters, by the name of the parameter within its layer."""
Names = Collection[str]
"""Names of the parameters of a layer, within it, whose gradients are asked for: those that train."""
GradSampler = Callable[[Any, Names, list[Call], Batch, torch.dtype], LayerGradients]
"""(layer, the parameters that train, the layer's calls, the batch, type to compute in) -> their gradients.

It runs in the middle of the backward pass, where no parameter requires a gradient.
"""


def join_positions(parts: list[torch.Tensor], batch: Batch, dtype: torch.dtype) -> torch.Tensor:
    """Join tensors with the records first, the positions of all calls side by side; (records, positions, width)."""
    flat = [part.to(dtype).reshape(batch.records, -1, part.shape[-1]) for part in parts]
    return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)
