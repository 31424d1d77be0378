"""Sum clipped gradients of patients by ghost clipping: no patient's gradient is built whole.

Bu et al. 2022, "Differentially private optimization on large model at small cost" (book-keeping; arXiv 2210.00038),
with whole patients as the unit: a patient's gradient is the mean over the records, so the loss of a record weighs
one over their number. For every batch:

1. one forward and one backward pass, which capture what each layer was given and its output gradient
   (:mod:`privacy.dpsgd.activations`);
2. from these, as soon as backward has passed a layer, each patient's norm
   (:mod:`privacy.dpsgd.grad_sample.registry`), and what the sum needs: the two factors of each gradient, or the
   gradients themselves, whichever is smaller. Everything else is let go;
3. the norms of all layers, combined in float64;
4. a factor for each patient, and one weighted sum for each layer, added to one flat sum.

Two kinds of layers are computed after the backward pass: those that are run again by vmap, since they differentiate
themselves; and those whose patients' gradients take more memory than what they are made of. At the end of the backward
pass the memory of the activations is free for them.

**Guarantee.** What a patient adds has norm at most C, for any parameters and any records. The factor aims at
``CLIP_MARGIN * C``: norms and products in float32 are off by about a part in a million, and the margin is a hundred
times that. Where float32 would be less exact (near both ends of its range, and where the rows of a patient cancel)
norm and sum are float64 (:mod:`privacy.dpsgd.grad_sample.outer_products`).

A patient whose norm is not finite is left out: the numbers of that patient count as zero. Those of the others stay,
so that what a random module drew for them does not depend on the one who is left out.
"""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import nn

from privacy.dpsgd.activations import Call, Capture, may_pack
from privacy.dpsgd.batching import Batch
from privacy.dpsgd.grad_sample.fallback import compute_vmap_gradients
from privacy.dpsgd.grad_sample.outer_products import OuterProducts
from privacy.dpsgd.grad_sample.patient_gradients import Factors, GradSampler, Joined, Materialised, PatientGradients
from privacy.dpsgd.grad_sample.registry import grad_sampler_of
from privacy.dpsgd.loss import BatchLoss
from privacy.dpsgd.named_tensors import Inputs, Shapes, Targets, describe_shapes, find_device
from privacy.dpsgd.norms import use_exact_float32
from privacy.dpsgd.record_axes import RecordAxes, find_record_axes
from privacy.dpsgd.torch_randomness import seed_torch
from privacy.dpsgd.trainable import FlatSum, Trainable, find_owners

CLIP_MARGIN: Final = 1.0 - 1e-4
"""Clipping aims at this part of C."""
Admit = Callable[[torch.Tensor], torch.Tensor]
"""Lengths of patients' clipped gradients, in clipping norms, (patients,) float64 -> whose count, (patients,) bool."""
_SMALL: Final = 1 << 9  # numbers of a parameter whose gradients are joined with others
_LONG: Final = 1 << 18  # numbers of all parameters: a vector that is worth waiting for
_WORTH_FREEING: Final = 1 << 15  # numbers beyond those of their sum that are worth two operations more
_BUILT_COPIES: Final = 3  # of a gradient that is built for each patient: as it is computed, joined, and kept


