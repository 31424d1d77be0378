"""The interface of an encryption scheme for sealed updates.

* A scheme turns slots modulo t into parts of a known size, and a sum of parts back into slots.
* Parts are added, and known slots subtracted, without a key.
* :mod:`privacy.secure_aggregation.schemes.bfv` is the platform's scheme.
* :mod:`privacy.secure_aggregation.schemes.plain` is for comparison: the same steps without masks and encryption.
* :mod:`privacy.secure_aggregation.schemes.paillier_scheme` and :mod:`privacy.secure_aggregation.schemes.lwe_scheme`
  are those of Phong et al. (2018) under the same masks, for studies that a site's policy allows to name them.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.secure_aggregation.schemes.bfv import StudyKey

Slots = NDArray[np.uint64]
"""(SLOTS,), or (n * SLOTS,) of n consecutive parts; each below the plaintext modulus t."""


class PartSum(Protocol):
    """The sums of n consecutive parts over the sites; no key is needed. Run by the coordinator."""

    def require(self, data: bytes | memoryview) -> None:
        """Check that well-formed parts can be added to what was added before; nothing changes.

        Raises:
            SealingError: it cannot.
        """
        ...

    def add(self, data: bytes | memoryview) -> None:
        """Add one site's parts, in place."""
        ...

    def subtract(self, slots: Slots) -> None:
        """Subtract known slots, in place."""
        ...

    def to_bytes(self) -> bytes:
        """Return the sums, each as long as :meth:`Scheme.compute_sum_bytes` says."""
        ...


class Scheme(Protocol):
    """An encryption scheme for sealed updates."""

    sealed_bytes: int
    """Exact size of one site's part."""
    masked: bool
    """Whether slots are masked before they are encrypted; otherwise the coordinator can read them."""

    @property
    def most_parts(self) -> int | None:
        """The most parts of one vector; None where the scheme sets no limit."""
        ...

    def compute_sum_bytes(self, sites: int) -> int:
        """Compute the exact size of a sum of the parts of ``sites`` sites."""
        ...

    def encrypt(self, key: StudyKey, slots: Slots) -> bytes:
        """Encrypt the slots of n parts; the result is n * sealed_bytes long.

        Run by a site.
        """
        ...

    def decrypt(self, key: StudyKey, data: bytes | memoryview, sites: int) -> Slots:
        """Decrypt the sums of n parts of ``sites`` sites to their slots.

        Run by a site.

        Raises:
            SealingError: it is malformed.
        """
        ...

    def require_parts(self, data: bytes | memoryview) -> None:
        """Check consecutive parts of one site.

        Run by the coordinator.

        Raises:
            SealingError: one is malformed.
        """
        ...

    def make_sum(self, parts: int = 1) -> PartSum:
        """Make empty sums of consecutive ``parts``.

        Run by the coordinator.
        """
        ...


def divide(data: bytes | memoryview, size: int) -> list[bytes]:
    """Return each of the parts, or sums, of ``size`` bytes in ``data``; the last is shorter where bytes are missing."""
    return [bytes(data[start : start + size]) for start in range(0, max(len(data), 1), size)]


class SumsOfParts:
    """Several sums of one part each, as one :class:`PartSum`.

    Args:
        sums: one for each part.
        size: bytes of a part.
    """

    def __init__(self, sums: Sequence[PartSum], size: int) -> None:
        self._sums = sums
        self._size = size

    def require(self, data: bytes | memoryview) -> None:
        """See :class:`PartSum`."""
        for total, part in zip(self._sums, divide(data, self._size), strict=True):
            total.require(part)

    def add(self, data: bytes | memoryview) -> None:
        """See :class:`PartSum`."""
        for total, part in zip(self._sums, divide(data, self._size), strict=True):
            total.add(part)

    def subtract(self, slots: Slots) -> None:
        """See :class:`PartSum`."""
        for total, some in zip(self._sums, slots.reshape(len(self._sums), -1), strict=True):
            total.subtract(some)

    def to_bytes(self) -> bytes:
        """See :class:`PartSum`."""
        return b"".join(total.to_bytes() for total in self._sums)
