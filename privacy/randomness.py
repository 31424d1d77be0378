"""Draw secret random numbers from an AES-256-CTR keystream: bytes, integers, uniforms and Gaussians.

Rules:

* One source serves masks, stochastic rounding, Poisson sampling and privacy noise.
* With a key from the operating system (:func:`from_os`) the output is as unpredictable as AES.
* With the same derived key (:mod:`privacy.key_derivation`) two sites draw the same masks.
* Normal deviates are computed by Box-Muller from 52-bit uniforms. ``docs/privacy.md`` says what that means for the
  floating-point attack.
* Normal deviates are computed in blocks, each from bytes of its own. So several threads may compute them
  (:meth:`KeyStream.divide_normals`), and they are the same to the bit, however many threads there are.

Sources: NIST SP 800-38A, section 6.5 (counter mode); Box and Muller 1958.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

KEY_BYTES: Final = 32
_CHUNK: Final = 1 << 20  # values drawn at a time, so that a large draw needs little extra memory
_BLOCK: Final = 1 << 15  # normals computed at a time, an even number: they stay in the processor's cache
_COUNTER_BYTES: Final = 16  # of the keystream for each value of the counter
_ZEROS: Final = memoryview(bytes(1 << 18))  # what is encrypted: a block of normals takes as many bytes
_ONE: Final = np.uint64(0x3FF << 52)  # sign and exponent of the floats in [1, 2)


class KeyStream:
    """Endless keystream. Each value is drawn once; the same key gives the same values in the same order.

    Args:
        key: 32 secret bytes, used for one purpose only (the counter starts at zero).
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a stream's key has {KEY_BYTES} bytes, got {len(key)}")
        self._key = key
        self._move(0)

    def draw_bytes(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        self._position += count
        return self._cipher.update(bytes(count))

    def draw_words(self, count: int) -> NDArray[np.uint64]:
        """Return the next ``count`` uniform 64-bit words; (count,)."""
        return self._draw_words_into(_make_room(count), count)

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
            candidates = self.draw_words(min(_CHUNK, count - filled + 16))
            candidates >>= shift
            kept = candidates[: count - filled]
            if kept.max() >= bound:  # rare, where the bound is nearly a power of two
                kept = candidates[candidates < bound][: count - filled]
            if len(kept) == count:
                return kept
            drawn[filled : filled + len(kept)] = kept
            filled += len(kept)
        return drawn

    def draw_uniform(self, count: int) -> NDArray[np.float64]:
        """Draw ``count`` floats, uniform on the 2^52 midpoints of the open interval (0, 1); (count,).

        The top 52 bits of a word become the fraction of a float in [1, 2). One exact subtraction does the rest.
        """
        return _turn_uniform(self.draw_words(count))

    def draw_normal(self, count: int) -> NDArray[np.float64]:
        """Draw ``count`` standard normal deviates in double precision (Box and Muller 1958); (count,).

        Each pair is computed from two 52-bit uniforms: a radius, and one of 2^52 angles. The radius is at most
        sqrt(2 * 53 * ln 2) = 8.57; beyond it a normal deviate lies with probability 1e-17.
        """
        drawn, room = np.empty(count, dtype=np.float64), _Room.make(count)
        with load_vector_functions() as functions:
            for start in range(0, count, _BLOCK):
                some = drawn[start : start + _BLOCK]
                some[:] = self._draw_block(len(some), room, functions)
        return drawn

    def divide_normals(self, count: int, parts: int) -> "list[NormalPart]":
        """Divide the next ``count`` normal deviates into at most ``parts``, for as many threads.

        Together they are what :meth:`draw_normal` would have drawn. The stream continues behind them.
        """
        blocks = -(-count // _BLOCK)
        cuts = [min(count, _BLOCK * (blocks * part // parts)) for part in range(parts + 1)]
        begin, divided = self._position, []
        for start, stop in pairwise(cuts):
            if start < stop:
                # whole blocks lie before, and a deviate of a whole block takes one word
                divided.append(NormalPart(start, stop, self._key, begin + 8 * start))
        self._move(begin + 8 * (count + count % 2))
        return divided

    def _draw_words_into(self, room: NDArray[np.uint8], count: int) -> NDArray[np.uint64]:
        """Return the next ``count`` words, in the memory of ``room``."""
        self._position += 8 * count
        zeros = _ZEROS[: 8 * count] if 8 * count <= len(_ZEROS) else bytes(8 * count)
        self._cipher.update_into(zeros, room.data)
        return room[: 8 * count].view("<u8").astype(np.uint64, copy=False)

    def _draw_block(self, count: int, room: "_Room", functions: Any) -> NDArray[np.float64]:
        """Draw at most one block of normal deviates; (count,), in the memory of ``room``."""
        pairs = (count + 1) // 2
        uniform = _turn_uniform(self._draw_words_into(room.words, 2 * pairs))
        radius, angle = uniform[:pairs], uniform[pairs:]
        np.log(radius, out=radius)  # as exact as torch's, in a third of its time, and so is the root
        radius *= -2.0
        np.sqrt(radius, out=radius)
        angle *= 2.0 * np.pi
        turned, cosine = functions.from_numpy(angle), room.spare[:pairs]
        functions.cos(turned, out=functions.from_numpy(cosine))
        turned.sin_()
        angle *= radius
        radius *= cosine
        return uniform[:count]

    def _move(self, position: int) -> None:
        """Continue at byte ``position`` of the keystream."""
        counter, inside = divmod(position, _COUNTER_BYTES)
        nonce = counter.to_bytes(_COUNTER_BYTES, "big")
        self._cipher = Cipher(algorithms.AES256(self._key), modes.CTR(nonce)).encryptor()
        if inside:
            self._cipher.update(bytes(inside))
        self._position = position


@dataclass(frozen=True, repr=False)
class NormalPart:
    """Some of the normal deviates that a stream divided: those from ``start`` to ``stop``."""

    start: int
    stop: int
    _key: bytes
    _position: int

    def draw(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield places and deviates block by block, in any thread. Use each before the next, whose memory it shares.

        They are the same ones every time, so call it once.
        """
        stream = KeyStream(self._key)
        stream._move(self._position)
        room = _Room.make(self.stop - self.start)
        with load_vector_functions() as functions:
            for start in range(self.start, self.stop, _BLOCK):
                place = slice(start, min(start + _BLOCK, self.stop))
                yield place, stream._draw_block(place.stop - place.start, room, functions)


@dataclass(frozen=True)
class _Room:
    """Memory for one block of normals: its words, which become the normals, and as much as half of them beside."""

    words: NDArray[np.uint8]
    spare: NDArray[np.float64]

    @classmethod
    def make(cls, count: int) -> Self:
        pairs = (min(count, _BLOCK) + 1) // 2
        return cls(_make_room(2 * pairs), np.empty(pairs, dtype=np.float64))


def _make_room(words: int) -> NDArray[np.uint8]:
    """Return memory for so many words; the cipher asks for nearly one value of its counter more."""
    return np.empty(8 * words + _COUNTER_BYTES, dtype=np.uint8)


def _turn_uniform(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Turn words into uniform floats, in their memory."""
    np.right_shift(words, np.uint64(12), out=words)
    np.bitwise_or(words, _ONE, out=words)
    drawn = words.view(np.float64)
    drawn -= 1.0 - 2.0**-53
    return drawn


@contextlib.contextmanager
def load_vector_functions() -> Iterator[Any]:
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
