"""Draw the lot and the noise of the sampled Gaussian mechanism.

Source: Abadi et al. 2016, "Deep learning with differential privacy", with patients drawn instead of records.

The noise of a step is drawn while its gradients are computed, where there are threads for it (:class:`NoiseAhead`).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray

from privacy.randomness import KeyStream, NormalPart, load_vector_functions

_NORMS: Final = (1e-30, 1e30)  # clipping norms for which a float32 sum keeps its digits
_AHEAD: Final = 1 << 23  # normals that are held before they are added: 64 MiB
_WORTH_THREADS: Final = 1 << 16  # normals: below it, starting a thread costs a good part of what it saves


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
            _add_normals(total[place], deviation, torch.from_numpy(normals).to(total.device))

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


class NoiseAhead:
    """The Gaussian noise of one step, drawn by other threads while the step's gradients are computed.

    The noise does not depend on the gradients, and is the same to the bit as that of :func:`add_noise`. Only the
    normal deviates are drawn ahead, in float64: they are scaled, added and rounded once when the sum is known. At most
    ``ahead`` of them are held, the rest is drawn when they are added.

    It is used in a ``with`` block. Nothing else may draw from the stream inside it. A block that fails ends the
    threads and discards what they drew.

    Args:
        count: P.
        stream: secret randomness.
        device: of the sum.
        ahead: how many deviates are held at most, 8 bytes each; a multiple of 2^15.
    """

    def __init__(self, count: int, stream: KeyStream, device: torch.device, ahead: int = _AHEAD) -> None:
        self._count, self._stream, self._device = count, stream, device
        self._limit = min(count, ahead)

    def __enter__(self) -> Self:
        self._threads = torch.get_num_threads()
        self._pool, self._stopped = None, False
        # a processor with one thread has none to spare; a GPU leaves the host's only one idle
        if self._limit < _WORTH_THREADS or (self._threads == 1 and self._device.type == "cpu"):
            self._limit = 0
            return self
        # half of the threads, since the others are used by the step
        parts = self._stream.divide_normals(self._limit, max(1, self._threads // 2))
        # from pinned memory a GPU copies while the host goes on
        self._normals = torch.empty(self._limit, dtype=torch.float64, pin_memory=self._device.type == "cuda")
        self._pool = ThreadPoolExecutor(len(parts), initializer=torch.set_num_threads, initargs=(1,))
        self._drawing = [self._pool.submit(self._draw, part) for part in parts]
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._stopped = True
            self._pool.shutdown()
            torch.set_num_threads(self._threads)  # those of the pool have set what a later thread begins with

    def add_to(self, total: torch.Tensor, deviation: float) -> None:
        """Add the noise, of standard deviation ``deviation``, to every entry of ``total`` (P,); once."""
        if self._limit:
            for drawing in self._drawing:
                drawing.result()  # raises what a thread raised
            _add_normals(total[: self._limit], deviation, self._normals.to(self._device, non_blocking=True))
        add_noise(total[self._limit :], deviation, self._stream)

    def _draw(self, part: NormalPart) -> None:
        held = self._normals.numpy()
        for place, normals in part.draw():
            if self._stopped:
                return
            held[place] = normals


def _add_normals(total: torch.Tensor, deviation: float, normals: torch.Tensor) -> None:
    """Add ``deviation`` times ``normals`` (n,) float64, whose memory is overwritten, to ``total`` (n,)."""
    total.copy_(torch.add(total, normals, alpha=deviation, out=normals))  # in float64, so it is rounded once
