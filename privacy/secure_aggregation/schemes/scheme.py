"""The interface of an encryption scheme for sealed updates.

* A scheme turns slots modulo t into parts of a known size, and a sum of parts back into slots.
* Parts are added, and known slots subtracted, without a key.
* :mod:`privacy.secure_aggregation.schemes.bfv` is the platform's scheme.
* :mod:`privacy.secure_aggregation.schemes.plain` is for comparison: the same steps without masks and encryption.
* :mod:`privacy.secure_aggregation.schemes.paillier_scheme` and :mod:`privacy.secure_aggregation.schemes.lwe_scheme`
  are those of Phong et al. (2018) under the same masks, for studies that a site's policy allows to name them.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.secure_aggregation.schemes.bfv import StudyKey

Slots = NDArray[np.uint64]
"""(SLOTS,), or (n * SLOTS,) of n consecutive parts; each below the plaintext modulus t."""


class PartSum(Protocol):
    """The sum of one part over the sites; no key is needed. Run by the coordinator."""

    def require(self, data: bytes) -> None:
        """Check that a well-formed part can be added to what was added before; nothing changes.

        Raises:
            SealingError: it cannot.
        """
        ...

    def add(self, data: bytes) -> None:
        """Add one site's part, in place."""
        ...

    def subtract(self, slots: Slots) -> None:
        """Subtract known slots, in place."""
        ...

    def to_bytes(self) -> bytes:
        """Return the sum, as long as :meth:`Scheme.compute_sum_bytes` says."""
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

    def require_part(self, data: bytes) -> None:
        """Check one site's part.

        Run by the coordinator.

        Raises:
            SealingError: it is malformed.
        """
        ...

    def make_sum(self) -> PartSum:
        """Make an empty sum.

        Run by the coordinator.
        """
        ...


def divide(data: bytes | memoryview, size: int) -> list[bytes]:
    """Return each of the parts, or sums, of ``size`` bytes in ``data``; the last is shorter where bytes are missing."""
    return [bytes(data[start : start + size]) for start in range(0, max(len(data), 1), size)]
