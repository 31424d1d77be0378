"""BFV under the study key: sealed parts, their sum without a key, and what opens of it.

For a slot vector p below t, with the key s, a part is one polynomial modulo q and X^N + 1:

    c = round(q p / t) - a s - e

* **a is public and the same at every site of a cohort**: uniform, from the view that they share and the place of the part
  (:class:`Place`). So it is not sent, the sum of n parts is a ciphertext under n a, and its size does not depend on n.
* **e is fresh at every site**, a rounded Gaussian that is wider the more sites there are
  (:func:`~privacy.secure_aggregation.schemes.bfv_parameters.compute_error_variance`): whoever sees the parts of all
  sites sees the differences of their errors, and what is left unknown is as wide as one error of SEAL's.
* Who opens computes c + n a s and rounds. Only the product needs SEAL (:mod:`privacy.secure_aggregation.schemes.ring`).
* A slot is a coefficient: sums need no batching.

Schemes: Brakerski 2012, Fan and Vercauteren 2012. Why a common polynomial is safe: ``docs/secure-aggregation.md``.
"""

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy import labels
from privacy.errors import SealingError
from privacy.key_derivation import KeyPurpose, derive, derive_stream
from privacy.randomness import KeyStream, from_os
from privacy.secure_aggregation.schemes.bfv_parameters import (
    COEFFICIENT_MODULUS,
    KEY_BYTES,
    PLAIN_MODULUS,
    POLYNOMIAL_BYTES,
    RING_DEGREE,
    compute_error_variance,
)
from privacy.secure_aggregation.schemes.coefficients import (
    Polynomial,
    pack_polynomial,
    require_polynomial,
    unpack_polynomial,
)
from privacy.secure_aggregation.schemes.place import Place
from privacy.secure_aggregation.schemes.ring import RingSecret