class GhostClipping:
    """Clipped sums of one module.

    Args:
        lens: module and loss.
        trainable: the module's parameters that train.

    Raises:
        TermsError: one parameter belongs to two layers.
    """

    def __init__(self, lens: BatchLoss, trainable: Trainable) -> None:
        self._lens = lens
        self._trainable = trainable
        self._names = find_owners(lens.module, trainable.parameters)
        self._parameters = list(lens.module.parameters())
        self._packable = [layer for layer in lens.module.modules() if may_pack(layer)]
        layers = dict(lens.module.named_modules())
        self._layers = {name: layers[name] for name in self._names}
        self._built_bytes: int = _BUILT_COPIES * sum(
            parameter.nbytes
            for layer in self._layers.values()
            if grad_sampler_of(layer) is compute_vmap_gradients
            for parameter in layer.parameters(recurse=False)
            if parameter.requires_grad
        )
        self._surveys: dict[Shapes, RecordAxes] = {}

    def estimate_record_bytes(self, inputs: Inputs) -> int:
        """Estimate how much memory one record takes: both passes, and gradients that are built for a patient."""
        return self._find_record_axes(inputs).record_bytes + self._built_bytes

    def add_clipped(
        self,
        inputs: Inputs,
        targets: Targets,
        batch: Batch,
        norm: float,
        into: FlatSum,
        admit: Admit | None = None,
    ) -> None:
        """Add the patients' gradients, each clipped to ``norm``, to ``into``.

        Args:
            inputs: of the records, in the batch's order.
            targets: of the records.
            batch: the patients of the records.
            norm: C.
            into: the sum.
            admit: says whose gradients count; everybody's if it is not given.

        Raises:
            TermsError: a layer is used in a way that hides patients' gradients.
        """
        dtype, device = self._trainable.dtype, self._trainable.device
        found = _BatchGradients(self._layers, self._find_training_names(), batch, dtype, device)
        seen = self._find_record_axes(inputs)
        capture = Capture(self._packable, self._parameters, self._layers, seen, found.take)
        capture.run(lambda: self._lens.compute_total_loss(inputs, targets, batch.weights))
        with use_exact_float32(device), torch.no_grad():
            found.take_postponed()
            norms = found.combine_norms()
            unusable = ~torch.isfinite(norms)
            if unusable.any():
                found.leave_out(unusable)
                norms = norms.masked_fill(unusable, 0.0)
            factors = Factors.make(compute_clip_factors(norms, norm), norms, dtype)
            if admit is not None:
                factors = factors.keep(admit(compute_lengths(norms, norm)))
            found.add(factors, self._trainable, into)

    def _find_training_names(self) -> dict[str, dict[str, str]]:
        """Return the parameters that train at present, as :func:`privacy.dpsgd.trainable.find_owners` does."""
        parameters = self._trainable.parameters
        return {
            layer: {local: name for local, name in owned.items() if parameters[name].requires_grad}
            for layer, owned in self._names.items()
        }

    def _find_record_axes(self, inputs: Inputs) -> RecordAxes:
        shapes = describe_shapes(inputs)
        if shapes not in self._surveys:
            with seed_torch(0, find_device(inputs)):  # the calls draw nothing from what the lot's seed gives
                self._surveys[shapes] = find_record_axes(self._lens.module, self._layers, inputs)
        return self._surveys[shapes]


