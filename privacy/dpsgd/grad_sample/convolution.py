"""Compute per-patient gradients of convolutions, plain and transposed: built, or by Gram matrices.

The gradient of a convolution's weight is itself a convolution, of the input and the output gradient. The library
computes it for all records at once. With the patients as **groups** of one convolution (each patient's channels side by
side) the same call gives every patient's own, in hardly more time (Rochette et al. 2019, arXiv 1912.06015).

Where a weight is large and images are small, a patient's gradient is not built. Every position becomes a row (its
window), and the norm comes from Gram matrices (:mod:`privacy.dpsgd.grad_sample.outer_products`). The sum is one call on
all records, with weighted output gradients.

A transposed convolution is the same with the two roles exchanged: windows are cut from the output gradient.
"""

from collections.abc import Sequence
from typing import Any, Final, cast

import torch
from torch.nn import functional

from privacy.dpsgd.activations import Call
from privacy.dpsgd.batching import Batch, SizeGroup
from privacy.dpsgd.grad_sample.outer_products import add_outer_products, compute_gram_norms, is_building_cheaper
from privacy.dpsgd.grad_sample.patient_gradients import (
    Factors,
    Materialised,
    Names,
    PatientGradients,
    clear_rows,
    map_in_slices,
    read_versions,
    require_unchanged,
    sum_by_patient,
)

_AT_ONCE: Final = 1 << 20  # numbers of inputs, output gradients and gradients built in one call


def compute_convolution_gradients(
    layer: Any, names: Names, calls: list[Call], batch: Batch, dtype: torch.dtype
) -> dict[str, PatientGradients]:
    """Compute the gradients of weight and bias."""
    shares: dict[str, PatientGradients] = {}
    passes = [(call.rows.to(dtype), call.output_gradient.to(dtype)) for call in calls]
    if "weight" in names:
        shares["weight"] = _Weight(layer, passes, batch)
    if "bias" in names:
        sums = [gradient.flatten(2).sum(2) for _, gradient in passes]  # (rows, outputs)
        # (records, outputs), summed over the rows of a record and over calls
        each = torch.stack([part.reshape(batch.records, -1, part.shape[1]).sum(1) for part in sums]).sum(0)
        shares["bias"] = Materialised(sum_by_patient(each, batch))
    return shares


