"""BFV through TenSEAL's binding of SEAL: the study key, fresh ciphertexts, and their sum.

* Nothing from outside chooses what SEAL parses: polynomials come as coefficients of fixed width
  (:mod:`privacy.secure_aggregation.schemes.coefficients`), every coefficient is checked, and this module writes
  the frame that SEAL reads. Degree, parameters, size 2 and the absence of compression are therefore fixed here, not
  claimed by the sender.
* A fresh ciphertext is symmetric and seeded: the second polynomial is uniform, and its public seed is sent in its
  place. The same can be done for a sum (:mod:`privacy.secure_aggregation.schemes.sum_form`).
* First polynomials are added as integers modulo q, which is all that SEAL does with them. Only who expands a seed,
  encrypts or decrypts needs SEAL.
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
from privacy.secure_aggregation.schemes.sum_form import SumForm, compute_sum_bytes

_KEY_LABEL: Final = hashlib.sha256(
    f"{labels.STUDY_KEY} {RING_DEGREE} {COEFFICIENT_MODULUS} {PLAIN_MODULUS}".encode("ascii")
).digest()
_COMMITMENT_LABEL: Final = labels.make_prefix(labels.STUDY_KEY_COMMITMENT)

_HEADER: Final = struct.Struct("<HBBBBHQ")  # SEAL's frame: magic, its size, version, compression, reserved, length
_MAGIC: Final = 0xA15E
_RAW: Final = 8 * RING_DEGREE
_ZERO: Final = np.zeros(RING_DEGREE, dtype=np.uint64)
_SPLIT_BITS: Final = 20


class StudyKey:
    """The key of one key epoch of a study. Sites hold it in memory; the coordinator never does."""

    def __init__(self, secret: Any) -> None:
        self._coefficients = pack_polynomial(np.frombuffer(_read_body(secret)[-_RAW:], dtype="<u8"))
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
        coefficients = unpack_polynomial(data[len(_KEY_LABEL) :], "study key")
        _load(secret, _make_ring().key_prefix + coefficients.astype("<u8").tobytes())
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
        first = np.frombuffer(body, dtype="<u8", count=RING_DEGREE, offset=len(_make_ring().sealed_prefix))
        return pack_polynomial(first) + body[-SEED_BYTES:]

    def decrypt(self, data: bytes, form: SumForm, sites: int) -> NDArray[np.uint64]:
        """Decrypt one ciphertext of an aggregate of ``sites`` sites to its slots, (SLOTS,).

        Raises:
            SealingError: another length, or a coefficient beyond the modulus.
        """
        expected = compute_sum_bytes(form, sites)
        if len(data) != expected:
            raise SealingError(f"an aggregate is refused: expected {expected} bytes, got {len(data)}")
        opened_sum, plaintext = _load_sum(data, form), seal.Plaintext()
        self._decryptor.decrypt(opened_sum, plaintext)
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
    require_polynomial(data[:POLYNOMIAL_BYTES], "sealed update")


class CiphertextSum:
    """One ciphertext of an aggregate, summed without a key. Run by the coordinator."""

    def __init__(self, form: SumForm) -> None:
        self._form = form
        # 64 bits hold the sum of 1,023 coefficients below 2^54; noise allows fewer sites (require_noise_room)
        self._first = np.zeros(RING_DEGREE, dtype=np.uint64)
        self._seeds: list[bytes] = []
        self._second: Any = None

    def require(self, _: bytes) -> None:
        """See :class:`PartSum`: every well-formed part can be added."""

    def add(self, data: bytes) -> None:
        """Add one fresh ciphertext, which :func:`require_sealed` accepts, in place."""
        self._first += unpack_polynomial(data[:POLYNOMIAL_BYTES], "sealed update")
        seed = data[POLYNOMIAL_BYTES:]
        if self._form is SumForm.SEEDS:
            self._seeds.append(seed)
        elif self._second is None:
            self._second = _expand(seed, _ZERO)
        else:
            _make_ring().evaluator.add_inplace(self._second, _expand(seed, _ZERO))

    def subtract(self, slots: NDArray[np.uint64]) -> None:
        """Subtract known ``slots``, (SLOTS,), each below the plaintext modulus, in place."""
        self._first = (self._first + (COEFFICIENT_MODULUS - scale_plaintext(slots))) % COEFFICIENT_MODULUS

    def to_bytes(self) -> bytes:
        """Return the sum, as long as :func:`compute_sum_bytes` says."""
        first = pack_polynomial(self._first % COEFFICIENT_MODULUS)
        if self._form is SumForm.SEEDS:
            return b"".join([first, *self._seeds])
        return first + pack_polynomial(_read_polynomials(self._second)[1])


def scale_plaintext(slots: NDArray[np.uint64]) -> Polynomial:
    """Compute round(q m / t) for each slot m below t: what SEAL adds to the first polynomial to encrypt m.

    With r = q mod t it is m floor(q / t) + floor((r m + (t + 1) / 2) / t). The product r m has 72 bits, so that m is
    split in two, and the upper half's remainder goes to the lower.
    """
    whole, rest = divmod(COEFFICIENT_MODULUS, PLAIN_MODULUS)
    high, low = slots >> np.uint64(_SPLIT_BITS), slots & np.uint64((1 << _SPLIT_BITS) - 1)
    quotient, remainder = np.divmod(high * np.uint64(rest), np.uint64(PLAIN_MODULUS))
    last = (remainder << np.uint64(_SPLIT_BITS)) + low * np.uint64(rest) + np.uint64((PLAIN_MODULUS + 1) // 2)
    scaled = slots * np.uint64(whole) + (quotient << np.uint64(_SPLIT_BITS)) + last // np.uint64(PLAIN_MODULUS)
    reduced: Polynomial = scaled % np.uint64(COEFFICIENT_MODULUS)
    return reduced


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


def _expand(seed: bytes, first: Polynomial) -> Any:
    """Make the ciphertext whose first polynomial is ``first`` and whose second SEAL expands from ``seed``."""
    ring, fresh = _make_ring(), seal.Ciphertext()
    _load(fresh, ring.sealed_prefix + first.astype("<u8").tobytes() + ring.seed_prefix + seed)
    return fresh


def _load_sum(data: bytes, form: SumForm) -> Any:
    """Load one ciphertext of an aggregate, :func:`compute_sum_bytes` long."""
    first = unpack_polynomial(data[:POLYNOMIAL_BYTES], "aggregate")
    if form is SumForm.POLYNOMIAL:
        second = unpack_polynomial(data[POLYNOMIAL_BYTES:], "aggregate")
        total = seal.Ciphertext()
        _load(total, _make_ring().sum_prefix + first.astype("<u8").tobytes() + second.astype("<u8").tobytes())
        return total
    seeds = [data[start : start + SEED_BYTES] for start in range(POLYNOMIAL_BYTES, len(data), SEED_BYTES)]
    total = _expand(seeds[0], first)
    for seed in seeds[1:]:
        _make_ring().evaluator.add_inplace(total, _expand(seed, _ZERO))
    return total


def _read_polynomials(ciphertext: Any) -> Polynomial:
    """Return both polynomials of a sum, (2, RING_DEGREE)."""
    body = _read_body(ciphertext)[len(_make_ring().sum_prefix) :]
    return np.frombuffer(body, dtype="<u8").reshape(2, RING_DEGREE)


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
