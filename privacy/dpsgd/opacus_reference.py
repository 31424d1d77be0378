"""Sum the same clipped gradients by Opacus, which builds the gradient of every record: reference and fallback.

Only this file imports Opacus. It is slower (28 times on a plain perceptron) and needs P numbers for every record,
but it handles a few modules that :mod:`privacy.dpsgd.ghost_clipping` does not, such as a weight that two layers
share.
"""

import warnings
from typing import Any, cast

import torch
from opacus.grad_sample import GradSampleModule
from torch import nn

from privacy.dpsgd.batching import Batch
from privacy.dpsgd.ghost_clipping import Admit, compute_clip_factors, compute_lengths
from privacy.dpsgd.grad_sample.patient_gradients import Factors, Materialised, sum_by_patient
from privacy.dpsgd.loss import BatchLoss
from privacy.dpsgd.named_tensors import Inputs, Targets, map_tensors
from privacy.dpsgd.norms import compute_row_norms
from privacy.dpsgd.record_axes import describe_layer
from privacy.dpsgd.trainable import FlatSum, Trainable, find_owners
from privacy.errors import TermsError

_COPIES = 4  # a record's gradient as Opacus holds it, in one row, summed, and clipped


class OpacusHooks:
    """Clipped sums of one module, by the hooks of Opacus.

    Raises:
        TermsError: Opacus has no rule for a layer.
    """

    def __init__(self, lens: BatchLoss, trainable: Trainable) -> None:
        for name in find_owners(lens.module, trainable.parameters, shared=True):
            layer = lens.module.get_submodule(name)
            if type(layer) not in GradSampleModule.GRAD_SAMPLERS:
                raise TermsError(f"{describe_layer(name, layer)} has no known gradient of each record")
        self._lens = lens
        self._trainable = trainable

    def estimate_record_bytes(self, inputs: Inputs) -> int:
        """Estimate how much memory one record takes."""
        return self._trainable.count * self._trainable.dtype.itemsize * _COPIES

    def add_clipped(
        self,
        inputs: Inputs,
        targets: Targets,
        batch: Batch,
        norm: float,
        into: FlatSum,
        admit: Admit | None = None,
    ) -> None:
        """Add the patients' gradients, as :meth:`privacy.dpsgd.ghost_clipping.GhostClipping.add_clipped` does."""
        patients = sum_by_patient(self._compute_record_gradients(inputs, targets, batch), batch)  # (patients, P)
        usable = torch.isfinite(compute_row_norms(patients))
        kept = Materialised(torch.where(usable[:, None], patients, 0.0))
        norms = kept.compute_norms()
        factors = Factors.make(compute_clip_factors(norms, norm), norms, self._trainable.dtype)
        if admit is not None:
            factors = factors.keep(admit(compute_lengths(norms, norm)))
        kept.add(factors, into.vector)

    def _compute_record_gradients(self, inputs: Inputs, targets: Targets, batch: Batch) -> torch.Tensor:
        """Compute the gradient of each record, times its weight; (records, P)."""
        parameters = self._trainable.parameters.values()
        hooked = GradSampleModule(self._lens.module, loss_reduction="sum", strict=False)
        try:
            given = map_tensors(_copy_to_differentiate, inputs)
            seen = BatchLoss(hooked, self._lens.loss, self._lens.precision)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Full backward hook is firing")  # raised for an input of integers
                torch.autograd.backward(seen.compute_total_loss(given, targets, batch.weights))
            each = [_read_record_gradients(parameter, batch.records) for parameter in parameters]
        finally:
            hooked.to_standard_module()
            for layer in self._lens.module.modules():  # what Opacus leaves behind where a pass fails
                vars(layer).pop("activations", None)
                vars(layer).pop("max_batch_len", None)
            for parameter in parameters:
                parameter.grad = None
        return torch.cat(each, dim=1).to(self._trainable.dtype)


def _read_record_gradients(parameter: nn.Parameter, records: int) -> torch.Tensor:
    """Return the gradient of each record, (records, numbers); zeros if the parameter does not move the loss."""
    found: torch.Tensor | None = cast(Any, parameter).grad_sample
    return parameter.new_zeros(records, parameter.numel()) if found is None else found.flatten(1)


def _copy_to_differentiate(tensor: torch.Tensor) -> torch.Tensor:
    """Copy an input; numbers require a gradient, because the backward hooks of Opacus need such an input."""
    return tensor.detach().clone().requires_grad_(tensor.is_floating_point())