_KEY_LABEL: Final = hashlib.sha256(
    f"{labels.STUDY_KEY} {RING_DEGREE} {COEFFICIENT_MODULUS} {PLAIN_MODULUS}".encode("ascii")
).digest()
_COMMITMENT_LABEL: Final = labels.make_prefix(labels.STUDY_KEY_COMMITMENT)
_PUBLIC: Final = bytes(32)  # no secret: what is derived from it is known to everybody who knows the view
_Q: Final = np.uint64(COEFFICIENT_MODULUS)
_T: Final = np.uint64(PLAIN_MODULUS)
_WHOLE: Final = np.uint64(COEFFICIENT_MODULUS // PLAIN_MODULUS)
_REST: Final = (COEFFICIENT_MODULUS % PLAIN_MODULUS) / PLAIN_MODULUS
_MOST_KEPT: Final = 128
"""Blocks whose products are kept between sealing and opening: half a MiB each."""


class StudyKey:
    """The key of one key epoch of a study. Sites hold it in memory; the coordinator never does."""

    def __init__(self, secret: RingSecret) -> None:
        self._secret = secret
        self._coefficients = pack_polynomial(secret.transformed)
        self._context = b""
        self._products: dict[int, _BlockProducts] = {}

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

    def encrypt(self, slots: NDArray[np.uint64], place: Place) -> bytes:
        """Encrypt ``slots``, (SLOTS,), each below the plaintext modulus, as one part; SEALED_BYTES long.

        A site encrypts once at a place.
        """
        part = scale_plaintext(slots)
        part += _Q - self._find_product(place)
        part += (COEFFICIENT_MODULUS - draw_errors(place.sites)).astype(np.uint64)
        return pack_polynomial(part % _Q)

    def decrypt(self, data: bytes, place: Place) -> NDArray[np.uint64]:
        """Decrypt the sum of the parts that ``place.sites`` sites encrypted at ``place``, to its slots; (SLOTS,).

        Raises:
            SealingError: another length, or a coefficient beyond the modulus.
        """
        if len(data) != POLYNOMIAL_BYTES:
            raise SealingError(f"an aggregate is refused: expected {POLYNOMIAL_BYTES} bytes, got {len(data)}")
        scaled = unpack_polynomial(data, "aggregate")
        scaled += np.uint64(place.sites) * self._find_product(place)
        scaled %= _Q
        # the float's own error is below 2^-8 of a slot, which the bound of the noise counts
        slots: NDArray[np.uint64] = np.rint(scaled * (PLAIN_MODULUS / COEFFICIENT_MODULUS)).astype(np.uint64) % _T
        return slots

    def _find_product(self, place: Place) -> Polynomial:
        """Return the product of the key with the public polynomial of ``place``.

        Those of the newest view are kept: what was sealed is opened next. They are as secret as the key.
        """
        if place.context != self._context:
            self._context, self._products = place.context, {}
        block = self._products.get(place.block)
        if block is None:
            if len(self._products) > _MOST_KEPT:  # those of the first blocks stay, of the others one at a time
                self._products.popitem()
            block = _BlockProducts(self._secret, draw_public_polynomials(place.context, place.block))
            self._products[place.block] = block
        return block.find(place.part)


class _BlockProducts:
    """The products of the key with the public polynomials of one block, each computed once, when it is needed."""

    def __init__(self, secret: RingSecret, stream: KeyStream) -> None:
        self._secret = secret
        self._stream = stream
        self._products: list[Polynomial] = []

    def find(self, part: int) -> Polynomial:
        """Return that of one part of the block."""
        while len(self._products) <= part:
            self._products.append(self._secret.multiply(draw_public_polynomial(self._stream)))
        return self._products[part]


def draw_public_polynomials(context: bytes, block: int) -> KeyStream:
    """Return the stream from which the public polynomials of one block are drawn, part by part."""
    return derive_stream(_PUBLIC, KeyPurpose.PUBLIC_POLYNOMIAL, context, block.to_bytes(4, "big"))


def draw_public_polynomial(stream: KeyStream) -> Polynomial:
    """Draw the next public polynomial, uniform modulo q."""
    return stream.draw_below(COEFFICIENT_MODULUS, RING_DEGREE)


def draw_errors(sites: int) -> NDArray[np.int64]:
    """Draw the errors of one part in a cohort of ``sites``, (RING_DEGREE,), from the operating system's randomness.

    Rounded Gaussian deviates (Marsaglia and Bray 1964, the polar method, from 52-bit uniforms).
    """
    stream, pairs = from_os(), RING_DEGREE // 2
    points = np.empty((3, 0))  # in the unit disc: x, y and x^2 + y^2
    while points.shape[1] < pairs:
        # of the square's points pi / 4 are in the disc
        drawn = (pairs - points.shape[1]) * 4 // 3 + 64
        x, y = 2.0 * stream.draw_uniform(2 * drawn).reshape(2, drawn) - 1.0
        square = x * x + y * y
        inside = square < 1.0
        points = np.concatenate([points, [x[inside], y[inside], square[inside]]], axis=1)
    x, y, square = points[:, :pairs]
    stretch = np.sqrt(-2.0 * compute_error_variance(sites) * np.log(square) / square)
    return np.rint(np.concatenate([x * stretch, y * stretch])).astype(np.int64)


def require_sealed(data: bytes) -> None:
    """Check that ``data`` is one part from a site.

    Run by the coordinator.

    Raises:
        SealingError: another length, or a coefficient beyond the modulus.
    """
    if len(data) != POLYNOMIAL_BYTES:
        raise SealingError(f"a sealed update is refused: expected {POLYNOMIAL_BYTES} bytes, got {len(data)}")
    require_polynomial(data, "sealed update")


class CiphertextSum:
    """One part of an aggregate, summed without a key. Run by the coordinator."""

    def __init__(self) -> None:
        # 64 bits hold the sum of 1,023 coefficients below 2^54; noise allows fewer sites (require_noise_room)
        self._sum = np.zeros(RING_DEGREE, dtype=np.uint64)

    def require(self, _: bytes) -> None:
        """See :class:`PartSum`: every well-formed part can be added."""

    def add(self, data: bytes) -> None:
        """Add one site's part, which :func:`require_sealed` accepts, in place."""
        self._sum += unpack_polynomial(data, "sealed update")

    def subtract(self, slots: NDArray[np.uint64]) -> None:
        """Subtract known ``slots``, (SLOTS,), each below the plaintext modulus, in place."""
        self._sum = (self._sum + (_Q - scale_plaintext(slots))) % _Q

    def to_bytes(self) -> bytes:
        """Return the sum, POLYNOMIAL_BYTES long."""
        return pack_polynomial(self._sum % _Q)


def scale_plaintext(slots: NDArray[np.uint64]) -> Polynomial:
    """Compute q m / t for each slot m below t, rounded to one of its two nearest integers, below q.

    With r = q mod t it is m floor(q / t) + m r / t. The last term is rounded in double precision, which errs by less
    than 2^-9 more.
    """
    scaled = slots * _WHOLE
    scaled += np.rint(slots * _REST).astype(np.uint64)
    return scaled
