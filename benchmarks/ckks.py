"""The scheme that sealing is compared with: CKKS through TenSEAL, as usually used and as small as possible.

Every site holds the same secret key, so that every site could read every other site's update. The coordinator holds
the context without the secret key, and adds. The parameters are fixed here, so that they cannot be tuned in our
favour.

* ``PRACTICE``: N = 8192, primes of [60, 40, 40] bits, scale 2^40, encryption with the public key (TenSEAL's
  default). Usually each layer is one vector. Here one vector holds all parameters, which favours CKKS: no
  ciphertext is half empty.
* ``PACKED``: the smallest parameters that still sum updates of 16 bits (a sum needs no multiplication), and
  symmetric encryption. TenSEAL needs a second prime nevertheless, and does not replace a part of a ciphertext by a
  seed.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import numpy as np
import tenseal
from numpy.typing import NDArray

from benchmarks.path import CPU, Laps, Path


@dataclass(frozen=True)
class Ckks:
    """Parameters of a CKKS scheme in TenSEAL."""

    degree: int
    prime_bits: tuple[int, ...]
    scale_bits: int
    symmetric: bool


PRACTICE: Final = Ckks(8192, (60, 40, 40), 40, symmetric=False)
PACKED: Final = Ckks(4096, (36, 37), 26, symmetric=True)


def ckks_path(update: NDArray[np.float64], sites: int, scheme: Ckks) -> Path:
    """Time one round of ``sites`` sites that all send ``update``, on one core.

    Raises:
        RuntimeError: the decrypted sum is wrong.
    """
    site = _context(scheme)
    coordinator = site.copy()
    if not scheme.symmetric:  # TenSEAL cannot take the secret key out of a symmetric context
        coordinator.make_context_public()
    laps = Laps(CPU)
    with _quiet():
        sent = tenseal.ckks_vector(site, update).serialize()
    sealing = laps.lap()
    total: Any = None
    adding = []
    for _ in range(sites):
        vector = tenseal.ckks_vector_from(coordinator, sent)
        if total is None:
            total = vector
        else:
            total += vector
        adding.append(laps.lap())
    aggregate = total.serialize()
    finishing = laps.lap()
    opened = tenseal.ckks_vector_from(site, aggregate).decrypt()
    opening = laps.lap()
    if not np.allclose(opened, sites * update, atol=sites * 1e-4):
        raise RuntimeError("the sum that CKKS opened is wrong")
    return Path(len(sent), len(aggregate), 0.0, 0.0, sealing, median(adding), finishing, opening)


class Adder:
    """Add updates under one key, as usually done: every site encrypts, somebody adds, every site opens."""

    def __init__(self, scheme: Ckks) -> None:
        self._key = _context(scheme)

    def add(self, updates: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the opened sum of ``updates`` (P,); it is off by what CKKS adds; (P,)."""
        with _quiet():
            total = tenseal.ckks_vector(self._key, updates[0])
            for update in updates[1:]:
                total += tenseal.ckks_vector(self._key, update)
        return np.array(total.decrypt())


def _context(scheme: Ckks) -> Any:
    kind = tenseal.ENCRYPTION_TYPE.SYMMETRIC if scheme.symmetric else tenseal.ENCRYPTION_TYPE.ASYMMETRIC
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS,
        scheme.degree,
        coeff_mod_bit_sizes=list(scheme.prime_bits),
        encryption_type=kind,
        n_threads=1,
    )
    context.global_scale = 2.0**scheme.scale_bits
    return context


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discard stdout: TenSEAL warns there when a vector has several ciphertexts, and stdout is for data only."""
    # TenSEAL writes from C++, past sys.stdout, so the file descriptor itself is replaced.
    stdout, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(nowhere)
