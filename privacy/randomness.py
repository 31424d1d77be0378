"""Draw secret random numbers from an AES-256-CTR keystream: bytes, integers, uniforms and Gaussians.

Rules:

* One source serves masks, stochastic rounding, Poisson sampling and privacy noise.
* With a key from the operating system (:func:`from_os`) the output is as unpredictable as AES.
* With the same derived key (:mod:`privacy.key_derivation`) two sites draw the same masks.
* Normal deviates are computed by Box-Muller from 52-bit uniforms. ``docs/privacy.md`` says what that means for the
  floating-point attack.

Sources: NIST SP 800-38A, section 6.5 (counter mode); Box and Muller 1958.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

KEY_BYTES: Final = 32
_CHUNK: Final = 1 << 20  # values drawn at a time, so that a large draw needs little extra memory
_PAIRS: Final = 1 << 14  # pairs of normals computed at a time: they stay in the processor's cache
_ONE: Final = np.uint64(0x3FF << 52)  # sign and exponent of the floats in [1, 2)


class KeyStream:
    """Endless keystream. Each value is drawn once; the same key gives the same values in the same order.

    Args:
        key: 32 secret bytes, used for one purpose only (the counter starts at zero).
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a stream's key has {KEY_BYTES} bytes, got {len(key)}")
        self._cipher = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()

    def draw_bytes(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        return self._cipher.update(bytes(count))

    def draw_words(self, count: int) -> NDArray[np.uint64]:
        """Return the next ``count`` uniform 64-bit words; (count,)."""
        return np.frombuffer(self.draw_bytes(8 * count), dtype="<u8").astype(np.uint64)

    def draw_below(self, bound: int, count: int) -> NDArray[np.uint64]:
        """Draw ``count`` integers uniform in [0, bound); (count,).

        Values from ``bound`` on are rejected, so there is no modulo bias.

        Raises:
            ValueError: the bound is not in 1..2^63.
        """
        if not 0 < bound <= 1 << 63:
            raise ValueError(f"expected a bound in 1..2^63, got {bound}")
        # the fewest bits that hold bound - 1, so at least half of the candidates are below the bound
        shift = np.uint64(64 - max(1, (bound - 1).bit_length()))
        drawn = np.empty(count, dtype=np.uint64)
        filled = 0
        while filled < count:
            candidates = self.draw_words(min(_CHUNK, count - filled + 16)) >> shift
            kept = candidates[candidates < bound][: count - filled]
            drawn[filled : filled + len(kept)] = kept
            filled += len(kept)
        return drawn

    def draw_uniform(self, count: int) -> NDArray[np.float64]:
        """Draw ``count`` floats, uniform on the 2^52 midpoints of the open interval (0, 1); (count,).

        The top 52 bits of a word become the fraction of a float in [1, 2). One exact subtraction does the rest.
        """
        words = self.draw_words(count)
        np.right_shift(words, np.uint64(12), out=words)
        np.bitwise_or(words, _ONE, out=words)
        drawn = words.view(np.float64)
        drawn -= 1.0 - 2.0**-53
        return drawn

    def draw_normal(self, count: int) -> NDArray[np.float64]:
        """Draw ``count`` standard normal deviates in double precision (Box and Muller 1958); (count,).

        Each pair is computed from two 52-bit uniforms: a radius, and one of 2^52 angles. The radius is at most
        sqrt(2 * 53 * ln 2) = 8.57; beyond it a normal deviate lies with probability 1e-17.
        """
        drawn = np.empty(count, dtype=np.float64)
        with _load_vector_functions() as functions:
            for start in range(0, count, 2 * _PAIRS):
                part = drawn[start : start + 2 * _PAIRS]
                pairs = (len(part) + 1) // 2
                uniform = functions.from_numpy(self.draw_uniform(2 * pairs))
                radius = uniform[:pairs].log_().mul_(-2.0).sqrt_()
                angle = uniform[pairs:].mul_(2.0 * np.pi)
                filled, rest = functions.from_numpy(part), len(part) - pairs
                functions.cos(angle, out=filled[:pairs]).mul_(radius)
                functions.sin(angle[:rest], out=filled[pairs:]).mul_(radius[:rest])
        return drawn


@contextlib.contextmanager
def _load_vector_functions() -> Iterator[Any]:
    """Yield torch, restricted to one thread so that it never divides a block.

    Its sine and cosine take a tenth of numpy's time. It is imported here because most callers of a stream do not
    need torch.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield torch
    finally:
        torch.set_num_threads(threads)


def from_os() -> KeyStream:
    """Return a stream under a fresh key from the operating system."""
    return KeyStream(os.urandom(KEY_BYTES))
