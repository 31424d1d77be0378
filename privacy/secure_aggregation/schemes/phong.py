"""Update weights that a server holds encrypted and cannot read (Phong et al. 2018).

Participants share **one** secret key. The server holds Enc(W), adds each Enc(-rate * G) as it comes and gives Enc(W)
to whoever asks. A value is an integer of 32 bits with a sign, in steps of 2^-32 of the caller's range, with 15 bits
of room: 2^15 summands fit, and one more is refused, because it could carry into the next value.

* With Paillier 65 values share a plaintext of 3,072 bits, added with their signs, so that a negative one borrows from
  the next and the sum modulo n is right; a ciphertext of 6,144 bits for them: 2.954 times the values' own 32 bits.
* With learning with errors a value is a number modulo 2^48 + 1, and a whole vector one ciphertext of (n + values) * 77
  bits: 2.472 times for the paper's 109,386 gradients.

**Guarantee.** A server that follows the protocol learns sizes and order, nothing of weights or gradients, while *no*
participant tells it the key. A participant that does opens everything, each other's single updates too. Nothing here
is differentially private, and nothing shows whether the server added what it should: a real study adds masks and
check fields (:mod:`privacy.secure_aggregation.seal`).

**Edge cases.** A value beyond its range is refused, not cut. A sum of no update is the encrypted start.

Source: Phong, Aono, Hayashi, Wang and Moriai 2018, "Privacy-preserving deep learning via additively homomorphic
encryption", IEEE TIFS 13(5).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.secure_aggregation.schemes.lwe import LweCiphertext, LweParameters, LwePublicKey, LweSecret, add
from privacy.secure_aggregation.schemes.paillier import PaillierKey, PaillierPublicKey

PRECISION_BITS: Final = 32
PAD_BITS: Final = 15
MOST_SUMMANDS: Final = 1 << PAD_BITS
_WIDTH: Final = PRECISION_BITS + PAD_BITS

C = TypeVar("C")


class Adder(Protocol[C]):
    """What the server needs of a scheme: addition without a key."""

    def add(self, left: C, right: C) -> C:
        """Add two encrypted vectors.

        Run by the server.
        """
        ...


@dataclass(frozen=True)
class EncryptedVector(Generic[C]):
    """An encrypted vector, and of how many fresh ones it is the sum."""

    body: C
    summands: int = 1


class EncryptedWeights(Generic[C]):
    """The weights at the server, which has no key."""

    def __init__(self, adder: Adder[C], start: EncryptedVector[C]) -> None:
        self._adder = adder
        self.weights = start

    def update(self, step: EncryptedVector[C]) -> None:
        """Add one participant's encrypted step to the weights, in the order of arrival.

        Run by the server.

        Raises:
            SealingError: the sum could carry from one value into the next; the participants must encrypt afresh.
        """
        summands = self.weights.summands + step.summands
        if summands > MOST_SUMMANDS:
            raise SealingError(
                f"the encrypted weights are full: they carry {MOST_SUMMANDS} summands, this is number {summands}; "
                "a participant must decrypt them and encrypt them afresh"
            )
        self.weights = EncryptedVector(self._adder.add(self.weights.body, step.body), summands)


def quantise(values: NDArray[np.float64], value_range: float = 0.5) -> NDArray[np.int64]:
    """Round values in [-value_range, value_range) to 32 bits with a sign: steps of 2^-32 of the range's width.

    Raises:
        ValueError: a value is beyond the range, or is no number.
    """
    integers = np.rint(values / (2 * value_range) * 2.0**PRECISION_BITS)
    if not np.all((integers >= -(1 << 31)) & (integers < 1 << 31)):
        raise ValueError(f"a value is beyond [-{value_range:g}, {value_range:g})")
    return integers.astype(np.int64)


def restore(integers: NDArray[np.int64], value_range: float = 0.5) -> NDArray[np.float64]:
    """Turn a sum of quantised integers into values."""
    return integers.astype(np.float64) * 2.0**-PRECISION_BITS * (2 * value_range)


class PaillierVectors:
    """The scheme under Paillier. The server gets the public key alone."""

    def __init__(self, public: PaillierPublicKey, key: PaillierKey | None = None) -> None:
        self.public, self._key = public, key
        self.per_ciphertext = (public.modulus.bit_length() - 1) // _WIDTH

    def encrypt(self, integers: NDArray[np.int64]) -> EncryptedVector[tuple[int, ...]]:
        """Encrypt quantised integers.

        Run by a participant.
        """
        encrypt = self._key.encrypt if self._key else self.public.encrypt
        return EncryptedVector(
            tuple(encrypt(number) for number in pack_signed(integers.tolist(), self.per_ciphertext, _WIDTH))
        )

    def decrypt(self, vector: EncryptedVector[tuple[int, ...]], length: int) -> NDArray[np.int64]:
        """Decrypt a sum of vectors of ``length`` integers.

        Run by a participant.

        Raises:
            SealingError: without the key, or a ciphertext is malformed.
        """
        if self._key is None:
            raise SealingError("who holds the public key alone does not decrypt")
        opened = [self._centre(self._key.decrypt(each)) for each in vector.body]
        return np.array(unpack_signed(opened, self.per_ciphertext, _WIDTH)[:length], dtype=np.int64)

    def add(self, left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
        """See :class:`Adder`."""
        return tuple(self.public.add(pair) for pair in zip(left, right, strict=True))

    def compute_bits(self, length: int) -> int:
        """Return the bits of an encrypted vector of ``length`` values."""
        return -(-length // self.per_ciphertext) * 2 * self.public.modulus.bit_length()

    def _centre(self, number: int) -> int:
        return number - self.public.modulus if number > self.public.modulus // 2 else number


class LweVectors:
    """The scheme under learning with errors: one ciphertext a vector. The server gets the parameters alone."""

    def __init__(
        self, parameters: LweParameters, public: LwePublicKey | None = None, secret: LweSecret | None = None
    ) -> None:
        self.parameters, self._public, self._secret = parameters, public, secret

    def encrypt(self, integers: NDArray[np.int64]) -> EncryptedVector[LweCiphertext]:
        """Encrypt quantised integers, as many as the public key has columns.

        Run by a participant.

        Raises:
            SealingError: without the public key.
        """
        if self._public is None:
            raise SealingError("who holds the parameters alone does not encrypt")
        return EncryptedVector(self._public.encrypt(integers))

    def decrypt(self, vector: EncryptedVector[LweCiphertext]) -> NDArray[np.int64]:
        """Decrypt a sum of vectors.

        Run by a participant.

        Raises:
            SealingError: without the secret.
        """
        if self._secret is None:
            raise SealingError("who holds the public key alone does not decrypt")
        modulus = self.parameters.plain_modulus
        opened = self._secret.decrypt(vector.body)
        return np.where(opened > modulus // 2, opened - modulus, opened)

    def add(self, left: LweCiphertext, right: LweCiphertext) -> LweCiphertext:
        """See :class:`Adder`."""
        return add(left, right, self.parameters)


def pack_signed(integers: Sequence[int], per_number: int, width: int) -> list[int]:
    """Add integers with signs into numbers, ``per_number`` each, ``width`` bits apart, the first in the lowest."""
    packed = []
    for start in range(0, len(integers), per_number):
        number = 0
        for integer in reversed(integers[start : start + per_number]):
            number = (number << width) + integer
        packed.append(number)
    return packed


def unpack_signed(numbers: Sequence[int], per_number: int, width: int) -> list[int]:
    """Read the integers that :func:`pack_signed` added; each in [-2^(width - 1), 2^(width - 1))."""
    integers, half, mask = [], 1 << (width - 1), (1 << width) - 1
    for packed in numbers:
        number = packed
        for _ in range(per_number):
            # the lowest field with its sign; what it borrowed from the next one goes back
            integer = ((number + half) & mask) - half
            integers.append(integer)
            number = (number - integer) >> width
    return integers
