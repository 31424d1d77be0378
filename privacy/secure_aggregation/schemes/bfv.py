"""BFV under the study key: fresh ciphertexts, their sum without a key, and what opens of it.

For slots m below t and the key s, a fresh ciphertext is, modulo q and X^N + 1,

    c0 = round(q m / t) - a s + e,   and the public seed of a

* a is uniform, expanded from a fresh seed, which is sent in its place. e is fresh, of SEAL's distribution.
* First polynomials are added as integers modulo q. A sum carries the seeds of its parts: its second polynomial is the
  sum of their expansions, so that it has half the bytes.
* Nothing from outside chooses what SEAL parses: only the product with the key needs SEAL
  (:mod:`privacy.secure_aggregation.schemes.ring`), polynomials come as coefficients of fixed width
  (:mod:`privacy.secure_aggregation.schemes.coefficients`), and every coefficient is checked.
* A slot is a plaintext coefficient: sums need no batching.

Scheme: Brakerski 2012, Fan and Vercauteren 2012; symmetric, as in Microsoft SEAL 4.
"""

import hashlib
import os
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy import labels
from privacy.errors import SealingError
from privacy.key_derivation import KeyPurpose, derive
from privacy.randomness import KeyStream, from_os
from privacy.secure_aggregation.schemes.bfv_parameters import (
    COEFFICIENT_MODULUS,
    KEY_BYTES,
    PLAIN_MODULUS,
    POLYNOMIAL_BYTES,
    RING_DEGREE,
    SEALED_BYTES,
    SEED_BYTES,
)
from privacy.secure_aggregation.schemes.coefficients import (
    Polynomial,
    pack_polynomial,
    require_polynomial,
    unpack_polynomial,
)
from privacy.secure_aggregation.schemes.ring import RingSecret
from privacy.secure_aggregation.schemes.ring_errors import draw_errors