class _Weight:
    """Per-patient gradients of a convolution's weight.

    Each pass is (input, output gradient), with the rows of a record next to each other.
    """

    def __init__(self, layer: Any, passes: list[tuple[torch.Tensor, torch.Tensor]], batch: Batch) -> None:
        self._layer, self._batch = layer, batch
        self._passes = [_Pass(layer, rows, gradient, batch.records) for rows, gradient in passes]
        self._built: dict[int, Materialised] = {}
        self._apart: dict[int, torch.Tensor] = {}  # (patients of the run,) whose gradients are added in float64
        groups, weight = layer.groups, layer.weight
        self._outputs = weight.shape[0]
        self._inputs = groups * weight[0].numel()
        self._numbers = weight.numel()

    @property
    def grows(self) -> bool:
        """Say as :class:`privacy.dpsgd.grad_sample.patient_gradients.PatientGradients` whether norms take memory."""
        held: int = sum(one.numbers for one in self._passes)  # of one record
        built = sum(run.count for run in self._batch.runs if self._is_built(run)) * self._numbers
        return int(built) > held * self._batch.records

    def compute_norms(self) -> torch.Tensor:
        """Compute norms as in :class:`privacy.dpsgd.grad_sample.patient_gradients.PatientGradients`."""
        for one in self._passes:
            one.require_unchanged()
        norms = torch.cat([self._compute_run_norms(place, run) for place, run in enumerate(self._batch.runs)])
        if len(self._built) == len(self._batch.runs):
            self._passes.clear()  # the rows are not needed any more
        return norms

    def leave_out(self, patients: torch.Tensor) -> None:
        """Leave patients out as in :class:`privacy.dpsgd.grad_sample.patient_gradients.PatientGradients`."""
        for one in self._passes:
            one.leave_out(patients, self._batch)
        for place, run in enumerate(self._batch.runs):
            if place in self._built:
                self._built[place].leave_out(patients[run.patients])
            else:
                self._apart[place] &= ~patients[run.patients]

    def add(self, factors: Factors, into: torch.Tensor) -> None:
        """Add as in :class:`privacy.dpsgd.grad_sample.patient_gradients.PatientGradients`."""
        for place, run in enumerate(self._batch.runs):
            own = factors.select(run.patients)
            if place in self._built:
                self._built[place].add(own, into)
                continue
            # one weighted call for most patients; those that float32 cannot add have weight 0 and follow in float64
            own = own.set_apart(self._apart[place])
            weights = own.plain.repeat_interleave(run.each)
            for one in self._passes:
                one.require_unchanged()
                into += one.compute_gradient(run.records, weights).view_as(into)
            for patient in [] if own.apart is None else own.apart.nonzero().flatten().tolist():
                records = _find_record_slice(run, slice(patient, patient + 1))
                self._add_apart(records, run.each, own.exact[patient], into)

    def _compute_run_norms(self, place: int, run: SizeGroup) -> torch.Tensor:
        if not self._is_built(run):
            window = self._count_positions(run) * (self._outputs + self._inputs)
            found = map_in_slices(
                run.count, window, lambda some: self._compute_norms_by_gram(_find_record_slice(run, some), run.each)
            )
            norms, self._apart[place] = found[:, 0], found[:, 1] > 0
            return norms
        held = self._numbers + run.each * sum(one.numbers for one in self._passes)
        built = map_in_slices(
            run.count, held, lambda some: self._build_gradients(_find_record_slice(run, some), run.each), _AT_ONCE
        )
        self._built[place] = Materialised(built)
        return self._built[place].compute_norms()

    def _is_built(self, run: SizeGroup) -> bool:
        return is_building_cheaper(self._count_positions(run), self._outputs, self._inputs)

    def _count_positions(self, run: SizeGroup) -> int:
        return run.each * sum(one.positions for one in self._passes)

    def _build_gradients(self, records: slice, each: int) -> torch.Tensor:
        """Build the gradients of some patients; (patients, numbers)."""
        parts = [one.compute_gradients(records, each) for one in self._passes]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)

    def _compute_norms_by_gram(self, records: slice, each: int) -> torch.Tensor:
        """Return the patients' norms, and 1 for those to be added in float64, else 0; (patients, 2)."""
        patients, groups = (records.stop - records.start) // each, self._layer.groups
        norms, apart = (
            part.view(patients, groups) for part in compute_gram_norms(*self._extract_rows(records, each))
        )
        # groups have separate weights: the square of a patient's norm is the sum over groups
        return torch.stack([norms.square().sum(1).sqrt(), apart.any(1).double()], dim=1)

    def _add_apart(self, records: slice, each: int, factor: torch.Tensor, into: torch.Tensor) -> None:
        """Add one patient's gradient times ``factor`` in float64."""
        left, right = self._extract_rows(records, each)
        for group, matrix in enumerate(into.view(self._layer.groups, left.shape[2], right.shape[2])):
            some = slice(group, group + 1)
            add_outer_products(left[some], right[some], factor[None], matrix)

    def _extract_rows(self, records: slice, each: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the left and right rows of some patients; both (patients * groups, rows, width)."""
        patients, groups = (records.stop - records.start) // each, self._layer.groups
        sides: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for one in self._passes:
            for side, part in zip(sides, one.extract_rows(records), strict=True):  # (rows, width, positions)
                grouped = part.reshape(patients, part.shape[0] // patients, groups, -1, part.shape[2])
                # (patients, rows, groups, width, positions) -> (patients * groups, rows * positions, width)
                side.append(grouped.permute(0, 2, 1, 4, 3).flatten(0, 1).flatten(1, 2))
        # the rows of all calls; those of a single one are not copied
        left, right = (side[0] if len(side) == 1 else torch.cat(side, dim=1) for side in sides)
        return left, right


class _Pass:
    """One call of a convolution.

    Args:
        layer: the convolution.
        rows: its input, (rows, channels, *positions).
        gradient: its output gradient, likewise.
        records: number of records of the batch; each may have several rows.
    """

    def __init__(self, layer: Any, rows: torch.Tensor, gradient: torch.Tensor, records: int) -> None:
        self._layer = layer
        self._padding = list(layer.padding)
        if not layer.transposed and (isinstance(layer.padding, str) or layer.padding_mode != "zeros"):
            # what the layer does first: pad the input by its mode, then convolve without padding
            mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
            rows = functional.pad(rows, layer._reversed_padding_repeated_twice, mode=mode)
            self._padding = [0] * len(layer.kernel_size)
        self._rows, self._gradient = rows, gradient
        self._versions = read_versions(rows, gradient)
        self._output_padding = self._compute_output_padding()
        self._each = len(rows) // records
        self.numbers = self._each * (rows[0].numel() + gradient[0].numel())  # of one record, in both tensors
        small = rows if layer.transposed else gradient  # one window of the other tensor for each of its positions
        self.positions = self._each * small[0, 0].numel()  # of one record

    def leave_out(self, patients: torch.Tensor, batch: Batch) -> None:
        """Let the rows of some ``patients`` (patients,) bool be zero."""
        self.require_unchanged()
        self._rows, self._gradient = (clear_rows(rows, patients, batch) for rows in (self._rows, self._gradient))
        self._versions = read_versions(self._rows, self._gradient)

    def require_unchanged(self) -> None:
        """Refuse rows that were changed in place since their norms were taken."""
        require_unchanged(self._versions, self._rows, self._gradient)

    def compute_gradient(self, records: slice, weights: torch.Tensor) -> torch.Tensor:
        """Compute the gradient of the layer's weight over some records, each times its weight (records,)."""
        some = self._find_row_slice(records)
        gradient = self._gradient[some]
        every = weights.repeat_interleave(self._each)  # (rows,)
        weighted = gradient * every.view(-1, *[1] * (gradient.dim() - 1))
        return self._convolve_back(weighted, self._rows[some], groups=1)

    def compute_gradients(self, records: slice, each: int) -> torch.Tensor:
        """Compute the gradient of the layer's weight for each of some patients; (patients, numbers).

        Args:
            records: those of the patients.
            each: the number of records of one patient.
        """
        some, patients = self._find_row_slice(records), (records.stop - records.start) // each
        gradient, rows = (_move_patients_to_channels(side[some], patients) for side in (self._gradient, self._rows))
        return self._convolve_back(gradient, rows, groups=patients).view(patients, -1)

    def _convolve_back(self, gradient: torch.Tensor, rows: torch.Tensor, groups: int) -> torch.Tensor:
        """Compute the gradients of so many weights, side by side on the first axis as on the axis of channels."""
        layer = self._layer
        weight = layer.weight.detach()
        found = torch.ops.aten.convolution_backward(
            gradient,
            rows,
            weight.new_zeros((), dtype=gradient.dtype).expand(groups * len(weight), *weight.shape[1:]),  # its shape
            None,
            layer.stride,
            self._padding,
            layer.dilation,
            layer.transposed,
            self._output_padding,
            groups * layer.groups,
            [False, True, False],  # only the weight's gradient, not those of input and bias
        )
        return cast(torch.Tensor, found[1]).contiguous()

    def extract_rows(self, records: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the left and right rows of some records, each (rows, width, positions)."""
        some = self._find_row_slice(records)
        if self._layer.transposed:
            small, large = self._rows[some], self._gradient[some]
        else:
            small, large = self._gradient[some], self._rows[some]
        return small.flatten(2), self._cut_windows(large, small.shape[2:])

    def _find_row_slice(self, records: slice) -> slice:
        return slice(records.start * self._each, records.stop * self._each)

    def _compute_output_padding(self) -> list[int]:
        """Return by how much each axis of the output is longer than the least; 0 unless transposed."""
        layer = self._layer
        if not layer.transposed:
            return [0] * len(layer.kernel_size)
        # torch.nn.ConvTranspose2d's formula of the output size, solved for output_padding
        axes = zip(
            self._gradient.shape[2:], self._rows.shape[2:], layer.kernel_size, layer.stride, self._padding,
            layer.dilation, strict=True,
        )  # fmt: skip
        return [out - ((size - 1) * stride - 2 * pad + dilation * (kernel - 1) + 1)
                for out, size, kernel, stride, pad, dilation in axes]  # fmt: skip

    def _cut_windows(self, image: torch.Tensor, places: Sequence[int]) -> torch.Tensor:
        """Return the window of the kernel at each position; (rows, channels * kernel, positions)."""
        layer, dimensions = self._layer, len(places)
        # functional.pad counts axes from the last one, with two numbers each
        windows = functional.pad(image, [pad for pad in reversed(self._padding) for _ in range(2)])
        for axis in range(dimensions):
            # with dilation, unfold takes the whole reach and every dilation-th entry of it is kept
            reach = (layer.kernel_size[axis] - 1) * layer.dilation[axis] + 1
            windows = windows.unfold(2 + axis, reach, layer.stride[axis]).narrow(2 + axis, 0, places[axis])
            windows = windows[..., :: layer.dilation[axis]]
        # (rows, channels, *positions, *kernel) -> (rows, channels, *kernel, *positions)
        kernel_first = (0, 1, *range(2 + dimensions, 2 + 2 * dimensions), *range(2, 2 + dimensions))
        return windows.permute(kernel_first).reshape(
            len(image), -1, windows[0, 0].numel() // _multiply_sizes(layer.kernel_size)
        )


def _move_patients_to_channels(rows: torch.Tensor, patients: int) -> torch.Tensor:
    """(patients * rows, channels, ...) -> (rows, patients * channels, ...)."""
    apart = rows.reshape(patients, len(rows) // patients, *rows.shape[1:])
    return apart.transpose(0, 1).flatten(1, 2)


def _find_record_slice(run: SizeGroup, patients: slice) -> slice:
    """Return the slice of records of some patients of a run."""
    return slice(run.records.start + patients.start * run.each, run.records.start + patients.stop * run.each)


def _multiply_sizes(sizes: Sequence[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
