"""The schemes under which a block of slots can travel: one small interface, and the scheme that hides nothing.

Sealing asks of a scheme only that slots modulo t can be turned into parts of a known size, that parts can be added and
known slots subtracted without a key, and that sums can be turned back.
:mod:`privacy.secure_aggregation.schemes.bfv` is the platform's scheme; :class:`OpenCipher` is the comparison: the
same path without masks and without encryption.
"""

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.secure_aggregation.schemes.bfv import CiphertextSum, StudyKey, require_sealed
from privacy.secure_aggregation.schemes.bfv_parameters import AGGREGATE_BYTES, PLAIN_MODULUS, SEALED_BYTES, SLOTS
from privacy.study import Scheme

Slots = NDArray[np.uint64]
"""(SLOTS,), each below the plaintext modulus t."""


class PartSum(Protocol):
    """Run by the coordinator. The sum of one part over the sites; no key is needed."""

    def add(self, data: bytes) -> None:
        """Add one site's part, in place."""
        ...

    def subtract(self, slots: Slots) -> None:
        """Subtract known slots, in place."""
        ...

    def to_bytes(self) -> bytes:
        """The sum, ``aggregate_bytes`` long."""
        ...


class Cipher(Protocol):
    """A scheme."""

    sealed_bytes: int
    """Exact size of one site's part."""
    aggregate_bytes: int
    """Exact size of a sum of parts."""
    masked: bool
    """Whether slots are masked before they are encrypted: else whoever adds them can read them."""

    def encrypt(self, key: StudyKey, slots: Slots) -> bytes:
        """Run by a site. One part."""
        ...

    def decrypt(self, key: StudyKey, data: bytes) -> Slots:
        """Run by a site. The slots of a sum of parts.

        Raises:
            SealingError: it is malformed.
        """
        ...

    def require(self, data: bytes) -> None:
        """Run by the coordinator. Accept one site's part.

        Raises:
            SealingError: it is malformed.
        """
        ...

    def new_sum(self) -> PartSum:
        """Run by the coordinator. The sum of no parts yet."""
        ...


class BfvCipher:
    """BFV: one part is one ciphertext."""

    sealed_bytes = SEALED_BYTES
    aggregate_bytes = AGGREGATE_BYTES
    masked = True

    def encrypt(self, key: StudyKey, slots: Slots) -> bytes:
        """See :class:`Cipher`."""
        return key.encrypt(slots)

    def decrypt(self, key: StudyKey, data: bytes) -> Slots:
        """See :class:`Cipher`."""
        return key.decrypt(data)

    def require(self, data: bytes) -> None:
        """See :class:`Cipher`."""
        require_sealed(data)

    def new_sum(self) -> PartSum:
        """See :class:`Cipher`."""
        return CiphertextSum()


_OPEN_WORD_BYTES: Final = 6
_OPEN_BYTES: Final = SLOTS * _OPEN_WORD_BYTES


class OpenCipher:
    """No scheme: slots travel as they are, little-endian in 6 bytes each. The coordinator reads every update."""

    sealed_bytes = _OPEN_BYTES
    aggregate_bytes = _OPEN_BYTES
    masked = False

    def encrypt(self, _: StudyKey, slots: Slots) -> bytes:
        """See :class:`Cipher`."""
        return _write(slots)

    def decrypt(self, _: StudyKey, data: bytes) -> Slots:
        """See :class:`Cipher`."""
        return _read(data)

    def require(self, data: bytes) -> None:
        """See :class:`Cipher`."""
        _read(data)

    def new_sum(self) -> PartSum:
        """See :class:`Cipher`."""
        return OpenSum()


class OpenSum:
    """Run by the coordinator. A sum of slots in the clear, modulo t."""

    def __init__(self) -> None:
        self._sum = np.zeros(SLOTS, dtype=np.uint64)

    def add(self, data: bytes) -> None:
        """See :class:`PartSum`."""
        self._sum = (self._sum + _read(data)) % PLAIN_MODULUS

    def subtract(self, slots: Slots) -> None:
        """See :class:`PartSum`."""
        self._sum = (self._sum + PLAIN_MODULUS - slots) % PLAIN_MODULUS

    def to_bytes(self) -> bytes:
        """See :class:`PartSum`."""
        return _write(self._sum)


CIPHERS: Final[dict[Scheme, Cipher]] = {Scheme.BFV: BfvCipher(), Scheme.OPEN: OpenCipher()}


def _write(slots: Slots) -> bytes:
    return slots.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :_OPEN_WORD_BYTES].tobytes()


def _read(data: bytes) -> Slots:
    if len(data) != _OPEN_BYTES:
        raise SealingError(f"an open update is refused: expected {_OPEN_BYTES} bytes, got {len(data)}")
    words = np.zeros((SLOTS, 8), dtype=np.uint8)
    words[:, :_OPEN_WORD_BYTES] = np.frombuffer(data, dtype=np.uint8).reshape(-1, _OPEN_WORD_BYTES)
    slots = words.reshape(-1).view("<u8").astype(np.uint64)
    if np.any(slots >= PLAIN_MODULUS):
        raise SealingError("an open update is refused: a slot is not below the plaintext modulus")
    return slots
