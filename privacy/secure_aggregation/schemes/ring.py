"""Multiply polynomials with a study key, exactly, by TenSEAL's binding of SEAL.

SEAL keeps the key, transforms, and multiplies. It has no call that returns x = b + a s for the key s. But it decrypts
the ciphertext (b, a) to round(x p / q) for the plaintext modulus p, and with p = q - 1 that is x itself: x (q - 1) / q
is x - x / q, which rounds to x in the lower half of the residues, and to x - 1 in the upper half. (One residue of the
2^54, in the middle, comes out one too small: an error of one more in a coefficient, which is nothing.)

SEAL loads and saves by path only. An anonymous file in memory has a path and is never on a disk. What SEAL parses is
written by this process alone.
"""

import ctypes
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
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 1 << 25
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

    def multiply_and_add(self, factor: Polynomial, addend: Polynomial) -> Polynomial:
        """Compute ``addend`` and the product of ``factor`` with this polynomial, modulo X^N + 1 and q.

        All coefficients are below the modulus.
        """
        ring, ciphertext, rounded = _make_ring(), seal.Ciphertext(), seal.Plaintext()
        _load(ciphertext, ring.ciphertext_prefix, addend, factor)
        self._decryptor.decrypt(ciphertext, rounded)
        found = np.frombuffer(_read_body(rounded)[len(ring.plain_prefix) :], dtype="<u8")
        if len(found) < RING_DEGREE:  # SEAL leaves trailing zeros out
            found = np.concatenate([found, np.zeros(RING_DEGREE - len(found), dtype=np.uint64)])
        whole: Polynomial = found + (found > _LAST_OF_LOWER_HALF)
        return whole


class _Ring(NamedTuple):
    """SEAL's context, and the bytes that SEAL writes before the polynomials of each kind of object."""

    context: Any
    version: tuple[int, int]
    key_prefix: bytes
    plain_prefix: bytes
    ciphertext_prefix: bytes


@cache
def _make_ring() -> _Ring:
    _keep_freed_memory()
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


def _keep_freed_memory() -> None:
    """Keep freed memory in this process: SEAL takes and frees a MiB for each object it saves, and pages cost time."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # glibc's; mallopt(3)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)


def _read_body(thing: Any) -> bytes:
    """Return what SEAL saves of ``thing``, without its frame; SEAL compresses what it saves."""
    body: bytes = _memory.decompressor.decompress(_save(thing)[_HEADER.size :])
    return body


class _Memory(threading.local):
    """A file in memory, and a decompressor, that a thread uses repeatedly: to make and free one costs time."""

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor()
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


def _load(thing: Any, prefix: bytes, *polynomials: Polynomial) -> None:
    """Fill ``thing`` from ``prefix`` and ``polynomials``, framed as uncompressed.

    A frame states its size, so SEAL ignores the rest of a longer one that was in the file before.
    """
    length = _HEADER.size + len(prefix) + _RAW * len(polynomials)
    frame = _HEADER.pack(_MAGIC, _HEADER.size, *_make_ring().version, 0, 0, length)
    bodies = [polynomial.astype("<u8", copy=False).data for polynomial in polynomials]
    os.pwritev(_memory.descriptor, [frame, prefix, *bodies], 0)
    thing.load(_make_ring().context, _memory.path)
