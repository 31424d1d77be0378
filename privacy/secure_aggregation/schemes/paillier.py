"""Encrypt numbers modulo n that add under encryption (Paillier 1999).

* A ciphertext of m is (1 + n)^m r^n modulo n^2, for a fresh unit r. The product of ciphertexts is one of the sum.
* Whoever holds the factors encrypts and decrypts modulo p^2 and q^2 alone, which takes a quarter of the time. For a
  uniform unit x modulo p, x^p modulo p^2 is a uniform n-th residue there: the factor q of the exponent permutes the
  units.
* 3,072 bits are the equivalent of 128 bits of security (NIST SP 800-57, part 1, table 2), against an adversary
  without a quantum computer: Shor's algorithm factors n.

**Guarantee.** Without p and q, ciphertexts of any two numbers look alike, if composite residues do (Paillier 1999,
theorem 15). Ciphertexts can be changed by anybody: that a sum is the right one is for others to check
(:mod:`privacy.secure_aggregation.check_fields`).

Python's ``pow`` takes time that depends on the exponent and the base. Who sends ciphertexts to be opened could choose
them and time the answer (Brumley and Boneh 2003, for RSA). So a ciphertext is blinded before it is opened: it is
multiplied with one of zero that nobody else knows, which is squared from one ciphertext to the next. Who measures a
holder of the key from within its own machine is not kept out.

Source: Paillier 1999, "Public-key cryptosystems based on composite degree residuosity classes", scheme 1 and
section 7 (decryption by Chinese remainders).
"""

import secrets
from collections.abc import Sequence
from typing import Final

from privacy.errors import SealingError
from privacy.randomness import KeyStream
from privacy.secure_aggregation.schemes.primes import draw_prime

MODULUS_BITS: Final = 3072
_LEAST_BITS: Final = 256


class PaillierPublicKey:
    """The modulus n: with it anybody encrypts and adds, and nobody decrypts."""

    def __init__(self, modulus: int) -> None:
        if modulus.bit_length() < _LEAST_BITS or not modulus & 1:
            raise SealingError(
                f"a modulus of Paillier is refused: expected an odd one of {_LEAST_BITS} bits or more"
            )
        self.modulus = modulus
        self.square = modulus * modulus

    @property
    def ciphertext_bytes(self) -> int:
        """Bytes of one ciphertext."""
        return (2 * self.modulus.bit_length() + 7) // 8

    def encrypt(self, number: int) -> int:
        """Encrypt ``number`` modulo n with fresh randomness."""
        unit = 1 + secrets.randbelow(self.modulus - 1)
        return self.encode(number) * pow(unit, self.modulus, self.square) % self.square

    def encode(self, number: int) -> int:
        """Return the ciphertext of a public ``number`` without randomness, for adding what everybody may know."""
        return (1 + number % self.modulus * self.modulus) % self.square

    def add(self, ciphertexts: Sequence[int]) -> int:
        """Return a ciphertext of the sum.

        Run by anybody.
        """
        total = 1
        for each in ciphertexts:
            total = total * each % self.square
        return total

    def require(self, ciphertext: int) -> None:
        """Refuse what is no ciphertext under this modulus.

        Raises:
            SealingError: zero, or not below n^2.
        """
        if not 0 < ciphertext < self.square:
            raise SealingError("a ciphertext of Paillier is refused: it is not between 0 and the modulus squared")


class PaillierKey:
    """The factors p and q of n."""

    def __init__(self, p: int, q: int) -> None:
        if p == q:
            raise ValueError("expected two different primes")
        self._p, self._q = p, q
        self.public = PaillierPublicKey(p * q)
        self._p_square, self._q_square = p * p, q * q
        self._q_inverse = pow(q, -1, p)
        self._square_inverse = pow(self._q_square, -1, self._p_square)
        # what (1 + n)^(p - 1) says modulo p^2, inverted: section 7
        self._p_scale = pow((p - 1) * q % p, -1, p)
        self._q_scale = pow((q - 1) * p % q, -1, q)
        self._blinding = 0  # a ciphertext of zero, drawn when it is first needed

    @classmethod
    def draw(cls, stream: KeyStream, bits: int = MODULUS_BITS) -> "PaillierKey":
        """Draw a key whose modulus has ``bits`` bits; the same stream gives the same key."""
        p = draw_prime(bits // 2, stream)
        while True:
            q = draw_prime(bits // 2, stream)
            # n must have no factor in common with (p - 1)(q - 1); for primes of one length this says p != q
            if p != q:
                return cls(p, q)

    def encrypt(self, number: int) -> int:
        """Encrypt ``number`` modulo n with fresh randomness, as :meth:`PaillierPublicKey.encrypt` does."""
        p, q = self._p, self._q
        at_p = pow(1 + secrets.randbelow(p - 1), p, self._p_square)
        at_q = pow(1 + secrets.randbelow(q - 1), q, self._q_square)
        residue = at_q + (at_p - at_q) * self._square_inverse % self._p_square * self._q_square
        return self.public.encode(number) * residue % self.public.square

    def decrypt(self, ciphertext: int) -> int:
        """Decrypt to a number in [0, n).

        Raises:
            SealingError: it is no ciphertext under this key's modulus.
        """
        self.public.require(ciphertext)
        p, q, square = self._p, self._q, self.public.square
        # the square of a ciphertext of zero is another one: one product in place of a power
        self._blinding = self._blinding**2 % square if self._blinding else self.encrypt(0)
        blinded = ciphertext * self._blinding % square
        at_p = (pow(blinded, p - 1, self._p_square) - 1) // p * self._p_scale % p
        at_q = (pow(blinded, q - 1, self._q_square) - 1) // q * self._q_scale % q
        return at_q + (at_p - at_q) * self._q_inverse % p * q
