"""BFV under the study key: fresh ciphertexts, their sum without a key, and what opens of it.

For slots m below t and the key s, a fresh ciphertext is, modulo q and X^N + 1,

    c0 = round(q m / t) - a s + e,   and the public seed of a

* a is uniform, expanded from a fresh seed, which is sent in its place. e is fresh, of SEAL's distribution.
* First polynomials are added as integers modulo q. A sum carries the seeds of its parts: its second polynomial is the
  sum of their expansions, so that it has half the bytes.
* The product with the key is exact (:mod:`privacy.secure_aggregation.schemes.ring_product`). Wherever a key is drawn or
  loaded, one product of a random polynomial is compared with SEAL's.
* Nothing from outside chooses what SEAL parses: only the key needs SEAL
  (:mod:`privacy.secure_aggregation.schemes.ring`), polynomials come as coefficients of fixed width
  (:mod:`privacy.secure_aggregation.schemes.coefficients`), and every coefficient is checked.
* A slot is a plaintext coefficient: sums need no batching.
* Ciphertexts are worked on a few at a time: their arrays stay in a core's cache, and calls are few.

Scheme: Brakerski 2012, Fan and Vercauteren 2012; symmetric, as in Microsoft SEAL 4.
"""

import hashlib
import os
from collections.abc import Iterator
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
    Polynomials,
    pack_polynomial,
    pack_polynomials,
    require_polynomials,
    unpack_polynomial,
    unpack_polynomials,
)
from privacy.secure_aggregation.schemes.residues import reduce_sums
from privacy.secure_aggregation.schemes.ring import RingSecret
from privacy.secure_aggregation.schemes.ring_errors import draw_errors
from privacy.secure_aggregation.schemes.ring_product import TernaryFactor

