"""Draw noise that is correlated over steps: DP-FTRL's tree, and banded matrix factorisation.

*Labelled as of its own*: no study's terms ask for it. What it costs is in ``privacy/accounting/correlated_noise.py``.

Rules:

* the noise of a step depends on a secret key and the step alone, so that a step that is drawn again after a crash has
  the same noise; no two nodes or steps share a stream;
* :class:`TreeNoise` gives the noise of the sum of the first t gradients: one node for each one among the binary digits
  of t. Their difference from step to step is what a step's gradient gets;
* :class:`BandedNoise` gives C^-1 z, the noise of one step's gradient, from the noises of the last steps: as much
  memory as there are bands.

Sources: Kairouz et al. 2021 (arXiv 2103.00039, algorithm 1); Choquette-Choo et al. 2023 (arXiv 2306.08153, algorithm
9).
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from privacy import labels
from privacy.accounting.correlated_noise import make_band
from privacy.keys import derive_key
from privacy.randomness import KeyStream

Vector = NDArray[np.float64]


class TreeNoise:
    """Noise of prefix sums, by a binary tree over the steps.

    Args:
        key: 32 secret bytes; a new one for each tree.
        length: of the vectors.
        deviation: of the noise of one node: noise multiplier times clipping norm.
    """

    def __init__(self, key: bytes, length: int, deviation: float) -> None:
        self._key, self._length, self._deviation = key, length, deviation

    def draw_prefix(self, step: int) -> Vector:
        """Draw the noise of the sum of the first ``step`` gradients; (length,), zeros for none."""
        total = np.zeros(self._length)
        for first, last in list_nodes(step):
            stream = _make_stream(self._key, f"node {first} {last}")
            total += self._deviation * stream.draw_normal(self._length)
        return total

    def draw_step(self, step: int) -> Vector:
        """Draw what the gradient of ``step``, from 1, gets: the change of the prefix's noise; (length,)."""
        return self.draw_prefix(step) - self.draw_prefix(step - 1)


def list_nodes(step: int) -> list[tuple[int, int]]:
    """List the nodes that make up the first ``step`` steps: first and last step of each, from 1.

    >>> list_nodes(6)
    [(1, 4), (5, 6)]
    """
    nodes, first = [], 1
    for digit in reversed(range(step.bit_length())):
        if step >> digit & 1:
            nodes.append((first, first + (1 << digit) - 1))
            first += 1 << digit
    return nodes


class BandedNoise:
    """Noise of single steps, correlated over ``bands`` of them; steps are drawn in their order.

    Args:
        key: 32 secret bytes; a new one for each run.
        length: of the vectors.
        deviation: of the independent noise z: noise multiplier times clipping norm.
        bands: over how many steps it is correlated; 1 is independent noise.
    """

    def __init__(self, key: bytes, length: int, deviation: float, bands: int) -> None:
        self._key, self._length, self._deviation = key, length, deviation
        self._band = make_band(bands)
        self._past: deque[Vector] = deque(maxlen=bands - 1)  # the last noises, latest first
        self._step = 0

    def draw_step(self) -> Vector:
        """Draw the noise of the next step; (length,). It is z minus what the last noises cancel of it."""
        self._step += 1
        noise = self._deviation * _make_stream(self._key, f"step {self._step}").draw_normal(self._length)
        for coefficient, past in zip(self._band[1:], self._past, strict=False):
            noise -= coefficient * past
        self._past.appendleft(noise)
        return noise


def _make_stream(key: bytes, place: str) -> KeyStream:
    return KeyStream(derive_key(key, labels.make_prefix(labels.CORRELATED_NOISE) + place.encode()))
