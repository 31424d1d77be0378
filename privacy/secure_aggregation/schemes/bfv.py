"""BFV through TenSEAL's binding of SEAL: the study key, fresh ciphertexts, and their sum.

* Nothing from outside chooses what SEAL parses: polynomials come as words of fixed width
  (:mod:`privacy.secure_aggregation.schemes.bfv_parameters`), every coefficient is checked, and this module writes
  the frame that SEAL reads. Degree, parameters, size 2 and the absence of compression are therefore fixed here, not
  claimed by the sender.
* A fresh ciphertext is symmetric and seeded: the second polynomial is uniform, and its public seed is sent in its
  place.
* A slot is a plaintext coefficient: sums need no batching, and SEAL takes coefficients without Python lists.
* SEAL loads and saves by path only. An anonymous file in memory has a path and is never on a disk.

Scheme: Brakerski 2012, Fan and Vercauteren 2012, as in Microsoft SEAL 4.
"""

import hashlib
import os
import struct
import threading
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import tenseal.sealapi as seal
import zstandard
from numpy.typing import NDArray

from privacy import labels
from privacy.errors import SealingError
from privacy.key_derivation import KeyPurpose, derive
from privacy.secure_aggregation.schemes.bfv_parameters import (
    AGGREGATE_BYTES,
    COEFFICIENT_MODULUS,
    KEY_BYTES,
    PLAIN_MODULUS,
    POLYNOMIAL_BYTES,
    RING_DEGREE,
    SEALED_BYTES,
    SEED_BYTES,
    WORD_BYTES,
)

_KEY_LABEL: Final = hashlib.sha256(
    f"{labels.STUDY_KEY} {RING_DEGREE} {COEFFICIENT_MODULUS} {PLAIN_MODULUS}".encode("ascii")
).digest()
_COMMITMENT_LABEL: Final = labels.make_prefix(labels.STUDY_KEY_COMMITMENT)

_HEADER: Final = struct.Struct("<HBBBBHQ")  # SEAL's frame: magic, its size, version, compression, reserved, length
_MAGIC: Final = 0xA15E
_RAW: Final = 8 * RING_DEGREE
_LOWER_BYTES: Final = WORD_BYTES - 4


class StudyKey:
    """The key of one key epoch of a study. Sites hold it in memory; the coordinator never does."""

    def __init__(self, secret: Any) -> None:
        self._coefficients = _pack(_read_body(secret)[-_RAW:])
        self._encryptor = seal.Encryptor(_make_ring().context, secret)
        self._decryptor = seal.Decryptor(_make_ring().context, secret)

    @classmethod
    def generate(cls) -> "StudyKey":
        """Draw a fresh key from the operating system's randomness.

        Run by the lead site.
        """
        return cls(seal.KeyGenerator(_make_ring().context).secret_key())

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
        secret = seal.SecretKey()
        _load(secret, _make_ring().key_prefix + _unpack(data[len(_KEY_LABEL) :], "study key"))
        return cls(secret)

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
        body = _read_body(self._encryptor.encrypt_symmetric(_make_plaintext(slots)))
        start = len(_make_ring().sealed_prefix)
        return _pack(body[start : start + _RAW]) + body[-SEED_BYTES:]

    def decrypt(self, data: bytes) -> NDArray[np.uint64]:
        """Decrypt one ciphertext of an aggregate to its slots, (SLOTS,).

        Raises:
            SealingError: another length, or a coefficient beyond the modulus.
        """
        if len(data) != AGGREGATE_BYTES:
            raise SealingError(f"an aggregate is refused: expected {AGGREGATE_BYTES} bytes, got {len(data)}")
        ciphertext, plaintext = seal.Ciphertext(), seal.Plaintext()
        _load(ciphertext, _make_ring().sum_prefix + _unpack(data, "aggregate"))
        self._decryptor.decrypt(ciphertext, plaintext)
        opened = np.frombuffer(_read_body(plaintext)[len(_make_ring().plain_prefix) :], dtype="<u8")
        slots = np.zeros(RING_DEGREE, dtype=np.uint64)
        slots[: len(opened)] = opened  # SEAL leaves trailing zeros out
        return slots


def require_sealed(data: bytes) -> None:
    """Check that ``data`` is one fresh ciphertext from a site.

    Run by the coordinator.

    Raises:
        SealingError: another length, or a coefficient beyond the modulus.
    """
    if len(data) != SEALED_BYTES:
        raise SealingError(f"a sealed update is refused: expected {SEALED_BYTES} bytes, got {len(data)}")
    _require_coefficients(data[:POLYNOMIAL_BYTES], "sealed update")


