"""Open a sum by all its sites together: no site, and no group without one, holds a key that opens anything.

Every site has a ternary share s_i; nobody ever holds s = s_1 + ... + s_n. With a common public polynomial a:

1. **Commit, then show.** A site commits to b_i = -a s_i + e_i, and shows it when it has everybody's commitment. Else
   the last one could choose b_i so that the sum is a public key of its own. The public key is (b_1 + ... + b_n, a).
2. **Commit, then send.** A site encrypts its slots, (b u + e + round(q m / t), a u + e'), and commits to the second
   polynomial before it sees another's. Else the last one could choose what they add up to: the share of a large
   constant is s_i in the clear.
3. **Open.** Each site checks that the second polynomials are the committed ones, and releases, once for each number of
   a ciphertext, h_i = c1 s_i + flood, where c1 is their sum. The message is that of c0 + h_1 + ... + h_n.

**Guarantee.** Against a coordinator and any n - 1 sites that send what these steps say, or break off: ciphertexts look
uniform under ring-LWE, and the last site's share says what the sum says, but for a statistical distance of 2^-68 with
64 sites, a ciphertext (:func:`compute_leak_bits`). Parties that commit to malformed ciphertexts can spoil a sum.
Whoever wants to be sure that they cannot do more needs proofs that ciphertexts are well-formed, which are not here.

**Edge cases.** When one site is lost after sealing, nobody opens the sum. A second release for one number is refused.
Whoever has all shares and the sum opens it: to keep it from the coordinator, shares must travel sealed to the sites.

Sources: Asharov et al. 2012 (threshold from additive shares, smudging); Mouchet, Troncoso-Pastoriza, Bossuat and
Hubaux 2021, "Multiparty homomorphic encryption from ring-learning-with-errors"; Brakerski 2012, Fan and Vercauteren
2012 (BFV).
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from privacy import labels
from privacy.errors import SealingError
from privacy.key_derivation import KeyPurpose, derive_stream
from privacy.randomness import from_os
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS
from privacy.secure_aggregation.schemes.ring_errors import ERROR_BOUND
from privacy.secure_aggregation.schemes.threshold_ring import (
    DEGREE,
    MODULUS,
    Residues,
    Ternary,
    add,
    draw_error,
    draw_flood,
    draw_ternary,
    draw_uniform,
    from_integers,
    multiply,
    negate,
    pack,
    to_integers,
)

Slots = NDArray[np.uint64]
"""(DEGREE,), each below the plaintext modulus t."""

_COMMITMENT_LABEL: Final = labels.make_prefix(labels.THRESHOLD_COMMITMENT)


class Ciphertext(NamedTuple):
    """A fresh ciphertext, or a sum of them."""

    first: Residues
    second: Residues


def compute_noise_bound(sites: int) -> int:
    """Return the most that the noise of a sum of ``sites`` fresh ciphertexts can be, without flooding.

    One has e_pk u + e + s e': coefficients of N products of at most 21 ``sites``, twice, and 21; rounding adds 1/2.
    """
    return sites * (2 * DEGREE * ERROR_BOUND * sites + ERROR_BOUND + 1)


def compute_flood_bits(sites: int) -> int:
    """Return the bits of the noise that hides a share: the most with which every sum still opens exactly.

    Raises:
        ValueError: fewer than two sites, or so many that nothing is left to hide a share with.
    """
    room = MODULUS // (2 * PLAIN_MODULUS) - compute_noise_bound(sites)
    if sites < 2 or compute_noise_bound(sites) << 64 > room:
        raise ValueError(f"expected 2 sites or more, and room for flooding; got {sites}")
    return (room // sites).bit_length() - 1


def compute_leak_bits(sites: int) -> float:
    """Return -log2 of the statistical distance between a share and what can be computed from the opened sum.

    A uniform number in [-B, B) and one that is moved by at most E differ by E / 2B; a ciphertext has N of them.
    """
    distance = compute_noise_bound(sites) / (2 << compute_flood_bits(sites))
    return -math.log2(DEGREE * distance)


def expand_common(seed: bytes) -> Residues:
    """Expand the common polynomial a from 32 public bytes that no site chose alone."""
    return draw_uniform(derive_stream(seed, KeyPurpose.THRESHOLD_COMMON))


def commit(polynomial: Residues) -> bytes:
    """Return the commitment to a polynomial; it hides as much as the polynomial is unknown."""
    return hashlib.sha256(_COMMITMENT_LABEL + pack(polynomial)).digest()


def require_committed(polynomials: Mapping[str, Residues], commitments: Mapping[str, bytes]) -> None:
    """Check what others show against what they committed to, for every site and no other.

    Raises:
        SealingError: naming the site.
    """
    if set(polynomials) != set(commitments):
        raise SealingError("polynomials and commitments are of different sites")
    for site, polynomial in polynomials.items():
        if commit(polynomial) != commitments[site]:
            raise SealingError(f"'{site}' shows another polynomial than it committed to")


def add_ciphertexts(ciphertexts: Sequence[Ciphertext]) -> Ciphertext:
    """Add ciphertexts.

    Run by the coordinator.
    """
    return Ciphertext(add(*(each.first for each in ciphertexts)), add(*(each.second for each in ciphertexts)))


class Member:
    """A site: its share of the key, and what it has released.

    Args:
        name: its name.
        sites: all sites of the key.
        common: the polynomial a.
    """

    def __init__(self, name: str, sites: Sequence[str], common: Residues) -> None:
        if name not in sites:
            raise SealingError(f"{name} is none of the key's sites")
        self.name, self._sites, self._common = name, tuple(sites), common
        self._share: Ternary = draw_ternary(from_os())
        self.public = add(negate(multiply(common, self._share)), draw_error(from_os()))
        self._joint: Residues | None = None
        self._released: set[int] = set()

    def join(self, publics: Mapping[str, Residues], commitments: Mapping[str, bytes]) -> None:
        """Make the joint public key of what all sites show.

        Args:
            publics: every site's b_i, this one's included.
            commitments: as they were before any was shown.

        Raises:
            SealingError: a site shows another one, or one is missing.
        """
        if set(publics) != set(self._sites):
            raise SealingError("the joint key is refused: a site is missing, or is none of the key's")
        require_committed(publics, commitments)
        self._joint = add(*publics.values())

    def encrypt(self, slots: Slots) -> Ciphertext:
        """Encrypt slots under the joint key; nobody can open it alone, this site included.

        Raises:
            SealingError: the joint key is not made yet.
        """
        if self._joint is None:
            raise SealingError("there is no joint key yet")
        stream = from_os()
        mixing = draw_ternary(stream)
        scaled = from_integers((slots.astype(object) * MODULUS + PLAIN_MODULUS // 2) // PLAIN_MODULUS)
        return Ciphertext(
            add(multiply(self._joint, mixing), draw_error(stream), scaled),
            add(multiply(self._common, mixing), draw_error(stream)),
        )

    def release(self, number: int, seconds: Mapping[str, Residues], commitments: Mapping[str, bytes]) -> Residues:
        """Return this site's share in opening the sum of the committed ciphertexts; once for each ``number``.

        Args:
            number: of the ciphertext, in all that are ever made under the key.
            seconds: every site's second polynomial.
            commitments: as they were before any was sent.

        Raises:
            SealingError: it has released before, a site is missing, or one shows another polynomial than it committed
                to.
        """
        if number in self._released:
            raise SealingError(f"{self.name} has released its share of ciphertext {number}: it does so once")
        if set(seconds) != set(self._sites):
            raise SealingError("the sum is not opened: a site is missing, or is none of the key's")
        require_committed(seconds, commitments)
        self._released.add(number)
        return self._open(add(*seconds.values()))

    def _open(self, second: Residues) -> Residues:
        flood = draw_flood(compute_flood_bits(len(self._sites)), from_os())
        return add(multiply(second, self._share), flood)


def open_sum(total: Ciphertext, shares: Sequence[Residues]) -> Slots:
    """Open a sum with every site's share.

    Run by whoever has all of them. With one missing the result is uniform, without notice: check fields show it.
    """
    opened = to_integers(add(total.first, *shares))
    rounded = (opened * PLAIN_MODULUS * 2 + MODULUS) // (2 * MODULUS)
    return np.asarray(rounded % PLAIN_MODULUS, dtype=np.uint64)
