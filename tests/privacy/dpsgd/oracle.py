"""Tables of invented patients, and what the engine is compared with: a plain loop over patients with autograd."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

KEY = b"a key of 32 bytes, for tests now"
MARGIN = 1 - 1e-4  # clipping aims at this part of the clipping norm

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Indices = NDArray[np.int64]


@dataclass
class Table:
    features: torch.Tensor
    labels: torch.Tensor
    patient: torch.Tensor
    patients: int

    @property
    def counts(self) -> Indices:
        return np.bincount(self.patient.numpy(), minlength=self.patients).astype(np.int64)

    def select(self, rows: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        return self.features[torch.from_numpy(rows)], self.labels[torch.from_numpy(rows)]

    def without(self, patient: int) -> "Table":
        rows = self.patient != patient
        rest = self.patient[rows]
        return Table(self.features[rows], self.labels[rows], rest - (rest > patient).long(), self.patients - 1)

    def double(self) -> "Table":
        features = self.features.double() if self.features.is_floating_point() else self.features
        return Table(features, self.labels.double(), self.patient, self.patients)


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return binary_cross_entropy_with_logits(logits, labels, reduction="none")


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.ELU(), nn.Linear(5, 1), nn.Flatten(0))


def table(patients: int = 20, seed: int = 1, most_records: int = 4, spread: float = 3.0) -> Table:
    random = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, most_records + 1, (patients,), generator=random)
    return of_sizes(sizes, (6,), seed, spread)


def of_sizes(sizes: torch.Tensor, shape: tuple[int, ...], seed: int = 1, spread: float = 1.0) -> Table:
    """Patients with ``sizes`` records of ``shape``."""
    random = torch.Generator().manual_seed(seed)
    patient = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    features = spread * torch.randn((len(patient), *shape), generator=random)
    labels = torch.randint(0, 2, (len(patient),), generator=random).float()
    return Table(features, labels, patient, len(sizes))


def everybody(records: Table) -> Indices:
    return np.arange(records.patients, dtype=np.int64)


def patient_gradients(module: nn.Module, records: Table, chosen: Indices, of: Loss = loss) -> torch.Tensor:
    """One patient after the other, the mean loss of the records, plain autograd; (lot, P) float64."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    found = []
    for patient in chosen.tolist():
        rows = records.patient == patient
        mean = of(module(records.features[rows]), records.labels[rows]).mean()
        parts = torch.autograd.grad(mean, parameters, allow_unused=True, materialize_grads=True)
        found.append(torch.cat([part.flatten() for part in parts]).double())
    return torch.stack(found)


def loop_sum(
    module: nn.Module, records: Table, chosen: Indices, clipping_norm: float | None, of: Loss = loss
) -> torch.Tensor:
    """The sum of the patients' gradients, clipped one by one; (P,) float64."""
    gradients = patient_gradients(module, records, chosen, of)
    if clipping_norm is not None:
        factors = [min(1.0, MARGIN * clipping_norm / float(gradient.norm())) for gradient in gradients]
        gradients = gradients * torch.tensor(factors, dtype=torch.float64)[:, None]
    return gradients.sum(0)


def assert_as_the_loop(module: nn.Module, got: torch.Tensor, want: torch.Tensor, relative: float = 1e-5) -> None:
    """Each parameter within ``relative``; one that hardly moves, within a tenth of that of the whole."""
    sizes = [parameter.numel() for parameter in module.parameters() if parameter.requires_grad]
    names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    parts = zip(names, got.double().split(sizes), want.split(sizes), strict=True)  # type: ignore[no-untyped-call]
    for name, ours, theirs in parts:
        off = float((ours - theirs).norm())
        allowed = relative * (float(theirs.norm()) + 0.1 * float(want.norm()))
        assert off <= allowed, f"{name} is off by {off:.2e}, allowed {allowed:.2e}"
