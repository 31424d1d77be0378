"""Compute per-patient gradients of any other layer that owns parameters, by running it again under vmap.

The layer is called again on each patient's rows, all patients at once (``torch.func.vmap``), and differentiated in
the direction of its output gradient. This is exact for any layer made of tensors that treats records alike.

Refused by name:

* a layer with random numbers of its own: another draw would be another gradient;
* inputs that are neither tensors nor constants;
* what ``vmap`` cannot do.
"""

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from privacy.dpsgd.activations import Call
from privacy.dpsgd.batching import Batch, SizeGroup
from privacy.dpsgd.grad_sample.patient_gradients import Materialised, PatientGradients
from privacy.errors import TermsError


def compute_vmap_gradients(
    layer: nn.Module, calls: list[Call], batch: Batch, dtype: torch.dtype
) -> dict[str, PatientGradients]:
    """Compute the gradients of the parameters that the layer owns directly.

    Raises:
        TermsError: the layer cannot be run for one patient after the other.
    """
    own = {name: parameter.detach() for name, parameter in layer.named_parameters(recurse=False)
           if parameter.requires_grad}  # fmt: skip
    sums: dict[str, torch.Tensor] = {}
    for call in calls:
        for name, gradients in _compute_call_gradients(layer, own, widen_call(call, dtype), batch).items():
            sums[name] = sums[name] + gradients if name in sums else gradients
    return {name: Materialised(gradients.to(dtype)) for name, gradients in sums.items()}


def widen_call(call: Call, dtype: torch.dtype) -> Call:
    """Return the call with its floating-point tensors in ``dtype``.

    In mixed precision they are narrower than the parameters.
    """

    def wide(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    return replace(call, inputs=tuple(wide(value) for value in call.inputs), gradient=wide(call.gradient))


def _compute_call_gradients(
    layer: nn.Module, own: dict[str, torch.Tensor], call: Call, batch: Batch
) -> dict[str, torch.Tensor]:
    parts = [_compute_run_gradients(layer, own, call, batch, run) for run in batch.runs]
    return {name: torch.cat([part[name] for part in parts]) for name in own}


def _compute_run_gradients(
    layer: nn.Module, own: dict[str, torch.Tensor], call: Call, batch: Batch, run: SizeGroup
) -> dict[str, torch.Tensor]:
    """Compute the gradients of the patients of a run; (patients, ...) for each parameter."""
    assert call.gradient is not None
    inputs = [
        _split_by_patient(call, value, axis, batch, run) for value, axis in zip(call.inputs, call.axes, strict=True)
    ]
    if any(isinstance(value, torch.Tensor) for value in call.keywords.values()):
        raise TermsError(f"{call.layer} takes a tensor by keyword; pass tensors by position")
    direction = _split_by_patient(call, call.gradient, call.output_axis, batch, run)

    def one(*values: Any) -> dict[str, torch.Tensor]:
        *arguments, toward = values

        def toward_all(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
            output = torch.func.functional_call(layer, parameters, tuple(arguments), call.keywords)
            # its gradient is the vector-Jacobian product of the layer with the output gradient
            pulled: torch.Tensor = (output * toward).sum()
            return pulled

        found: dict[str, torch.Tensor] = torch.func.grad(toward_all)(own)
        return found

    places = (*call.axes, call.output_axis)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")  # slower, but still exact
            each = torch.func.vmap(one, in_dims=places, randomness="error")(*inputs, direction)
    except (RuntimeError, ValueError, TypeError) as cause:
        raise TermsError(
            f"{call.layer} owns parameters and cannot be run for one patient after the other "
            f"({type(cause).__name__}); build it of layers such as Linear, or move its parameters, and anything "
            "random, into layers of their own"
        ) from cause
    gradients: dict[str, torch.Tensor] = each
    return gradients


def _split_by_patient(call: Call, value: Any, axis: int | None, batch: Batch, run: SizeGroup) -> Any:
    """Return the run's part of ``value``, with an axis of patients before the axis of their records."""
    if not isinstance(value, torch.Tensor):
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TermsError(f"{call.layer} owns parameters and takes a {type(value).__name__}; pass tensors")
    if axis is None:
        return value
    each = value.shape[axis] // batch.records  # rows of one record
    rows = value.narrow(axis, run.records.start * each, (run.records.stop - run.records.start) * each)
    # (..., records * each, ...) -> (..., patients, rows of a patient, ...)
    return rows.reshape(*rows.shape[:axis], run.count, run.each * each, *rows.shape[axis + 1 :])
