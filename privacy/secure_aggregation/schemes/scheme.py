"""The schemes under which a block of slots can travel: one small interface, and the scheme that hides nothing.

Sealing asks of a scheme only that slots modulo t can be turned into parts of a known size, that parts can be added and
known slots subtracted without a key, and that sums can be turned back.
:mod:`privacy.secure_aggregation.schemes.bfv` is the platform's scheme; :class:`PlainScheme` is the comparison: the
same path without masks and without encryption.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.secure_aggregation.schemes.bfv import StudyKey

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


class Scheme(Protocol):
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

    def require_part(self, data: bytes) -> None:
        """Run by the coordinator. Accept one site's part.

        Raises:
            SealingError: it is malformed.
        """
        ...

    def make_sum(self) -> PartSum:
        """Run by the coordinator. The sum of no parts yet."""
        ...
