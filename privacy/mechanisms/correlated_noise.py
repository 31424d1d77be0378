"""Draw noise that is correlated over steps: DP-FTRL's tree, and banded matrix factorisation.

What it costs is in ``privacy/accounting/correlated_noise.py``.

Rules:

* the noise of a step depends on a secret key, on the step, and on the noise of earlier steps alone, so that a step that
  is drawn again after a crash has the same noise; no two nodes or steps share a stream;
* :class:`TreeNoise` gives the noise of the sum of the first t gradients: one node for each one among the binary digits
  of t. Their difference from step to step is what a step's gradient gets. :class:`TreesInTurn` begins a new tree with
  each pass;
* :class:`BandedNoise` gives C^-1 z, the noise of one step's gradient, from the noises of the last steps: as much
  memory as there are bands. A run may be divided: what follows takes over the last noises, and a key of its own.

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


class TreesInTurn:
    """Noise of single steps, by a new tree for each pass; steps are drawn in their order.

    Args:
        key: 32 secret bytes; new ones for each run.
        length: of the vectors.
        deviation: of the noise of one node.
        leaves: steps of a pass.
    """

    def __init__(self, key: bytes, length: int, deviation: float, leaves: int) -> None:
        self._key, self._length, self._deviation, self._leaves = key, length, deviation, leaves
        self._step = 0

    def draw_step(self) -> Vector:
        """Draw the noise of the next step; (length,)."""
        number, place = divmod(self._step, self._leaves)
        if place == 0:
            key = derive_key(self._key, labels.make_prefix(labels.CORRELATED_NOISE) + f"tree {number}".encode())
            self._tree, self._before = TreeNoise(key, self._length, self._deviation), np.zeros(self._length)
        self._step += 1
        now = self._tree.draw_prefix(place + 1)
        drawn, self._before = now - self._before, now
        return drawn


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
        key: 32 secret bytes; new ones for each run, and for each part of one.
        length: of the vectors.
        deviation: of the independent noise z: noise multiplier times clipping norm.
        bands: over how many steps it is correlated; 1 is independent noise.
        past: (bands - 1, length) the noises of the last steps before, the latest first; zeros where there was none.
            None: there was no step before.

    Raises:
        ValueError: ``past`` has another shape.
    """

    def __init__(self, key: bytes, length: int, deviation: float, bands: int, past: Vector | None = None) -> None:
        self._key, self._length, self._deviation = key, length, deviation
        self._band = make_band(bands)
        begin = np.zeros((bands - 1, length)) if past is None else past
        if begin.shape != (bands - 1, length):
            raise ValueError(
                f"expected past noise of shape {(bands - 1, length)}, for {bands} bands, got {begin.shape}"
            )
        self._past = deque(begin, maxlen=bands - 1)  # the last noises, latest first
        self._step = 0

    def draw_step(self) -> Vector:
        """Draw the noise of the next step; (length,). It is z minus what the last noises cancel of it."""
        self._step += 1
        noise = self._deviation * _make_stream(self._key, f"step {self._step}").draw_normal(self._length)
        for coefficient, past in zip(self._band[1:], self._past, strict=True):
            noise -= coefficient * past
        self._past.appendleft(noise)
        return noise

    def stack_past(self) -> Vector:
        """Return the noises of the last steps, the latest first, for the run that carries this one on.

        (bands - 1, length); zeros where there was none. *Secret*: with it a sum that was sent shows what it sums.
        """
        return np.stack(list(self._past)) if self._past else np.empty((0, self._length))


def _make_stream(key: bytes, place: str) -> KeyStream:
    return KeyStream(derive_key(key, labels.make_prefix(labels.CORRELATED_NOISE) + place.encode()))
