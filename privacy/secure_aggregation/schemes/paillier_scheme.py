"""Seal a study under Paillier: the slots of a part, masked as always, in plaintexts of 61 slots.

* The key is derived from the study key, so the same sites hold it, and a new key epoch brings a new one.
* A part begins with its modulus n, because the coordinator adds modulo n^2 and has no key. It adds parts of one
  modulus only, and a site opens a sum of its own modulus only.
* A slot is below the 43-bit modulus t and has 7 bits of room: 64 sites and one subtraction never carry. Sums are
  reduced modulo t by whoever opens them. What the unreduced sum says beside that depends on masked slots, which are
  uniform whatever the updates are.

**What is lost beside BFV.** Four thousand times the work and nearly twice the bytes. Masks and check fields are the
same, so a lone update is as safe. One site that sends another modulus than its peers, before them, makes the
coordinator refuse theirs, and blame them: it can stop a study, as every site can.

Parameters are limited: :data:`MOST_PARTS` parts, that is 65,530 values with two values a slot.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import numpy as np

from privacy.errors import SealingError
from privacy.key_derivation import KeyPurpose, derive_stream
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS, SLOTS
from privacy.secure_aggregation.schemes.paillier import MODULUS_BITS, PaillierKey, PaillierPublicKey
from privacy.secure_aggregation.schemes.phong import pack_signed
from privacy.secure_aggregation.schemes.scheme import PartSum, Slots, SumsOfParts, divide

MOST_PARTS: Final = 8
_ROOM_BITS: Final = 7
_WIDTH: Final = PLAIN_MODULUS.bit_length() + _ROOM_BITS
_MASK: Final = (1 << _WIDTH) - 1


class PaillierScheme:
    """One part is a modulus, and ciphertexts of as many slots as fit."""

    masked = True
    most_parts = MOST_PARTS

    def __init__(self, modulus_bits: int = MODULUS_BITS) -> None:
        self._modulus_bits = modulus_bits
        self._per_number = (modulus_bits - 1) // _WIDTH  # one bit less, so that no packed number reaches n
        self._numbers = -(-SLOTS // self._per_number)
        self._modulus_bytes, self._bytes = modulus_bits // 8, modulus_bits // 4
        self.sealed_bytes = self._modulus_bytes + self._numbers * self._bytes

    def compute_sum_bytes(self, _sites: int) -> int:
        """See :class:`Scheme`."""
        return self.sealed_bytes

    def encrypt(self, key: StudyKey, slots: Slots) -> bytes:
        """See :class:`Scheme`."""
        own, sealed = self._derive_key(key), []
        for part in slots.reshape(-1, SLOTS):
            packed = pack_signed(part.tolist(), self._per_number, _WIDTH)
            sealed.append(self._write(own.public.modulus, (own.encrypt(number) for number in packed)))
        return b"".join(sealed)

    def decrypt(self, key: StudyKey, data: bytes | memoryview, _sites: int) -> Slots:
        """See :class:`Scheme`."""
        own = self._derive_key(key)
        return np.concatenate([self._decrypt_part(own, part) for part in divide(data, self.sealed_bytes)])

    def _decrypt_part(self, own: PaillierKey, data: bytes) -> Slots:
        public, ciphertexts = self._read(data)
        if public.modulus != own.public.modulus:
            raise SealingError("an aggregate is refused: its modulus is another than that of the study key")
        opened = [own.decrypt(each) for each in ciphertexts]
        fields = (number >> place * _WIDTH & _MASK for number in opened for place in range(self._per_number))
        return np.fromiter((field % PLAIN_MODULUS for field in fields), np.uint64)[:SLOTS]

    def require_parts(self, data: bytes | memoryview) -> None:
        """See :class:`Scheme`."""
        for part in divide(data, self.sealed_bytes):
            self._read(part)

    def make_sum(self, parts: int = 1) -> PartSum:
        """See :class:`Scheme`."""
        return SumsOfParts([PaillierSum(self) for _ in range(parts)], self.sealed_bytes)

    def read_modulus(self, data: bytes | memoryview) -> int:
        """Read the modulus with which a part begins."""
        return int.from_bytes(data[: self._modulus_bytes], "big")

    def _derive_key(self, key: StudyKey) -> PaillierKey:
        return _derive_key(key.to_bytes(), self._modulus_bits)

    def _write(self, modulus: int, ciphertexts: Iterable[int]) -> bytes:
        return modulus.to_bytes(self._modulus_bytes, "big") + b"".join(
            each.to_bytes(self._bytes, "big") for each in ciphertexts
        )

    def _read(self, data: bytes | memoryview) -> tuple[PaillierPublicKey, list[int]]:
        if len(data) != self.sealed_bytes:
            raise SealingError(f"a sealed update is refused: expected {self.sealed_bytes} bytes, got {len(data)}")
        public = PaillierPublicKey(int.from_bytes(data[: self._modulus_bytes], "big"))
        if public.modulus.bit_length() != self._modulus_bits:
            raise SealingError(f"a sealed update is refused: its modulus does not have {self._modulus_bits} bits")
        ciphertexts = [
            int.from_bytes(data[start : start + self._bytes], "big")
            for start in range(self._modulus_bytes, len(data), self._bytes)
        ]
        for each in ciphertexts:
            public.require(each)
        return public, ciphertexts


class PaillierSum:
    """A sum of parts under one modulus. Run by the coordinator."""

    def __init__(self, scheme: PaillierScheme) -> None:
        self._scheme = scheme
        self._public: PaillierPublicKey | None = None
        self._ciphertexts: list[int] = []

    def require(self, data: bytes | memoryview) -> None:
        """See :class:`PartSum`.

        Raises:
            SealingError: its modulus is another than the first part's.
        """
        modulus = self._scheme.read_modulus(data)
        if self._public is not None and modulus != self._public.modulus:
            raise SealingError(
                "a sealed update is refused: its modulus is another than that of the updates before it"
            )

    def add(self, data: bytes | memoryview) -> None:
        """See :class:`PartSum`."""
        self.require(data)
        public, ciphertexts = self._scheme._read(data)
        if self._public is None:
            self._public, self._ciphertexts = public, ciphertexts
            return
        self._ciphertexts = [public.add(pair) for pair in zip(self._ciphertexts, ciphertexts, strict=True)]

    def subtract(self, slots: Slots) -> None:
        """See :class:`PartSum`."""
        assert self._public is not None, "nothing has been added"
        public, inverse = self._public, (PLAIN_MODULUS - slots).tolist()
        self._ciphertexts = [
            public.add((ciphertext, public.encode(number)))
            for ciphertext, number in zip(
                self._ciphertexts, pack_signed(inverse, self._scheme._per_number, _WIDTH), strict=True
            )
        ]

    def to_bytes(self) -> bytes:
        """See :class:`PartSum`."""
        assert self._public is not None, "nothing has been added"
        return self._scheme._write(self._public.modulus, self._ciphertexts)


@lru_cache(maxsize=2)
def _derive_key(study_key: bytes, modulus_bits: int) -> PaillierKey:
    return PaillierKey.draw(
        derive_stream(study_key, KeyPurpose.PAILLIER_KEY, modulus_bits.to_bytes(4, "big")), modulus_bits
    )
