"""Masks: they hide a lone sealed update even from those who hold the study key.

A site adds to its slots, modulo the plaintext modulus t,

* for every other site of the cohort a pair mask. The site whose name sorts lower adds it, the other subtracts it.
  Pair masks cancel in the sum over exactly this cohort, if both sites hold the same view of the round (the
  context);
* its own mask, from a fresh seed that it releases once the cohort's headers agree. The coordinator subtracts it.

Every mask is uniform modulo t (by rejection) and used once, so it is a one-time pad. Each block of a vector has
keystreams of its own, and masks are drawn part by part. Both belong to the format: with rejection, the values
depend on how many are drawn at once.

Source: Bonawitz et al. 2017, section 4.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.key_derivation import KeyPurpose, derive, derive_stream
from privacy.keys import SECRET_BYTES
from privacy.randomness import KeyStream
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS, SLOTS
from privacy.secure_aggregation.schemes.residues import reduce_sums


class MaskSum:
    """A sum of one block's masks, drawn one part at a time."""

    def __init__(self, plus: Sequence[KeyStream], minus: Sequence[KeyStream] = ()) -> None:
        self._plus = plus
        self._minus = minus

    def draw(self) -> NDArray[np.uint64]:
        """Draw the next part's masks, summed modulo t; (SLOTS,)."""
        # masks are below 2^43, so the sum of all of a cohort's fits 64 bits and is reduced once, at the end
        total = np.full(SLOTS, len(self._minus) * PLAIN_MODULUS, dtype=np.uint64)
        for stream in self._plus:
            total += stream.draw_below(PLAIN_MODULUS, SLOTS)
        for stream in self._minus:
            total -= stream.draw_below(PLAIN_MODULUS, SLOTS)
        return reduce_sums(total, PLAIN_MODULUS, len(self._plus) + len(self._minus) + 1)


def make_site_masks(
    site: str, cohort: Sequence[str], pair_secrets: Mapping[str, bytes], own_seed: bytes, context: bytes, block: int
) -> MaskSum:
    """Make the sum of all masks that ``site`` adds to the slots of one block.

    Run by a site.

    Args:
        site: the site's name.
        cohort: the names of the round's sites, this one included.
        pair_secrets: 32 bytes shared with each other site of the cohort, by its name.
        own_seed: 32 fresh random bytes, used for one sealing only.
        context: the view of the round that every site of the cohort must share.
        block: the block's number.

    Raises:
        SealingError: a secret is missing or has another length.
    """
    plus = [_make_own_stream(site, own_seed, context, block)]
    minus: list[KeyStream] = []
    for peer in cohort:
        if peer == site:
            continue
        # the site whose name sorts lower adds the pair mask, the other subtracts it (Bonawitz et al. 2017, sec. 4)
        low, high = sorted((site, peer))
        secret = _require_secret(pair_secrets.get(peer, b""), f"pair secret with {peer}")
        stream = derive_stream(
            secret, KeyPurpose.PAIR_MASK, low.encode(), high.encode(), context, _encode_number(block)
        )
        (plus if site == low else minus).append(stream)
    return MaskSum(plus, minus)


def make_own_masks(seeds: Mapping[str, bytes], context: bytes, block: int) -> MaskSum:
    """Make the sum of the sites' own masks of one block, from the seeds they released.

    Run by the coordinator.

    Raises:
        SealingError: a seed has another length.
    """
    return MaskSum([_make_own_stream(site, seed, context, block) for site, seed in seeds.items()])


def commit_to_seed(seed: bytes) -> str:
    """Return the commitment to a mask seed that a site signs before any site releases.

    It shows which site released a wrong seed.
    """
    return derive(_require_secret(seed, "mask seed"), KeyPurpose.SEED_COMMITMENT).hex()


def _make_own_stream(site: str, seed: bytes, context: bytes, block: int) -> KeyStream:
    secret = _require_secret(seed, f"mask seed of {site}")
    return derive_stream(secret, KeyPurpose.OWN_MASK, site.encode(), context, _encode_number(block))


def _encode_number(block: int) -> bytes:
    return block.to_bytes(4, "big")


def _require_secret(secret: bytes, name: str) -> bytes:
    if len(secret) != SECRET_BYTES:
        raise SealingError(f"the {name} is refused: expected {SECRET_BYTES} bytes, got {len(secret)}")
    return secret
