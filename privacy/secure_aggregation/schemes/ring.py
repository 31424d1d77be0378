"""Multiply polynomials with a study key, exactly, by TenSEAL's binding of SEAL.

SEAL keeps the key, transforms, and multiplies. It has no call that returns the product of a public polynomial a with
the key s. But the ciphertext (0, a) is decrypted to round(a s p / q) for the plaintext modulus p, and with p = q - 1
that is the product itself: x (q - 1) / q is x - x / q, which rounds to x in the lower half of the residues, and to
x - 1 in the upper half.

SEAL loads and saves by path only. An anonymous file in memory has a path and is never on a disk. What SEAL parses is
written by this process alone.
"""

import os
import struct
import threading
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import tenseal.sealapi as seal
import zstandard

from privacy.secure_aggregation.schemes.bfv_parameters import COEFFICIENT_MODULUS, RING_DEGREE
from privacy.secure_aggregation.schemes.coefficients import Polynomial

_HEADER: Final = struct.Struct("<HBBBBHQ")  # SEAL's frame: magic, its size, version, compression, reserved, length
_MAGIC: Final = 0xA15E
_RAW: Final = 8 * RING_DEGREE
_LAST_OF_LOWER_HALF: Final = np.uint64(COEFFICIENT_MODULUS // 2)


class RingSecret:
    """A ternary polynomial, as SEAL draws it and keeps it: transformed, (RING_DEGREE,)."""

    def __init__(self, secret: Any) -> None:
        self._decryptor = seal.Decryptor(_make_ring().context, secret)
        self.transformed: Polynomial = np.frombuffer(_read_body(secret)[-_RAW:], dtype="<u8")

    @classmethod
    def generate(cls) -> "RingSecret":
        """Draw one from the operating system's randomness."""
        return cls(seal.KeyGenerator(_make_ring().context).secret_key())

    @classmethod
    def load(cls, transformed: Polynomial) -> "RingSecret":
        """Load one that was drawn before, from its :attr:`transformed`."""
        secret = seal.SecretKey()
        _load(secret, _make_ring().key_prefix, transformed)
        return cls(secret)

    def multiply(self, polynomial: Polynomial) -> Polynomial:
        """Multiply ``polynomial``, coefficients below the modulus, with this one, modulo X^N + 1 and q."""
        ring, ciphertext, rounded = _make_ring(), seal.Ciphertext(), seal.Plaintext()
        _load(ciphertext, ring.ciphertext_prefix, polynomial)
        self._decryptor.decrypt(ciphertext, rounded)
        found = np.frombuffer(_read_body(rounded)[len(ring.plain_prefix) :], dtype="<u8")
        if len(found) < RING_DEGREE:  # SEAL leaves trailing zeros out
            found = np.concatenate([found, np.zeros(RING_DEGREE - len(found), dtype=np.uint64)])
        product: Polynomial = found + (found > _LAST_OF_LOWER_HALF)
        return product


class _Ring(NamedTuple):
    """SEAL's context, and the bytes that SEAL writes before the last polynomial of each kind of object."""

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
        ciphertext_prefix=_read_body(ciphertext)[: -2 * _RAW] + bytes(_RAW),  # a first polynomial of zeros
    )


def _read_body(thing: Any) -> bytes:
    """Return what SEAL saves of ``thing``, without its frame; SEAL compresses what it saves."""
    return zstandard.ZstdDecompressor().decompress(_save(thing)[_HEADER.size :])


class _Memory(threading.local):
    """A file in memory that a thread uses repeatedly: to make and free one costs more than to fill it."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Open another file, because a forked process shares the file of its parent."""
        self.descriptor = os.memfd_create("seal", os.MFD_CLOEXEC)
        self.path = f"/proc/self/fd/{self.descriptor}"


_memory: Final = _Memory()
os.register_at_fork(after_in_child=_memory.renew)


def _save(thing: Any) -> bytes:
    thing.save(_memory.path)
    return os.pread(_memory.descriptor, os.fstat(_memory.descriptor).st_size, 0)


def _load(thing: Any, prefix: bytes, polynomial: Polynomial) -> None:
    """Fill ``thing`` from ``prefix`` and ``polynomial``, framed as uncompressed.

    A frame states its size, so SEAL ignores the rest of a longer one that was in the file before.
    """
    length = _HEADER.size + len(prefix) + _RAW
    frame = _HEADER.pack(_MAGIC, _HEADER.size, *_make_ring().version, 0, 0, length)
    os.pwritev(_memory.descriptor, [frame, prefix, polynomial.astype("<u8", copy=False).data], 0)
    thing.load(_make_ring().context, _memory.path)
