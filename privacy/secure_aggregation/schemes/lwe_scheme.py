"""Seal a study under learning with errors, with Phong et al.'s dimension, modulus and errors, slot for slot.

* The secret, a matrix of 3,000 x 4,096 small integers, is derived from the study key, so the same sites hold it.
* The plaintext modulus p is the slots' own t, where the paper has 2^48 + 1: slots are added modulo t as everywhere.
  p times an error is an error to whoever divides by p modulo q, so security does not depend on p.
* Sites hold the secret, so that they encrypt without the public key, which would have 205 MB: c1 is uniform from a
  public seed of its own, drawn with AES-256 (as FrodoKEM draws its matrix), and the seed is sent in its place.
  The coordinator expands and adds them; a sum carries c1 whole.
* An error is at most 40, so the noise of 64 sites is below 2^55, where 2^76 is the limit: no sum opens wrongly.

**What is lost beside BFV.** 1.4 times the bytes up, 2.5 times down, 20 times the work, and a secret that fills 12 MB.
What is gained: learning with errors without a ring, whose structure nobody has used in an attack so far.

Parameters are limited to :data:`MOST_PARTS` parts, that is half a million values with two values a slot.
"""

import os
from functools import lru_cache
from typing import Final

import numpy as np

from privacy.errors import SealingError
from privacy.key_derivation import KeyPurpose, derive_stream
from privacy.randomness import KEY_BYTES, KeyStream
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS, SLOTS
from privacy.secure_aggregation.schemes.lwe import (
    Limbs,
    LweCiphertext,
    LweParameters,
    LweSecret,
    compute_bytes,
    draw_uniform,
    pack,
    reduce,
    unpack,
)
from privacy.secure_aggregation.schemes.scheme import PartSum, Slots, SumsOfParts, divide

MOST_PARTS: Final = 64
PARAMETERS: Final = LweParameters(plain_modulus=PLAIN_MODULUS)
_SECOND_BYTES: Final = compute_bytes(SLOTS, PARAMETERS)
_FIRST_BYTES: Final = compute_bytes(PARAMETERS.dimension, PARAMETERS)
_SUM_BYTES: Final = _FIRST_BYTES + _SECOND_BYTES


class LweScheme:
    """One part is a seed and a number modulo q for each slot."""

    sealed_bytes = KEY_BYTES + _SECOND_BYTES
    masked = True
    most_parts = MOST_PARTS

    def compute_sum_bytes(self, _sites: int) -> int:
        """See :class:`Scheme`."""
        return _SUM_BYTES

    def encrypt(self, key: StudyKey, slots: Slots) -> bytes:
        """See :class:`Scheme`."""
        secret, sealed = _derive_secret(key.to_bytes()), []
        for part in slots.reshape(-1, SLOTS):
            seed = os.urandom(KEY_BYTES)
            sealed += [seed, pack(secret.encrypt(part.astype(np.int64), _expand(seed)), PARAMETERS)]
        return b"".join(sealed)

    def decrypt(self, key: StudyKey, data: bytes | memoryview, _sites: int) -> Slots:
        """See :class:`Scheme`."""
        secret = _derive_secret(key.to_bytes())
        return np.concatenate(
            [secret.decrypt(_read_sum(part)).astype(np.uint64) for part in divide(data, _SUM_BYTES)]
        )

    def require_parts(self, data: bytes | memoryview) -> None:
        """See :class:`Scheme`."""
        if not len(data) or len(data) % self.sealed_bytes:
            raise SealingError(
                f"a sealed update is refused: expected {self.sealed_bytes} bytes for each part, got {len(data)}"
            )

    def make_sum(self, parts: int = 1) -> PartSum:
        """See :class:`Scheme`."""
        return SumsOfParts([LweSum() for _ in range(parts)], self.sealed_bytes)


class LweSum:
    """A sum of parts modulo q. Run by the coordinator."""

    def __init__(self) -> None:
        self._first: Limbs = np.zeros((3, PARAMETERS.dimension), dtype=np.int64)
        self._second: Limbs = np.zeros((3, SLOTS), dtype=np.int64)

    def require(self, _: bytes | memoryview) -> None:
        """See :class:`PartSum`: every well-formed part can be added."""

    def add(self, data: bytes | memoryview) -> None:
        """See :class:`PartSum`."""
        seed, second = bytes(data[:KEY_BYTES]), bytes(data[KEY_BYTES:])
        self._first = reduce(self._first + _expand(seed), PARAMETERS)
        self._second = reduce(self._second + unpack(second, SLOTS, PARAMETERS), PARAMETERS)

    def subtract(self, slots: Slots) -> None:
        """See :class:`PartSum`."""
        known = np.zeros_like(self._second)
        known[0] = slots  # a limb may be large before it is reduced
        self._second = reduce(self._second - known, PARAMETERS)

    def to_bytes(self) -> bytes:
        """See :class:`PartSum`."""
        return pack(self._first, PARAMETERS) + pack(self._second, PARAMETERS)


def _read_sum(data: bytes) -> LweCiphertext:
    if len(data) != _SUM_BYTES:
        raise SealingError(f"an aggregate is refused: expected {_SUM_BYTES} bytes, got {len(data)}")
    return LweCiphertext(
        unpack(data[:_FIRST_BYTES], PARAMETERS.dimension, PARAMETERS),
        unpack(data[_FIRST_BYTES:], SLOTS, PARAMETERS),
    )


def _expand(seed: bytes) -> Limbs:
    """Draw c1 from its public seed."""
    return draw_uniform(PARAMETERS, PARAMETERS.dimension, KeyStream(seed))


@lru_cache(maxsize=1)
def _derive_secret(study_key: bytes) -> LweSecret:
    return LweSecret.draw(PARAMETERS, SLOTS, derive_stream(study_key, KeyPurpose.LWE_SECRET))
