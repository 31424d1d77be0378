"""Draw and load a study key's polynomial with TenSEAL's binding of SEAL, read it, and multiply with it.

SEAL draws the key s, and keeps it transformed; that is what sites exchange. SEAL has no call that transforms it back,
or multiplies. But it decrypts the ciphertext (b, a) to round(x p / q) for x = b + a s and the plaintext modulus p. With
b = 0 and p = q - 1 that is the product a s, and s itself for a = 1: x (q - 1) / q is x - x / q, which rounds to x in
the lower half of the residues, and to x - 1 in the upper half.

SEAL loads and saves by path only. An anonymous file in memory has a path and is never on a disk. What SEAL parses is
written by this process alone.
"""

import contextlib
import os
import struct
from collections.abc import Iterator
from functools import cache
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import tenseal.sealapi as seal
import zstandard

from privacy.errors import SealingError
from privacy.secure_aggregation.schemes.bfv_parameters import COEFFICIENT_MODULUS, RING_DEGREE
from privacy.secure_aggregation.schemes.coefficients import Polynomial
from privacy.secure_aggregation.schemes.ring_product import Ternary

_HEADER: Final = struct.Struct("<HBBBBHQ")  # SEAL's frame: magic, its size, version, compression, reserved, length
_MAGIC: Final = 0xA15E
_RAW: Final = 8 * RING_DEGREE
_MINUS_ONE: Final = np.uint64(COEFFICIENT_MODULUS - 2)  # rounded


class RingSecret:
    """A ternary polynomial, as SEAL draws it and keeps it: transformed, (RING_DEGREE,).

    Raises:
        SealingError: it is not ternary.
    """

    def __init__(self, secret: Any) -> None:
        self.transformed: Polynomial = np.frombuffer(_read_body(secret)[-_RAW:], dtype="<u8")
        self._secret = secret
        self.coefficients: Ternary = self._read_coefficients()

    @classmethod
    def generate(cls) -> "RingSecret":
        """Draw one from the operating system's randomness."""
        return cls(seal.KeyGenerator(_make_ring().context).secret_key())

    @classmethod
    def load(cls, transformed: Polynomial) -> "RingSecret":
        """Load one that was drawn before, from its :attr:`transformed`.

        Raises:
            SealingError: it is not ternary.
        """
        secret = seal.SecretKey()
        _load(secret, _make_ring().key_prefix, transformed)
        return cls(secret)

    def multiply(self, factor: Polynomial) -> Polynomial:
        """Multiply ``factor``, below q, with this polynomial; residues of the upper half come one too small."""
        ring, ciphertext, product = _make_ring(), seal.Ciphertext(), seal.Plaintext()
        _load(ciphertext, ring.ciphertext_prefix, np.zeros_like(factor), factor)
        seal.Decryptor(ring.context, self._secret).decrypt(ciphertext, product)
        found = np.frombuffer(_read_body(product)[len(ring.plain_prefix) :], dtype="<u8")
        # SEAL leaves trailing zeros out
        return np.concatenate([found, np.zeros(RING_DEGREE - len(found), dtype=np.uint64)])

    def _read_coefficients(self) -> Ternary:
        one = np.zeros(RING_DEGREE, dtype=np.uint64)
        one[0] = 1
        found = self.multiply(one)
        coefficients: Ternary = (found == 1).astype(np.int8) - (found == _MINUS_ONE)
        if np.any(found[coefficients == 0]):
            raise SealingError("the study key is refused: a coefficient is none of -1, 0 and 1")
        return coefficients


class _Ring(NamedTuple):
    """SEAL's context, and the bytes that SEAL writes before the polynomials of each kind of object."""

    context: Any
    version: tuple[int, int]
    key_prefix: bytes
    plain_prefix: bytes
    ciphertext_prefix: bytes


@cache
def _make_ring() -> _Ring:
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
    parameters.set_poly_modulus_degree(RING_DEGREE)
    parameters.set_coeff_modulus([seal.Modulus(COEFFICIENT_MODULUS)])
    parameters.set_plain_modulus(seal.Modulus(COEFFICIENT_MODULUS - 1))
    context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
    secret, plain, ciphertext = (
        seal.KeyGenerator(context).secret_key(),
        seal.Plaintext(RING_DEGREE),
        seal.Ciphertext(),
    )
    seal.Encryptor(context, secret).encrypt_symmetric(plain, ciphertext)
    return _Ring(
        context=context,
        version=_HEADER.unpack(_save(plain)[: _HEADER.size])[2:4],
        key_prefix=_read_body(secret)[:-_RAW],
        plain_prefix=_read_body(plain)[:-_RAW],
        ciphertext_prefix=_read_body(ciphertext)[: -2 * _RAW],
    )


def _read_body(thing: Any) -> bytes:
    """Return what SEAL saves of ``thing``, without its frame; SEAL compresses what it saves."""
    body: bytes = zstandard.ZstdDecompressor().decompress(_save(thing)[_HEADER.size :])
    return body


def _save(thing: Any) -> bytes:
    with _open_memory() as (file, path):
        thing.save(path)
        return file.read()


def _load(thing: Any, prefix: bytes, *polynomials: Polynomial) -> None:
    """Fill ``thing`` from ``prefix`` and ``polynomials``, framed as uncompressed."""
    body = b"".join([prefix, *(polynomial.astype("<u8").tobytes() for polynomial in polynomials)])
    with _open_memory() as (file, path):
        file.write(_HEADER.pack(_MAGIC, _HEADER.size, *_make_ring().version, 0, 0, _HEADER.size + len(body)) + body)
        file.flush()
        thing.load(_make_ring().context, path)


@contextlib.contextmanager
def _open_memory() -> Iterator[tuple[BinaryIO, str]]:
    """Open a file in memory; yield it, and its path."""
    with open(os.memfd_create("seal", os.MFD_CLOEXEC), "w+b") as file:
        yield file, f"/proc/self/fd/{file.fileno()}"
