"""Compute per-patient gradients of any other layer that owns parameters, by running it again under vmap.

The layer is called again on each patient's rows, all patients at once (``torch.func.vmap``), and differentiated in
the direction of its output gradient. This is exact for any layer made of tensors that treats records alike. The rows
of calls with equal shapes (the time steps of a sequence) follow each other in one call, which is as exact and far
faster.

Refused by name:

* a layer with random numbers of its own: another draw would be another gradient;
* inputs that are neither tensors nor constants;
* what ``vmap`` cannot do.
"""

import warnings
from dataclasses import replace
from typing import Any, Final

import torch
from torch import nn

from privacy.dpsgd.activations import Call
from privacy.dpsgd.batching import Batch, SizeGroup
from privacy.dpsgd.grad_sample.patient_gradients import LayerGradients, Materialised, Names
from privacy.errors import TermsError

_CONSTANTS: Final = (type(None), bool, int, float, str)
_AT_ONCE: Final = (
    1 << 20
)  # numbers of gradients computed at once: more leave the processor's cache, which is slower


def compute_vmap_gradients(
    layer: nn.Module, names: Names, calls: list[Call], batch: Batch, dtype: torch.dtype
) -> LayerGradients:
    """Compute the gradients of the parameters ``names``, which the layer owns directly.

    Raises:
        TermsError: the layer cannot be run for one patient after the other.
    """
    own = {name: layer.get_parameter(name).detach() for name in names}
    sums: dict[str, torch.Tensor] = {}
    for alike in _group_calls([widen_call(call, dtype) for call in calls]):
        for name, gradients in _compute_group_gradients(layer, own, alike, batch).items():
            sums[name] = sums[name] + gradients if name in sums else gradients
    return {name: Materialised(gradients.to(dtype)) for name, gradients in sums.items()}


def widen_call(call: Call, dtype: torch.dtype) -> Call:
    """Return the call with its floating-point tensors in ``dtype``.

    In mixed precision they are narrower than the parameters.
    """

    def wide(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    return replace(call, inputs=tuple(wide(value) for value in call.inputs), gradient=wide(call.gradient))


def _group_calls(calls: list[Call]) -> list[list[Call]]:
    """Group neighbouring calls that differ in tensors of records only."""
    groups: list[list[Call]] = []
    for call in calls:
        if groups and _are_alike(groups[-1][0], call):
            groups[-1].append(call)
        else:
            groups.append([call])
    return groups


def _are_alike(one: Call, other: Call) -> bool:
    return (
        (one.axes, one.output_axis, one.keywords.keys()) == (other.axes, other.output_axis, other.keywords.keys())
        and all(
            _are_values_alike(these, those, axis)
            for these, those, axis in zip(one.inputs, other.inputs, one.axes, strict=True)
        )
        and all(_are_values_alike(value, other.keywords[key], None) for key, value in one.keywords.items())
    )


def _are_values_alike(these: Any, those: Any, axis: int | None) -> bool:
    if isinstance(these, torch.Tensor) and isinstance(those, torch.Tensor):
        return axis is not None and (these.shape, these.dtype) == (those.shape, those.dtype)
    return type(these) is type(those) and isinstance(these, _CONSTANTS) and bool(these == those)


def _compute_group_gradients(
    layer: nn.Module, own: dict[str, torch.Tensor], calls: list[Call], batch: Batch
) -> dict[str, torch.Tensor]:
    parts = [_compute_run_gradients(layer, own, calls, batch, run) for run in batch.runs]
    return parts[0] if len(parts) == 1 else {name: torch.cat([part[name] for part in parts]) for name in own}


def _compute_run_gradients(
    layer: nn.Module, own: dict[str, torch.Tensor], calls: list[Call], batch: Batch, run: SizeGroup
) -> dict[str, torch.Tensor]:
    """Compute the gradients of a run's patients over calls that are alike; (patients, ...) for each parameter."""
    call = calls[0]
    inputs = [
        _join_calls(calls, [each.inputs[place] for each in calls], axis, batch, run)
        for place, axis in enumerate(call.axes)
    ]
    if any(isinstance(value, torch.Tensor) for value in call.keywords.values()):
        raise TermsError(f"{call.layer} takes a tensor by keyword; pass tensors by position")
    direction = _join_calls(calls, [each.gradient for each in calls], call.output_axis, batch, run)

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
    run_all = torch.func.vmap(one, in_dims=places, randomness="error")
    gradients = {name: value.new_empty(run.count, *value.shape) for name, value in own.items()}
    at_once = max(1, _AT_ONCE // sum(value.numel() for value in own.values()))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")  # slower, but still exact
            for start in range(0, run.count, at_once):
                some = slice(start, min(start + at_once, run.count))
                values = zip((*inputs, direction), places, strict=True)
                each = run_all(*(_take(value, axis, some) for value, axis in values))
                for name, kept in gradients.items():
                    kept[some] = each[name]
    except (RuntimeError, ValueError, TypeError) as cause:
        raise TermsError(
            f"{call.layer} owns parameters and cannot be run for one patient after the other "
            f"({type(cause).__name__}); build it of layers such as Linear, or move its parameters, and anything "
            "random, into layers of their own"
        ) from cause
    return gradients


def _take(value: Any, axis: int | None, some: slice) -> Any:
    """Return the part of ``value`` that belongs to some patients, who are counted by ``axis``."""
    return value if axis is None else value.narrow(axis, some.start, some.stop - some.start)


def _join_calls(calls: list[Call], values: list[Any], axis: int | None, batch: Batch, run: SizeGroup) -> Any:
    """Return the run's part of one argument of all calls, the rows of a patient one call after the other."""
    parts = [_split_by_patient(call, value, axis, batch, run) for call, value in zip(calls, values, strict=True)]
    return parts[0] if axis is None or len(parts) == 1 else torch.cat(parts, dim=axis + 1)


def _split_by_patient(call: Call, value: Any, axis: int | None, batch: Batch, run: SizeGroup) -> Any:
    """Return the run's part of ``value``, with an axis of patients before the axis of their records."""
    if not isinstance(value, torch.Tensor):
        if isinstance(value, _CONSTANTS):
            return value
        raise TermsError(f"{call.layer} owns parameters and takes a {type(value).__name__}; pass tensors")
    if axis is None:
        return value
    each = value.shape[axis] // batch.records  # rows of one record
    rows = value.narrow(axis, run.records.start * each, (run.records.stop - run.records.start) * each)
    # (..., records * each, ...) -> (..., patients, rows of a patient, ...)
    return rows.reshape(*rows.shape[:axis], run.count, run.each * each, *rows.shape[axis + 1 :])
