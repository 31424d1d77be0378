"""What the rest of a site sees of training, whatever runs it."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.parameters.vector import Vector
from privacy.mechanisms.distributed_noise import SharedNoise

Integers = NDArray[np.uint32]
Tensors = dict[str, NDArray[np.float32]]


class TrainingInterface(Protocol):
    """What a site's protocol code needs from training."""

    def initial(self) -> Vector:
        """The shared model before the first round; (P,)."""
        ...

    def tensors(self, vector: Vector) -> Tensors:
        """The plain model that ``vector`` amounts to, adapters merged, own layers at their first values; by name."""
        ...

    def own_tensors(self, personal: Vector | None) -> Tensors:
        """The own layers ``personal``, (Q,), as named tensors; their first values without it."""
        ...

    def train(
        self,
        start: Vector,
        round_number: int,
        noise_multiplier: float | None,
        key: bytes,
        correction: Vector | None = None,
        personal: Vector | None = None,
    ) -> tuple[Vector, Vector]:
        """The update of one round's local training from ``start``, (P,), and the site's own layers afterwards, (Q,).

        ``key``, 32 secret bytes, decides sampling and noise: the same key repeats the same draw. ``correction``, (P,),
        is added to every gradient. ``personal``, (Q,), are the own layers now, None at their first values.
        """
        ...

    def share(
        self,
        start: Vector,
        round_number: int,
        noise: SharedNoise,
        variance: int,
        key: bytes,
        personal: Vector | None = None,
    ) -> tuple[Integers, Vector]:
        """This site's share of what a cohort noises together, with noise of ``variance``, (d,); and its own layers.

        One global step from ``start``, or the whole update of local training where the site is the unit. ``key`` and
        ``personal`` as for :meth:`train`.
        """
        ...

    def score(
        self,
        vector: Vector,
        noise_multiplier: float | None,
        personal: Vector | None = None,
        key: bytes | None = None,
    ) -> tuple[int, ...]:
        """The score histogram of the model ``vector`` on the test patients, noised unless None; (2 * bins,).

        With the own layers ``personal``, (Q,); without, with their first values. ``key``, 32 secret bytes, decides the
        noise; without it, the noise is fresh.
        """
        ...

    def close(self) -> None:
        """Let go of data and device."""
        ...
