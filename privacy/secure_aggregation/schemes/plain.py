"""The scheme without encryption and without masks: for comparison, and for studies whose terms choose it."""

from typing import Final

import numpy as np

from privacy.errors import SealingError
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS, SLOTS
from privacy.secure_aggregation.schemes.scheme import PartSum, Slots

_OPEN_WORD_BYTES: Final = 6
_OPEN_BYTES: Final = SLOTS * _OPEN_WORD_BYTES


class PlainScheme:
    """Slots without encryption, little-endian in 6 bytes each. The coordinator can read every update."""

    sealed_bytes = _OPEN_BYTES
    masked = False
    most_parts = None

    def compute_sum_bytes(self, _sites: int) -> int:
        """See :class:`Scheme`."""
        return _OPEN_BYTES

    def encrypt(self, _: StudyKey, slots: Slots) -> bytes:
        """See :class:`Scheme`."""
        return _write(slots)

    def decrypt(self, _: StudyKey, data: bytes | memoryview, _sites: int) -> Slots:
        """See :class:`Scheme`."""
        return _read(data)

    def require_parts(self, data: bytes | memoryview) -> None:
        """See :class:`Scheme`."""
        _read(data)

    def make_sum(self, parts: int = 1) -> PartSum:
        """See :class:`Scheme`."""
        return PlainSum(parts)


class PlainSum:
    """A sum of slots without encryption, modulo t. Run by the coordinator."""

    def __init__(self, parts: int = 1) -> None:
        self._sum = np.zeros(parts * SLOTS, dtype=np.uint64)

    def require(self, _: bytes | memoryview) -> None:
        """See :class:`PartSum`: every well-formed part can be added."""

    def add(self, data: bytes | memoryview) -> None:
        """See :class:`PartSum`."""
        self._sum = (self._sum + _read(data)) % PLAIN_MODULUS

    def subtract(self, slots: Slots) -> None:
        """See :class:`PartSum`."""
        self._sum = (self._sum + PLAIN_MODULUS - slots) % PLAIN_MODULUS

    def to_bytes(self) -> bytes:
        """See :class:`PartSum`."""
        return _write(self._sum)


def _write(slots: Slots) -> bytes:
    return slots.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :_OPEN_WORD_BYTES].tobytes()


def _read(data: bytes | memoryview) -> Slots:
    if not len(data) or len(data) % _OPEN_BYTES:
        raise SealingError(
            f"an open update is refused: expected {_OPEN_BYTES} bytes for each part, got {len(data)}"
        )
    words = np.zeros((len(data) // _OPEN_WORD_BYTES, 8), dtype=np.uint8)
    words[:, :_OPEN_WORD_BYTES] = np.frombuffer(data, dtype=np.uint8).reshape(-1, _OPEN_WORD_BYTES)
    slots = words.reshape(-1).view("<u8").astype(np.uint64)
    if np.any(slots >= PLAIN_MODULUS):
        raise SealingError("an open update is refused: a slot is not below the plaintext modulus")
    return slots