_KEY_LABEL: Final = hashlib.sha256(
    f"{labels.STUDY_KEY} {RING_DEGREE} {COEFFICIENT_MODULUS} {PLAIN_MODULUS}".encode("ascii")
).digest()
_COMMITMENT_LABEL: Final = labels.make_prefix(labels.STUDY_KEY_COMMITMENT)
_Q: Final = np.uint64(COEFFICIENT_MODULUS)
_T: Final = np.uint64(PLAIN_MODULUS)
_WHOLE: Final = np.uint64(COEFFICIENT_MODULUS // PLAIN_MODULUS)
_REST: Final = (COEFFICIENT_MODULUS % PLAIN_MODULUS) / PLAIN_MODULUS
_ZERO: Final = np.zeros(RING_DEGREE, dtype=np.uint64)


class StudyKey:
    """The key of one key epoch of a study. Sites hold it in memory; the coordinator never does."""

    def __init__(self, secret: RingSecret) -> None:
        self._secret = secret
        self._coefficients = pack_polynomial(secret.transformed)

    @classmethod
    def generate(cls) -> "StudyKey":
        """Draw a fresh key from the operating system's randomness.

        Run by the lead site.
        """
        return cls(RingSecret.generate())

    @classmethod
    def from_bytes(cls, data: bytes) -> "StudyKey":
        """Load a key that :meth:`to_bytes` wrote.

        Run by a site that received the key.

        Raises:
            SealingError: another length, other parameters, or a coefficient beyond the modulus.
        """
        if len(data) != KEY_BYTES:
            raise SealingError(f"the study key is refused: expected {KEY_BYTES} bytes, got {len(data)}")
        if not data.startswith(_KEY_LABEL):
            raise SealingError("the study key is refused: it was made for other parameters of the scheme")
        return cls(RingSecret.load(unpack_polynomial(data[len(_KEY_LABEL) :], "study key")))

    def to_bytes(self) -> bytes:
        """Return the key, :data:`KEY_BYTES` long, to be wrapped for a pinned peer."""
        return _KEY_LABEL + self._coefficients

    @property
    def commitment(self) -> str:
        """SHA-256 of the key, which others may see: it shows when sites received different keys."""
        return hashlib.sha256(_COMMITMENT_LABEL + self.to_bytes()).hexdigest()

    @property
    def check_key(self) -> bytes:
        """The key of the check fields: every site that can open an aggregate can also check it."""
        return derive(self.to_bytes(), KeyPurpose.CHECK_KEY)

    @property
    def digest_key(self) -> bytes:
        """The key of model digests: only sites can compute or test them."""
        return derive(self.to_bytes(), KeyPurpose.MODEL_DIGEST)

    def encrypt(self, slots: NDArray[np.uint64]) -> bytes:
        """Encrypt ``slots``, (SLOTS,), each below the plaintext modulus, as one ciphertext; SEALED_BYTES long."""
        seed = os.urandom(SEED_BYTES)
        hidden = scale_plaintext(slots)
        hidden += (COEFFICIENT_MODULUS + draw_errors(RING_DEGREE, from_os())).astype(np.uint64)
        # the key's product can only be added to: -(q m / t + e) + a s, and negated
        negated = self._secret.multiply_and_add(expand_seed(seed), (2 * _Q - hidden) % _Q)
        return pack_polynomial((_Q - negated) % _Q) + seed

    def decrypt(self, data: bytes, sites: int) -> NDArray[np.uint64]:
        """Decrypt one ciphertext of an aggregate of ``sites`` sites to its slots, (SLOTS,).

        Raises:
            SealingError: another length, or a coefficient beyond the modulus.
        """
        expected = compute_sum_bytes(sites)
        if len(data) != expected:
            raise SealingError(f"an aggregate is refused: expected {expected} bytes, got {len(data)}")
        first, second = unpack_polynomial(data[:POLYNOMIAL_BYTES], "aggregate"), _ZERO
        for start in range(POLYNOMIAL_BYTES, len(data), SEED_BYTES):
            second = second + expand_seed(data[start : start + SEED_BYTES])
        scaled = self._secret.multiply_and_add(second % _Q, first)
        # the float errs by less than 2^-8 of a slot, which the bound of the noise counts
        slots: NDArray[np.uint64] = np.rint(scaled * (PLAIN_MODULUS / COEFFICIENT_MODULUS)).astype(np.uint64)
        slots %= _T
        return slots


def compute_sum_bytes(sites: int) -> int:
    """Compute the exact size of a sum of one ciphertext of each of ``sites`` sites."""
    return POLYNOMIAL_BYTES + sites * SEED_BYTES


def expand_seed(seed: bytes) -> Polynomial:
    """Expand a public seed to a polynomial that is uniform modulo q."""
    return KeyStream(seed).draw_below(COEFFICIENT_MODULUS, RING_DEGREE)


def require_sealed(data: bytes) -> None:
    """Check that ``data`` is one fresh ciphertext from a site.

    Run by the coordinator.

    Raises:
        SealingError: another length, or a coefficient beyond the modulus.
    """
    if len(data) != SEALED_BYTES:
        raise SealingError(f"a sealed update is refused: expected {SEALED_BYTES} bytes, got {len(data)}")
    require_polynomial(data[:POLYNOMIAL_BYTES], "sealed update")


class CiphertextSum:
    """One ciphertext of an aggregate, summed without a key. Run by the coordinator."""

    def __init__(self) -> None:
        # 64 bits hold the sum of 1,023 coefficients below 2^54; noise allows fewer sites (require_noise_room)
        self._first = np.zeros(RING_DEGREE, dtype=np.uint64)
        self._seeds: list[bytes] = []

    def require(self, _: bytes) -> None:
        """See :class:`PartSum`: every well-formed part can be added."""

    def add(self, data: bytes) -> None:
        """Add one fresh ciphertext, which :func:`require_sealed` accepts, in place."""
        self._first += unpack_polynomial(data[:POLYNOMIAL_BYTES], "sealed update")
        self._seeds.append(data[POLYNOMIAL_BYTES:])

    def subtract(self, slots: NDArray[np.uint64]) -> None:
        """Subtract known ``slots``, (SLOTS,), each below the plaintext modulus, in place."""
        self._first = (self._first + (_Q - scale_plaintext(slots))) % _Q

    def to_bytes(self) -> bytes:
        """Return the sum, as long as :func:`compute_sum_bytes` says."""
        return b"".join([pack_polynomial(self._first % _Q), *self._seeds])


def scale_plaintext(slots: NDArray[np.uint64]) -> Polynomial:
    """Compute q m / t for each slot m below t, rounded to one of its two nearest integers, below q.

    With r = q mod t it is m floor(q / t) + m r / t. The last term is rounded in double precision: where it is half an
    integer, almost, either neighbour may come.
    """
    scaled = slots * _WHOLE
    scaled += np.rint(slots * _REST).astype(np.uint64)
    return scaled
