"""Invent records of public shapes, types and ranges; a study's author chose these, and no site's data are read.

Rules:

* numbers are uniform in their range, [-1, 1] if none is given;
* whole numbers (ids, classes) are uniform in their range, both ends included, 0 or 1 if none is given;
* flags are 0 or 1. The first entry along the first axis of a record is set, so that no mask says that a sequence is
  empty. A flag of no axis is 0 or 1;
* the same records every time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import torch

from privacy.dpsgd.named_tensors import Inputs, Targets, Tensors

_SEED: Final = 20221015


@dataclass(frozen=True)
class Spec:
    """Shape, type and range of one tensor.

    Attributes:
        shape: of one record; () for one number.
        dtype: floating point for numbers, whole numbers for ids and classes, bool for flags.
        low: the least value; None: -1 for floating point, else 0.
        high: the largest value; None: 1.
    """

    shape: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float32
    low: float | None = None
    high: float | None = None

    def draw(self, records: int, random: torch.Generator) -> torch.Tensor:
        """Draw a tensor of invented ``records``."""
        shape = (records, *self.shape)
        high = 1.0 if self.high is None else self.high
        if self.dtype.is_floating_point:
            low = -1.0 if self.low is None else self.low
            numbers = low + (high - low) * torch.rand(shape, generator=random, dtype=torch.float64)
            return numbers.to(self.dtype)
        drawn = torch.randint(int(self.low or 0), int(high) + 1, shape, generator=random).to(self.dtype)
        if self.dtype == torch.bool and self.shape:
            drawn[:, 0] = True
        return drawn


Specs = Spec | Mapping[str, Spec]


@dataclass(frozen=True)
class Example:
    """Shapes, types and ranges of a record.

    Attributes:
        inputs: of the tensor that the module takes, or of several by name.
        targets: likewise.
    """

    inputs: Specs
    targets: Specs = field(default_factory=lambda: Spec(low=0.0))

    def draw(self, records: int, device: torch.device, turn: int = 0) -> tuple[Inputs, Targets]:
        """Draw invented records, in each ``turn`` always the same ones."""
        random = torch.Generator().manual_seed(_SEED + turn)
        return _draw(self.inputs, records, random, device), _draw(self.targets, records, random, device)


def _draw(specs: Specs, records: int, random: torch.Generator, device: torch.device) -> Tensors:
    if isinstance(specs, Spec):
        return specs.draw(records, random).to(device)
    return {name: spec.draw(records, random).to(device) for name, spec in specs.items()}
