"""Random numbers nobody can predict: an AES-256-CTR keystream, read as integers, uniforms and Gaussians.

One source for masks, stochastic rounding, Poisson sampling and privacy noise. With a key from the operating
system (:func:`from_os`) its output is as unpredictable as AES; with a derived key two sites draw the same masks.
Normal deviates are Box-Muller on 52-bit uniforms; ``docs/privacy.md`` says what that means for the
floating-point attack.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

KEY_BYTES: Final = 32
_CHUNK: Final = 1 << 20  # values drawn at a time, so that a large draw needs little memory of its own
_PAIRS: Final = 1 << 14  # pairs of normals made at a time, which stay in the processor's cache
_ONE: Final = np.uint64(0x3FF << 52)  # sign and exponent of the floats in [1, 2)


class KeyStream:
    """An endless keystream. Each value is drawn once; the same key gives the same values in the same order.

    Args:
        key: 32 secret bytes, used for one purpose only (the counter starts at zero).
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a stream's key has {KEY_BYTES} bytes, got {len(key)}")
        self._cipher = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()

    def draw_bytes(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        return self._cipher.update(bytes(count))

    def draw_words(self, count: int) -> NDArray[np.uint64]:
        """The next ``count`` uniform 64-bit words, (count,)."""
        return np.frombuffer(self.draw_bytes(8 * count), dtype="<u8").astype(np.uint64)

    def draw_below(self, bound: int, count: int) -> NDArray[np.uint64]:
        """``count`` integers uniform in [0, bound), by rejection, so without modulo bias; (count,)."""
        if not 0 < bound <= 1 << 63:
            raise ValueError(f"expected a bound in 1..2^63, got {bound}")
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
        """``count`` floats uniform on the 2^52 midpoints of the open interval (0, 1); (count,).

        The top 52 bits of a word become the fraction of a float in [1, 2); the rest is one exact subtraction.
        """
        words = self.draw_words(count)
        np.right_shift(words, np.uint64(12), out=words)
        np.bitwise_or(words, _ONE, out=words)
        drawn = words.view(np.float64)
        drawn -= 1.0 - 2.0**-53
        return drawn

    def draw_normal(self, count: int) -> NDArray[np.float64]:
        """``count`` standard normal deviates (Box and Muller 1958); (count,).

        Each pair is made of two 52-bit uniforms: a radius of at most sqrt(2 * 53 * ln 2) = 8.57, beyond which a
        normal deviate lies with probability 1e-17, and one of 2^52 angles. In double precision.
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
    """torch, whose sine and cosine take a tenth of numpy's time; on one thread, so that a block is never divided.

    Imported here because most of what draws from a stream starts without torch.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield torch
    finally:
        torch.set_num_threads(threads)


def from_os() -> KeyStream:
    """A stream under a fresh key from the operating system."""
    return KeyStream(os.urandom(KEY_BYTES))