class CiphertextSum:
    """One ciphertext of an aggregate, summed without a key. Run by the coordinator."""

    def __init__(self) -> None:
        self._sum: Any = None

    def add(self, data: bytes) -> None:
        """Add one fresh ciphertext, which :func:`require_sealed` accepts, in place."""
        ring, fresh = _make_ring(), seal.Ciphertext()
        polynomial = _widen(data[:POLYNOMIAL_BYTES]).tobytes()
        _load(fresh, ring.sealed_prefix + polynomial + ring.seed_prefix + data[POLYNOMIAL_BYTES:])
        if self._sum is None:
            self._sum = fresh
        else:
            ring.evaluator.add_inplace(self._sum, fresh)

    def subtract(self, slots: NDArray[np.uint64]) -> None:
        """Subtract known ``slots``, (SLOTS,), each below the plaintext modulus, in place."""
        _make_ring().evaluator.sub_plain_inplace(self._sum, _make_plaintext(slots))

    def to_bytes(self) -> bytes:
        """Return the sum, AGGREGATE_BYTES long."""
        return _pack(_read_body(self._sum)[len(_make_ring().sum_prefix) :])


class _Ring(NamedTuple):
    """SEAL's context, and the bytes that SEAL writes before the coefficients of each kind of object."""

    context: Any
    evaluator: Any
    version: tuple[int, int]
    key_prefix: bytes
    plain_prefix: bytes
    sealed_prefix: bytes
    seed_prefix: bytes
    sum_prefix: bytes


@cache
def _make_ring() -> _Ring:
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
    parameters.set_poly_modulus_degree(RING_DEGREE)
    parameters.set_coeff_modulus([seal.Modulus(COEFFICIENT_MODULUS)])
    parameters.set_plain_modulus(seal.Modulus(PLAIN_MODULUS))
    context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
    secret = seal.KeyGenerator(context).secret_key()
    plain, both = seal.Plaintext(RING_DEGREE), seal.Ciphertext()
    encryptor = seal.Encryptor(context, secret)
    encryptor.encrypt_symmetric(plain, both)
    seeded = _read_body(encryptor.encrypt_symmetric(plain))
    sum_prefix = _read_body(both)[: -2 * _RAW]
    start = len(sum_prefix)  # a seeded ciphertext has a prefix of the same length, then one polynomial
    return _Ring(
        context=context,
        evaluator=seal.Evaluator(context),
        version=_HEADER.unpack(_save(plain)[: _HEADER.size])[2:4],
        key_prefix=_read_body(secret)[:-_RAW],
        plain_prefix=_read_body(plain)[:-_RAW],
        sealed_prefix=seeded[:start],
        seed_prefix=seeded[start + _RAW : -SEED_BYTES],
        sum_prefix=sum_prefix,
    )


def _make_plaintext(slots: NDArray[np.uint64]) -> Any:
    plaintext = seal.Plaintext()
    _load(plaintext, _make_ring().plain_prefix + slots.astype("<u8").tobytes())
    return plaintext


def _pack(coefficients: bytes) -> bytes:
    """Shorten little-endian 8-byte words to WORD_BYTES each."""
    words = np.frombuffer(coefficients, dtype="<u8")
    packed = bytearray(len(words) * WORD_BYTES)
    # three strided copies, of 4, 2 and 1 bytes, are faster than copies of 7 bytes
    for start, kind in ((0, "<u4"), (4, "<u2"), (6, "<u1")):
        part = np.ndarray(len(words), dtype=kind, buffer=packed, offset=start, strides=(WORD_BYTES,))
        part[:] = (words >> np.uint64(8 * start)).astype(kind)
    return bytes(packed)


def _unpack(data: bytes, name: str) -> bytes:
    """Undo :func:`_pack` for coefficients that another party wrote.

    Raises:
        SealingError: a coefficient is not below the modulus.
    """
    _require_coefficients(data, name)
    return _widen(data).tobytes()


def _require_coefficients(data: bytes, name: str) -> None:
    upper = np.ndarray(
        len(data) // WORD_BYTES, dtype="<u4", buffer=data, offset=_LOWER_BYTES, strides=(WORD_BYTES,)
    )
    if upper.max() < COEFFICIENT_MODULUS >> 8 * _LOWER_BYTES:
        return  # decided by the upper bytes, except for one polynomial in 2**18
    if np.any(_widen(data) >= COEFFICIENT_MODULUS):
        raise SealingError(f"the {name} is refused: a coefficient is not below the modulus {COEFFICIENT_MODULUS}")


def _widen(data: bytes) -> NDArray[np.uint64]:
    count = len(data) // WORD_BYTES
    # overlapping 8-byte words: the highest byte of each belongs to the next word and is masked off
    wide = np.ndarray(count, dtype="<u8", buffer=data + b"\0", strides=(WORD_BYTES,))
    return wide & np.uint64((1 << 8 * WORD_BYTES) - 1)


def _read_body(thing: Any) -> bytes:
    """Return what SEAL saves of ``thing``, without its frame.

    SEAL compresses what it saves. Only bytes that this process wrote are decompressed here.
    """
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


def _load(thing: Any, body: bytes) -> None:
    """Fill ``thing`` from ``body``, framed as uncompressed.

    A frame states its size, so SEAL ignores the rest of a longer one that was in the file before.
    """
    frame = _HEADER.pack(_MAGIC, _HEADER.size, *_make_ring().version, 0, 0, _HEADER.size + len(body))
    os.pwritev(_memory.descriptor, [frame, body], 0)
    thing.load(_make_ring().context, _memory.path)
