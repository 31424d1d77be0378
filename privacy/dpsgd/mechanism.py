"""Draw the lot and the noise of the sampled Gaussian mechanism.

Source: Abadi et al. 2016, "Deep learning with differential privacy", with patients drawn instead of records.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from privacy.randomness import KeyStream, NormalPart, load_vector_functions

_NORMS: Final = (1e-30, 1e30)  # clipping norms for which a float32 sum keeps its digits


@dataclass(frozen=True)
class Mechanism:
    """Public numbers of a step.

    Attributes:
        sampling_rate: q, the probability of each patient to enter the lot.
        public_patients: the patient count for the expected lot; it is public, so it is rounded.
        clipping_norm: C, in 1e-30..1e30; None, together with the noise multiplier, means no privacy.
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
    """Draw each of 0..patients-1 independently with probability ``rate``; (lot,), in rising order."""
    return np.flatnonzero(stream.draw_uniform(patients) < rate).astype(np.int64)


def add_noise(total: torch.Tensor, deviation: float, stream: KeyStream) -> None:
    """Add independent Gaussian noise of standard deviation ``deviation`` to every entry of ``total`` (P,).

    It is computed by as many threads as torch may use, block by block, and is the same for any number of them.
    """

    def add(part: NormalPart) -> None:
        for place, normals in part.draw():
            some, noise = total[place], torch.from_numpy(normals).to(total.device)
            some.copy_(torch.add(some, noise, alpha=deviation, out=noise))  # in float64, so it is rounded once

    parts = stream.divide_normals(total.numel(), torch.get_num_threads())
    if len(parts) > 1:
        with (
            load_vector_functions(),
            ThreadPoolExecutor(len(parts), initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            list(pool.map(add, parts))  # raises what a thread raised
    else:
        for part in parts:
            add(part)