class _BatchGradients:
    """The gradients of a batch's patients, and their norms, layer by layer as backward passes them.

    Args:
        layers: by name.
        names: the parameters of each layer that train: name within the layer -> name in the module.
        batch: the patients.
        dtype: the type to compute in.
        device: where the layers are.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        names: Mapping[str, dict[str, str]],
        batch: Batch,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._shares: dict[str, PatientGradients] = {}
        self._small: dict[str, torch.Tensor] = {}  # gradients to be joined, (patients, numbers)
        self._joined: Joined | None = None
        self._layers, self._names, self._batch, self._dtype = layers, names, batch, dtype
        self._device = device
        self._norms: list[torch.Tensor] = []  # of each share, (patients,) float64
        self._postponed: list[tuple[str, list[Call]]] = []
        self._growing: dict[str, PatientGradients] = {}  # by the name of the parameter

    def take(self, name: str, calls: list[Call]) -> None:
        """Compute the gradients of a layer from its calls, in the middle of the backward pass."""
        sampler = grad_sampler_of(self._layers[name])
        if sampler is compute_vmap_gradients:
            self._postponed.append((name, calls))
            return
        with use_exact_float32(self._device):
            self._compute(name, sampler, calls)

    def take_postponed(self) -> None:
        """Compute what had to wait for the end of the backward pass."""
        while self._growing:
            name, share = self._growing.popitem()
            self._norms.append(share.compute_norms())
            self._shares[name] = share
        while self._postponed:
            name, calls = self._postponed.pop()
            for call in calls:
                call.require_unchanged()
            self._compute(name, compute_vmap_gradients, calls)

    def combine_norms(self) -> torch.Tensor:
        """Return the norm of each patient's gradient over all parameters; (patients,) float64."""
        if self._small:
            self._joined = Joined(self._small)
            self._norms.append(self._joined.compute_norms())
        if not self._norms:  # no parameter moves the loss
            return torch.zeros(self._batch.patients, dtype=torch.float64, device=self._device)
        # no norm is above 1e150 (``norms``), so squares stay finite
        norms: torch.Tensor = torch.linalg.vector_norm(torch.stack(self._norms), dim=0)
        return norms

    def leave_out(self, patients: torch.Tensor) -> None:
        """Let the gradients of some ``patients`` (patients,) bool count as zero; after the norms."""
        for share in self._shares.values():
            share.leave_out(patients)
        if self._joined is not None:
            self._joined.leave_out(patients)

    def add(self, factors: Factors, trainable: Trainable, into: FlatSum) -> None:
        """Add the gradients, each times its factor, to ``into``."""
        if trainable.count >= _LONG and not into.takes_memory:
            self._begin_long(factors, trainable, into)
        views = into.views
        while self._shares:  # popitem, so that the memory of each share is free once it is added
            name, share = self._shares.popitem()
            share.add(factors, views[name])
        if self._joined is not None:
            self._joined.add(factors, views)

    def _begin_long(self, factors: Factors, trainable: Trainable, into: FlatSum) -> None:
        """Begin a long vector with the sums of outer products.

        What takes much more memory than its sum is summed before, so that it is free when the vector takes its own.
        The others are written where nothing was: a vector of zeros would be filled, and read, for nothing.
        """
        early, others = dict[str, torch.Tensor](), dict[str, OuterProducts]()
        for name, share in list(self._shares.items()):
            if isinstance(share, OuterProducts):
                del self._shares[name]
                own = trainable.parameters[name]
                if share.numbers - own.numel() < _WORTH_FREEING:
                    others[name] = share
                    continue
                early[name] = torch.empty(own.shape, dtype=self._dtype, device=self._device)
                share.add(factors, early[name], fresh=True)
                del share
        into.take_memory()
        for name, view in into.views.items():
            if name in early:
                view.copy_(early[name])
            elif name not in others:
                view.zero_()
            else:
                others.pop(name).add(factors, view, fresh=True)

    def _compute(self, name: str, sampler: GradSampler, calls: list[Call]) -> None:
        names = self._names[name]
        for local, share in sampler(self._layers[name], names, calls, self._batch, self._dtype).items():
            # where norms are known, joining would only copy
            if isinstance(share, Materialised) and share.gradients.shape[1] <= _SMALL and not share.has_norms:
                self._small[names[local]] = share.gradients
            elif share.grows:
                self._growing[names[local]] = share
            else:
                self._norms.append(share.compute_norms())
                self._shares[names[local]] = share


def compute_clip_factors(norms: torch.Tensor, norm: float) -> torch.Tensor:
    """Return the factor of each gradient, at most 1; (patients,) float64, which tiny factors need."""
    return (CLIP_MARGIN * norm / norms).clamp(max=1.0)


def compute_lengths(norms: torch.Tensor, norm: float) -> torch.Tensor:
    """Return how long each gradient is once it is clipped, in clipping norms; (patients,) float64.

    Longer than what is added, by the margin that clipping leaves for rounding.
    """
    return (norms / (CLIP_MARGIN * norm)).clamp(max=1.0)


def add_unclipped(
    lens: BatchLoss,
    trainable: Trainable,
    inputs: Inputs,
    targets: Targets,
    weights: torch.Tensor,
    into: torch.Tensor,
) -> None:
    """Add the gradient of the weighted sum of the records' losses to ``into`` (P,), without clipping."""
    total = lens.compute_total_loss(inputs, targets, weights)
    found = torch.autograd.grad(total, list(trainable.parameters.values()), allow_unused=True)
    for view, gradient in zip(trainable.make_views(into).values(), found, strict=True):
        if gradient is not None:
            view.add_(gradient)