_KEY_LABEL: Final = hashlib.sha256(
    f"{labels.STUDY_KEY} {RING_DEGREE} {COEFFICIENT_MODULUS} {PLAIN_MODULUS}".encode("ascii")
).digest()
_COMMITMENT_LABEL: Final = labels.make_prefix(labels.STUDY_KEY_COMMITMENT)
_Q: Final = np.uint64(COEFFICIENT_MODULUS)
_WHOLE: Final = np.uint64(COEFFICIENT_MODULUS // PLAIN_MODULUS)
_REST: Final = (COEFFICIENT_MODULUS % PLAIN_MODULUS) / PLAIN_MODULUS
_TOGETHER: Final = 4
"""Ciphertexts worked on at a time."""


class StudyKey:
    """The key of one key epoch of a study. Sites hold it in memory; the coordinator never does."""

    def __init__(self, secret: RingSecret) -> None:
        self._transformed = pack_polynomial(secret.transformed)
        self._factor, self._negated = TernaryFactor(secret.coefficients), TernaryFactor(-secret.coefficients)
        require_seals_product(secret, self._factor)

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
            SealingError: another length, other parameters, or no key that was drawn at random.
        """
        if len(data) != KEY_BYTES:
            raise SealingError(f"the study key is refused: expected {KEY_BYTES} bytes, got {len(data)}")
        if not data.startswith(_KEY_LABEL):
            raise SealingError("the study key is refused: it was made for other parameters of the scheme")
        return cls(RingSecret.load(unpack_polynomial(data[len(_KEY_LABEL) :], "study key")))

    def to_bytes(self) -> bytes:
        """Return the key, :data:`KEY_BYTES` long, to be wrapped for a pinned peer."""
        return _KEY_LABEL + self._transformed

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
        """Encrypt ``slots``, (n * SLOTS,), each below the plaintext modulus, as n ciphertexts of SEALED_BYTES."""
        parts = slots.reshape(-1, RING_DEGREE)
        sealed, errors = np.empty((len(parts), SEALED_BYTES), dtype=np.uint8), from_os()
        fresh = np.frombuffer(os.urandom(SEED_BYTES * len(parts)), dtype=np.uint8)
        sealed[:, POLYNOMIAL_BYTES:] = fresh.reshape(-1, SEED_BYTES)
        for some in _divide(len(parts)):
            hidden = scale_plaintext(parts[some]).view(np.int64)
            hidden += draw_errors(hidden.size, errors).reshape(hidden.shape)
            seconds = sum_expansions(sealed[some, None, POLYNOMIAL_BYTES:])
            pack_polynomials(self._negated.multiply_and_add(seconds, hidden), sealed[some, :POLYNOMIAL_BYTES])
        return sealed.tobytes()

    def decrypt(self, data: bytes | memoryview, sites: int) -> NDArray[np.uint64]:
        """Decrypt n consecutive ciphertexts of an aggregate of ``sites`` sites to their slots, (n * SLOTS,).

        Raises:
            SealingError: another length, or a coefficient beyond the modulus.
        """
        expected = compute_sum_bytes(sites)
        if not len(data) or len(data) % expected:
            raise SealingError(
                f"an aggregate is refused: expected {expected} bytes for each ciphertext, got {len(data)}"
            )
        sums = np.frombuffer(data, dtype=np.uint8).reshape(-1, expected)
        slots = np.empty((len(sums), RING_DEGREE), dtype=np.uint64)
        for some in _divide(len(sums)):
            firsts = unpack_polynomials(sums[some, :POLYNOMIAL_BYTES], "aggregate")
            seconds = sum_expansions(sums[some, POLYNOMIAL_BYTES:].reshape(len(firsts), sites, SEED_BYTES))
            scaled = self._factor.multiply_and_add(seconds, firsts.view(np.int64))
            # the float errs by less than 2^-8 of a slot, which the bound of the noise counts
            exact = scaled * (PLAIN_MODULUS / COEFFICIENT_MODULUS)
            slots[some] = np.rint(exact, out=exact)
        return reduce_sums(slots.reshape(-1), PLAIN_MODULUS, 2)


def require_seals_product(secret: RingSecret, factor: TernaryFactor) -> None:
    """Check that ``factor`` gives the product of a random polynomial with ``secret`` that SEAL gives.

    A library in the same process may have set the processor to another rounding, or to drop small numbers.

    Raises:
        SealingError: it does not.
    """
    drawn = expand_seed(os.urandom(SEED_BYTES))
    ours = factor.multiply_and_add(drawn[None], np.zeros((1, RING_DEGREE), dtype=np.int64))[0]
    if not np.array_equal(ours - (ours > _Q // 2), secret.multiply(drawn)):
        raise SealingError(
            "this process does not multiply exactly: a product with the study key is not SEAL's. Start it again; if "
            "it is refused again, use another machine, and report it"
        )


def _divide(parts: int) -> Iterator[slice]:
    return (slice(start, start + _TOGETHER) for start in range(0, parts, _TOGETHER))


def compute_sum_bytes(sites: int) -> int:
    """Compute the exact size of a sum of one ciphertext of each of ``sites`` sites."""
    return POLYNOMIAL_BYTES + sites * SEED_BYTES


def expand_seed(seed: bytes) -> Polynomial:
    """Expand a public seed to a polynomial that is uniform modulo q."""
    return KeyStream(seed).draw_below(COEFFICIENT_MODULUS, RING_DEGREE)


def sum_expansions(seeds: NDArray[np.uint8]) -> Polynomials:
    """Expand public seeds, (n, sites, SEED_BYTES), and add those of each ciphertext; below q."""
    total = np.empty((len(seeds), RING_DEGREE), dtype=np.uint64)
    for number, (one, *others) in enumerate(seeds):
        total[number] = expand_seed(one.tobytes())
        for other in others:
            total[number] += expand_seed(other.tobytes())
    return reduce_sums(total, COEFFICIENT_MODULUS, seeds.shape[1])


def require_sealed(data: bytes | memoryview) -> None:
    """Check that ``data`` is fresh ciphertexts from a site, one after the other.

    Run by the coordinator.

    Raises:
        SealingError: another length, or a coefficient beyond the modulus.
    """
    if not len(data) or len(data) % SEALED_BYTES:
        raise SealingError(
            f"a sealed update is refused: expected {SEALED_BYTES} bytes for each ciphertext, got {len(data)}"
        )
    require_polynomials(_divide_sealed(data)[:, :POLYNOMIAL_BYTES], "sealed update")


class CiphertextSum:
    """Consecutive ciphertexts of an aggregate, summed without a key. Run by the coordinator."""

    def __init__(self, parts: int = 1) -> None:
        # 64 bits hold the sum of 1,023 coefficients below 2^54; noise allows fewer sites (require_noise_room)
        self._firsts = np.zeros((parts, RING_DEGREE), dtype=np.uint64)
        self._seeds: list[NDArray[np.uint8]] = []  # (parts, SEED_BYTES) of each site

    def require(self, _: bytes | memoryview) -> None:
        """See :class:`PartSum`: every well-formed part can be added."""

    def add(self, data: bytes | memoryview) -> None:
        """Add fresh ciphertexts, which :func:`require_sealed` accepts, in place."""
        sealed = _divide_sealed(data)
        for some in _divide(len(sealed)):
            self._firsts[some] += unpack_polynomials(sealed[some, :POLYNOMIAL_BYTES], "sealed update")
        self._seeds.append(sealed[:, POLYNOMIAL_BYTES:].copy())

    def subtract(self, slots: NDArray[np.uint64]) -> None:
        """Subtract known ``slots``, (n * SLOTS,), each below the plaintext modulus, in place."""
        parts = slots.reshape(self._firsts.shape)
        for some in _divide(len(parts)):
            self._firsts[some] += _Q - scale_plaintext(parts[some])

    def to_bytes(self) -> bytes:
        """Return the sums, each as long as :func:`compute_sum_bytes` says."""
        sums = np.empty((len(self._firsts), compute_sum_bytes(len(self._seeds))), dtype=np.uint8)
        for some in _divide(len(sums)):
            pack_polynomials(self._firsts[some] % _Q, sums[some, :POLYNOMIAL_BYTES])
        if self._seeds:
            sums[:, POLYNOMIAL_BYTES:] = np.concatenate(self._seeds, axis=1)
        return sums.tobytes()


def _divide_sealed(data: bytes | memoryview) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, SEALED_BYTES)


def scale_plaintext(slots: NDArray[np.uint64]) -> Polynomial:
    """Compute q m / t for each slot m below t, rounded to one of its two nearest integers, below q.

    With r = q mod t it is m floor(q / t) + m r / t. The last term is rounded in double precision: where it is half an
    integer, almost, either neighbour may come.
    """
    rest = slots * _REST
    scaled: Polynomial = np.rint(rest, out=rest).astype(np.uint64)
    scaled += slots * _WHOLE
    return scaled
