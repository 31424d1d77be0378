"""SEAL's own BFV with the platform's parameters, used as SEAL is meant to be used: an oracle."""

import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tenseal.sealapi as seal
import zstandard
from numpy.typing import NDArray

from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import COEFFICIENT_MODULUS, PLAIN_MODULUS, RING_DEGREE
from privacy.secure_aggregation.schemes.coefficients import unpack_polynomial

Slots = NDArray[np.uint64]
_RAW = 8 * RING_DEGREE


class SealBfv:
    """Encrypts and decrypts under a study key with SEAL's calls alone."""

    def __init__(self, key: StudyKey) -> None:
        parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
        parameters.set_poly_modulus_degree(RING_DEGREE)
        parameters.set_coeff_modulus([seal.Modulus(COEFFICIENT_MODULUS)])
        parameters.set_plain_modulus(seal.Modulus(PLAIN_MODULUS))
        self._context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
        secret = seal.KeyGenerator(self._context).secret_key()
        transformed = unpack_polynomial(key.to_bytes()[32:], "study key")
        self._fill(secret, self._read(secret)[:-_RAW], transformed)
        self._encryptor, self._decryptor = (
            seal.Encryptor(self._context, secret),
            seal.Decryptor(self._context, secret),
        )

    def encrypt(self, slots: Slots) -> tuple[Slots, Slots]:
        """Encrypt; return both polynomials, (N,) each."""
        plain, ciphertext = seal.Plaintext(RING_DEGREE), seal.Ciphertext()
        self._fill(plain, self._read(plain)[:-_RAW], slots)
        self._encryptor.encrypt_symmetric(plain, ciphertext)
        first, second = np.frombuffer(self._read(ciphertext)[-2 * _RAW :], dtype="<u8").reshape(2, RING_DEGREE)
        return first, second

    def decrypt(self, first: Slots, second: Slots) -> Slots:
        """Decrypt a ciphertext of two polynomials to its slots, (N,)."""
        plain, ciphertext = seal.Plaintext(RING_DEGREE), seal.Ciphertext()
        self._encryptor.encrypt_symmetric(plain, ciphertext)
        self._fill(ciphertext, self._read(ciphertext)[: -2 * _RAW], first, second)
        prefix = len(self._read(plain)) - _RAW
        self._decryptor.decrypt(ciphertext, plain)
        found = np.frombuffer(self._read(plain)[prefix:], dtype="<u8")
        return np.concatenate([found, np.zeros(RING_DEGREE - len(found), dtype=np.uint64)])

    def _read(self, thing: Any) -> bytes:
        with tempfile.NamedTemporaryFile() as file:
            thing.save(file.name)
            return zstandard.ZstdDecompressor().decompress(Path(file.name).read_bytes()[16:])

    def _fill(self, thing: Any, prefix: bytes, *polynomials: Slots) -> None:
        body = prefix + b"".join(polynomial.astype("<u8").tobytes() for polynomial in polynomials)
        with tempfile.NamedTemporaryFile() as file:
            thing.save(file.name)
            version = Path(file.name).read_bytes()[3:5]
            frame = struct.pack("<HB2sBHQ", 0xA15E, 16, version, 0, 0, 16 + len(body))
            Path(file.name).write_bytes(frame + body)
            thing.load(self._context, file.name)
