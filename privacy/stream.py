"""Random numbers nobody can predict: an AES-256-CTR keystream, read as integers, uniforms and Gaussians.

One source for masks, stochastic rounding, Poisson sampling and privacy noise. With a key from the operating
system (:func:`from_os`) its output is as unpredictable as AES; with a derived key two sites draw the same masks.
Normal deviates are Box-Muller on 52-bit uniforms; ``docs/privacy.md`` says what that means for the
floating-point attack.
"""

import os
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

KEY_BYTES: Final = 32
_CHUNK: Final = 1 << 20  # values drawn at a time, so that a large draw needs little memory of its own


class Stream:
    """An endless keystream. Each value is drawn once; the same key gives the same values in the same order.

    Args:
        key: 32 secret bytes, used for one purpose only (the counter starts at zero).
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a stream's key has {KEY_BYTES} bytes, got {len(key)}")
        self._cipher = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()

    def bytes(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        return self._cipher.update(bytes(count))

    def words(self, count: int) -> NDArray[np.uint64]:
        """The next ``count`` uniform 64-bit words, (count,)."""
        return np.frombuffer(self.bytes(8 * count), dtype="<u8").astype(np.uint64)

    def below(self, bound: int, count: int) -> NDArray[np.uint64]:
        """``count`` integers uniform in [0, bound), by rejection, so without modulo bias; (count,)."""
        if not 0 < bound <= 1 << 63:
            raise ValueError(f"expected a bound in 1..2^63, got {bound}")
        shift = np.uint64(64 - max(1, (bound - 1).bit_length()))
        drawn = np.empty(count, dtype=np.uint64)
        filled = 0
        while filled < count:
            candidates = self.words(min(_CHUNK, count - filled + 16)) >> shift
            kept = candidates[candidates < bound][: count - filled]
            drawn[filled : filled + len(kept)] = kept
            filled += len(kept)
        return drawn

    def uniform(self, count: int) -> NDArray[np.float64]:
        """``count`` floats uniform on the 2^52 midpoints of the open interval (0, 1); (count,)."""
        return ((self.words(count) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52

    def normal(self, count: int) -> NDArray[np.float64]:
        """``count`` standard normal deviates (Box and Muller 1958); (count,)."""
        drawn = np.empty(count, dtype=np.float64)
        for start in range(0, count, _CHUNK):
            part = drawn[start : start + _CHUNK]
            pairs = (len(part) + 1) // 2
            radius = np.sqrt(-2.0 * np.log(self.uniform(pairs)))
            angle = 2.0 * np.pi * self.uniform(pairs)
            part[:pairs] = radius * np.cos(angle)
            part[pairs:] = (radius * np.sin(angle))[: len(part) - pairs]
        return drawn


def from_os() -> Stream:
    """A stream under a fresh key from the operating system."""
    return Stream(os.urandom(KEY_BYTES))
