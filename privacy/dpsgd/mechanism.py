"""The sampled Gaussian mechanism: who is drawn, and which noise is added."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from privacy.randomness import KeyStream

_SLICE: Final = 1 << 15  # parameters that get their noise at once: a block of the stream, too small for threads
_NORMS: Final = (1e-30, 1e30)  # clipping norms for which a float32 sum keeps its digits


@dataclass(frozen=True)
class Mechanism:
    """The public numbers of a step.

    Attributes:
        sampling_rate: q, each patient's probability to enter the lot.
        public_patients: the patient count the expected lot is taken from; public, so it is a rounded one.
        clipping_norm: C, in 1e-30..1e30; None together with the noise multiplier switches privacy off.
        noise_multiplier: sigma; the noise has standard deviation sigma * C.
    """

    sampling_rate: float
    public_patients: int
    clipping_norm: float | None
    noise_multiplier: float | None

    def __post_init__(self) -> None:
        if (self.clipping_norm is None) != (self.noise_multiplier is None):
            raise ValueError("a clipping norm and a noise multiplier come together or not at all")
        if self.clipping_norm is not None and not _NORMS[0] <= self.clipping_norm <= _NORMS[1]:
            raise ValueError(
                f"expected a clipping norm in {_NORMS[0]:g}..{_NORMS[1]:g}, got {self.clipping_norm:g}"
            )
        if self.expected_lot <= 0:
            raise ValueError("the expected lot must be positive")

    @property
    def expected_lot(self) -> float:
        """The sampling rate times the public patient count."""
        return self.sampling_rate * self.public_patients


def sample_patients(patients: int, rate: float, stream: KeyStream) -> NDArray[np.int64]:
    """Each of 0..patients-1 with probability ``rate``, independently; rising, (lot,)."""
    return np.flatnonzero(stream.draw_uniform(patients) < rate).astype(np.int64)


def add_noise(total: torch.Tensor, deviation: float, stream: KeyStream) -> None:
    """Add independent Gaussian noise of standard deviation ``deviation`` to every entry of ``total`` (P,)."""
    for part in torch.split(total, _SLICE):
        noise = torch.from_numpy(stream.draw_normal(part.numel())).to(part.device)
        part.copy_(part.double().add_(noise, alpha=deviation))  # rounded once
