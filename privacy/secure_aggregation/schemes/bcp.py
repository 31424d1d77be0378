"""Encrypt under many keys of one modulus that also has a master key (Bresson, Catalano and Pointcheval 2003).

* N = p q with safe primes p = 2 p' + 1 and q = 2 q' + 1; g is a square modulo N^2 whose order N divides.
* A key is (a, h = g^a). A ciphertext of m is (A, B) = (g^r, h^r (1 + m N)). Products add; B alone takes a known number.
* **User:** m = (B / A^a - 1) / N. **Master**, who knows p' q': a and r modulo N follow from h and A raised to p' q',
  and m from B without g^(a r). **Jointly:** under the product of several h the owners give A^a each, and it takes all.

**Guarantee.** Without a and without the factors, ciphertexts of two numbers look alike under decisional
Diffie-Hellman modulo N^2. Who holds the factors opens everything, under every key.

**Edge cases.** Numbers are modulo N. A g for which the master could not divide is drawn again.

Source: Bresson, Catalano and Pointcheval 2003, "A simple public-key cryptosystem with a double trapdoor decryption
mechanism and its applications", ASIACRYPT. Joint keys: Peter, Tews and Katzenbeisser 2013.
"""

import math
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from privacy.errors import SealingError
from privacy.randomness import KeyStream
from privacy.secure_aggregation.schemes.primes import draw_prime, draw_safe_prime


class BcpCiphertext(NamedTuple):
    """A = g^r and B = h^r (1 + m N), modulo N^2."""

    first: int
    second: int


@dataclass(frozen=True)
class BcpParameters:
    """What everybody knows: N and g."""

    modulus: int
    generator: int

    @property
    def square(self) -> int:
        """N^2."""
        return self.modulus * self.modulus

    def draw_exponent(self) -> int:
        """Draw an exponent, uniform modulo the order of g but for 2^-64 of a difference."""
        return secrets.randbelow(self.square << 64)

    def encrypt(self, number: int, public: int) -> BcpCiphertext:
        """Encrypt ``number`` modulo N under the public key h."""
        exponent, square = self.draw_exponent(), self.square
        masked = pow(public, exponent, square) * self._encode(number) % square
        return BcpCiphertext(pow(self.generator, exponent, square), masked)

    def add(self, ciphertexts: Iterable[BcpCiphertext]) -> BcpCiphertext:
        """Return a ciphertext of the sum; all must be under one key.

        Run by anybody.
        """
        first, second = 1, 1
        for each in ciphertexts:
            first, second = first * each.first % self.square, second * each.second % self.square
        return BcpCiphertext(first, second)

    def shift(self, ciphertext: BcpCiphertext, number: int) -> BcpCiphertext:
        """Add a known ``number``. The randomness stays, so who knows the ciphertext recognises the sum.

        Run by anybody.
        """
        return BcpCiphertext(ciphertext.first, ciphertext.second * self._encode(number) % self.square)

    def join_keys(self, publics: Iterable[int]) -> int:
        """Return the public key whose ciphertexts all owners of ``publics`` open together."""
        return math.prod(publics) % self.square

    def open_jointly(self, ciphertext: BcpCiphertext, shares: Iterable[int]) -> int:
        """Open a ciphertext under a joint key with every owner's A^a.

        Raises:
            SealingError: a share is missing or wrong.
        """
        return self.read(ciphertext.second * pow(math.prod(shares), -1, self.square))

    def read(self, encoded: int) -> int:
        """Return m of 1 + m N.

        Raises:
            SealingError: it is not of that form.
        """
        number, rest = divmod(encoded % self.square - 1, self.modulus)
        if rest:
            raise SealingError("a ciphertext does not open: the key is another, or a share is missing")
        return number

    def _encode(self, number: int) -> int:
        return 1 + number % self.modulus * self.modulus


class BcpKey:
    """An owner's key: a, and h for others."""

    def __init__(self, parameters: BcpParameters, secret: int) -> None:
        self.parameters, self._secret = parameters, secret
        self.public = pow(parameters.generator, secret, parameters.square)

    @classmethod
    def generate(cls, parameters: BcpParameters) -> "BcpKey":
        """Draw a key.

        Run by an owner.
        """
        return cls(parameters, parameters.draw_exponent())

    def decrypt(self, ciphertext: BcpCiphertext) -> int:
        """Decrypt what was encrypted under this key.

        Raises:
            SealingError: it was encrypted under another one.
        """
        return self.parameters.read(ciphertext.second * pow(self.share(ciphertext), -1, self.parameters.square))

    def share(self, ciphertext: BcpCiphertext) -> int:
        """Return A^a: this owner's part in opening a ciphertext under a joint key."""
        return pow(ciphertext.first, self._secret, self.parameters.square)


class BcpMaster:
    """The factors of N: they open every ciphertext under every key."""

    def __init__(self, p: int, q: int) -> None:
        self._order = (p >> 1) * (q >> 1)  # p' q'
        modulus = p * q
        while True:
            generator = pow(secrets.randbelow(modulus * modulus), 2, modulus * modulus)
            self.parameters = BcpParameters(modulus, generator)
            if math.gcd(generator, modulus) == 1 and math.gcd(self._read_power(generator), modulus) == 1:
                break
        self._scale = pow(self._read_power(generator), -1, modulus)

    @classmethod
    def draw(cls, stream: KeyStream, bits: int, *, safe: bool = True) -> "BcpMaster":
        """Draw a master key whose modulus has ``bits`` bits.

        Args:
            stream: secret randomness.
            bits: 3,072 for 128 bits of security.
            safe: whether the primes are safe ones, which takes a minute with 3,072 bits; others give the same results
                in the same time, for measuring.
        """
        found: list[int] = []
        while len(found) < 2:
            prime = draw_safe_prime(bits // 2, stream) if safe else draw_prime(bits // 2, stream)
            # p = 3 modulo 4, so that p' is odd and squares have the order that is assumed
            if prime % 4 == 3 and prime not in found:
                found.append(prime)
        return cls(*found)

    def decrypt(self, ciphertext: BcpCiphertext, public: int) -> int:
        """Decrypt a ciphertext under the key h = ``public`` of anybody.

        Raises:
            SealingError: it is no ciphertext.
        """
        parameters, modulus = self.parameters, self.parameters.modulus
        secret, exponent = (self._read_power(each) * self._scale % modulus for each in (public, ciphertext.first))
        rest = ciphertext.second * pow(parameters.generator, -(secret * exponent % modulus), parameters.square)
        return self._read_power(rest) * pow(self._order, -1, modulus) % modulus

    def _read_power(self, number: int) -> int:
        """Return x of 1 + x N, which a square raised to p' q' is."""
        return self.parameters.read(pow(number, self._order, self.parameters.square))
