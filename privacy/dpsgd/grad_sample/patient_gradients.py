"""Define the forms in which per-patient gradients of one parameter are kept, with their norms and weighted sums."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

import torch

from privacy.dpsgd.activations import Call
from privacy.dpsgd.batching import Batch
from privacy.dpsgd.norms import SLICE, add_scaled, compute_row_norms
from privacy.errors import TermsError

_SMALL: Final = 2.0**-60  # a factor below it loses digits in float32
LARGE: Final = 2.0**30  # a gradient with a norm above it is added in float64


@dataclass(frozen=True)
class Factors:
    """The factor of each patient's gradient, in the forms in which gradients are scaled.

    Attributes:
        exact: (patients,) float64, which tiny factors need.
        plain: (patients,) in the type of the sum; 0 for the patients of ``apart``.
        apart: (patients,) whose gradients are scaled and added in float64; None: nobody's.
    """

    exact: torch.Tensor
    plain: torch.Tensor
    apart: torch.Tensor | None

    @classmethod
    def make(cls, exact: torch.Tensor, norms: torch.Tensor, dtype: torch.dtype) -> Self:
        """Make factors for gradients with the given norms over all parameters, (patients,) float64 both."""
        # float32 loses digits of small factors, alone or times a row
        return cls(exact, exact.to(dtype), None).set_apart((exact < _SMALL) | (norms > LARGE))

    def select(self, patients: slice) -> Self:
        """Return the factors of some patients."""
        if patients == slice(0, self.exact.shape[0]):
            return self
        apart = None if self.apart is None else self.apart[patients]
        return type(self)(self.exact[patients], self.plain[patients], apart)

    def set_apart(self, more: torch.Tensor | None) -> Self:
        """Return the factors, of which ``more`` (patients,) are to be applied in float64."""
        if more is None or not more.any():
            return self
        apart = more if self.apart is None else self.apart | more
        return type(self)(self.exact, self.plain.masked_fill(apart, 0.0), apart)

    def keep(self, patients: torch.Tensor) -> Self:
        """Return the factors, of which only those of ``patients`` (patients,) bool are not 0.

        Whose gradients are scaled in float64 stays as it is: what is computed does not depend on who is kept.
        """
        return type(self)(self.exact * patients, self.plain * patients, self.apart)


class PatientGradients(Protocol):
    """The gradients of one parameter for every patient of a batch."""

    @property
    def grows(self) -> bool:
        """Whether more memory is held once the norms are known: they then wait for the end of the backward pass."""
        ...

    def compute_norms(self) -> torch.Tensor:
        """Compute the norm of each patient's gradient, or a bound of it; (patients,) float64.

        Called once, before :meth:`add`, in the middle of the backward pass or at its end.
        """
        ...

    def leave_out(self, patients: torch.Tensor) -> None:
        """Let the gradients of some ``patients`` (patients,) bool count as zero, whatever they are; after the norms."""
        ...

    def add(self, factors: Factors, into: torch.Tensor) -> None:
        """Add the sum of the patients' gradients, each times its factor, to ``into``."""
        ...


class Materialised:
    """Gradients that are built in memory.

    Args:
        gradients: (patients, ...).
        norms: their norms, (patients,) float64, where these are known already.
    """

    grows = False

    def __init__(self, gradients: torch.Tensor, norms: torch.Tensor | None = None) -> None:
        self.gradients = gradients.flatten(1)  # (patients, numbers)
        self._norms = norms

    @property
    def has_norms(self) -> bool:
        """Whether the norms are known already."""
        return self._norms is not None

    def compute_norms(self) -> torch.Tensor:
        """Compute norms as in :class:`PatientGradients`."""
        if self._norms is None:
            self._norms = compute_row_norms(self.gradients)
        self._versions = read_versions(self.gradients)
        return self._norms

    def leave_out(self, patients: torch.Tensor) -> None:
        """Leave patients out as in :class:`PatientGradients`."""
        assert self._norms is not None, "norms come before patients are left out"
        require_unchanged(self._versions, self.gradients)
        self.gradients = self.gradients.masked_fill(patients[:, None], 0.0)
        self._versions = read_versions(self.gradients)
        self._norms = self._norms.masked_fill(patients, 0.0)

    def add(self, factors: Factors, into: torch.Tensor) -> None:
        """Add as in :class:`PatientGradients`: in float32 where that keeps the digits, else in float64."""
        require_unchanged(self._versions, self.gradients)
        into.view(-1).addmv_(self.gradients.T, factors.plain)
        if factors.apart is not None:
            for place in factors.apart.nonzero().flatten().tolist():
                add_scaled(into.view(-1), self.gradients[place], float(factors.exact[place]))


def read_versions(*tensors: torch.Tensor) -> tuple[int, ...]:
    """Return how often each tensor has been changed in place, when its norm is taken."""
    return tuple([tensor._version for tensor in tensors])


def require_unchanged(versions: tuple[int, ...], *tensors: torch.Tensor) -> None:
    """Refuse tensors that were changed after their norm was taken: what is added would not be what was clipped.

    Raises:
        TermsError: one was changed; backward goes on after the norm, and an operation may overwrite what it is given.
    """
    if read_versions(*tensors) != versions:
        raise TermsError(
            "a gradient is changed in place while the backward pass runs, so no patient's share can be bounded; "
            "let no operation of the model write to the gradient that its backward function is given"
        )


class Joined:
    """Small gradients of several parameters side by side, which cost as much as those of one parameter.

    Args:
        parts: by the name of the parameter, (patients, numbers) each.
    """

    def __init__(self, parts: Mapping[str, torch.Tensor]) -> None:
        self._sizes = {name: part.shape[1] for name, part in parts.items()}
        self._together = Materialised(torch.cat(list(parts.values()), dim=1))

    def compute_norms(self) -> torch.Tensor:
        """Compute norms over all these parameters, as in :class:`PatientGradients`."""
        return self._together.compute_norms()

    def leave_out(self, patients: torch.Tensor) -> None:
        """Leave patients out as in :class:`PatientGradients`."""
        self._together.leave_out(patients)

    def add(self, factors: Factors, into: Mapping[str, torch.Tensor]) -> None:
        """Add as in :class:`PatientGradients`, for each parameter to what is ``into`` by its name."""
        sizes = list(self._sizes.values())
        total = factors.plain.new_zeros(sum(sizes))
        self._together.add(factors, total)
        for name, part in zip(self._sizes, torch.split(total, sizes), strict=True):
            into[name] += part.view_as(into[name])


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
    # each part is put in its place, since joining them at the end would hold everything twice
    part = compute(slice(0, at_once))
    found = part.new_empty(count, *part.shape[1:])
    found[:at_once] = part
    del part
    for start in range(at_once, count, at_once):
        some = slice(start, min(start + at_once, count))
        found[some] = compute(some)
    return found


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
    parts = [part.to(dtype) for part in parts]
    if len(parts) == 1:
        return parts[0].reshape(batch.records, -1, parts[0].shape[-1])
    if {part.shape for part in parts} == {(batch.records, parts[0].shape[-1])}:
        return torch.stack(parts, dim=1)  # the steps of a recurrent network: one operation
    return torch.cat([part.reshape(batch.records, -1, part.shape[-1]) for part in parts], dim=1)
