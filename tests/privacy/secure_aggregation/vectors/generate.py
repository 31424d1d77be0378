"""Write derivation.json: masks and check fields, computed from the format's description alone.

Nothing of ours is imported: HKDF from ``hmac``, AES-256-CTR from ``cryptography``, the rest in plain integers.
Run ``python -m tests.privacy.secure_aggregation.vectors.generate``; it leaves the file as it is.
"""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

T = 8796092858369
SLOTS = 4096
LABEL = b"consilium sealing v1 "


def hkdf(secret: bytes, purpose: bytes, *parts: bytes) -> bytes:
    info = b"".join(len(part).to_bytes(4, "big") + part for part in (LABEL + purpose, *parts))
    key = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(key, info + b"\x01", "sha256")


class Words:
    """The keystream as little-endian 64-bit words."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()

    def next(self) -> int:
        return int.from_bytes(self._cipher.update(bytes(8)), "little")

    def below_t(self, count: int) -> list[int]:
        """43-bit candidates, 16 more than are still wanted at a time, those left over dropped."""
        kept: list[int] = []
        while len(kept) < count:
            candidates = [self.next() >> 21 for _ in range(count - len(kept) + 16)]
            kept += [candidate for candidate in candidates if candidate < T][: count - len(kept)]
        return kept


def mask_case(
    site: str, pair_secrets: dict[str, bytes], own_seed: bytes, context: bytes, block: int
) -> dict[str, Any]:
    number = block.to_bytes(4, "big")
    streams = [(1, Words(hkdf(own_seed, b"02 own mask", site.encode(), context, number)))]
    for peer, secret in pair_secrets.items():
        low, high = sorted((site, peer))
        key = hkdf(secret, b"01 pair mask", low.encode(), high.encode(), context, number)
        streams.append((1 if site == low else -1, Words(key)))
    parts = []
    for _ in range(2):
        drawn = [(sign, words.below_t(SLOTS)) for sign, words in streams]
        parts.append([sum(sign * mask[i] for sign, mask in drawn) % T for i in range(SLOTS)])
    digest = hashlib.sha256(b"".join(slot.to_bytes(8, "little") for part in parts for slot in part))
    return {
        "site": site,
        "pair_secrets": {peer: secret.hex() for peer, secret in pair_secrets.items()},
        "own_seed": own_seed.hex(),
        "context": context.hex(),
        "block": block,
        "commitment": hkdf(own_seed, b"07 seed commitment").hex(),
        "first_slots": [part[:3] for part in parts],
        "sha256": digest.hexdigest(),
    }


def check_case(check_key: bytes, context: bytes, block: int, site: str, slots: list[int]) -> dict[str, Any]:
    words = Words(hkdf(check_key, b"04 check coefficients", context, block.to_bytes(4, "big")))
    forms = [0, 0, 0]
    for slot in slots:
        word = words.next()
        forms = [(form + (word >> 20 * j & 0xFFFFF) * slot) % T for j, form in enumerate(forms)]
    return {
        "check_key": check_key.hex(),
        "context": context.hex(),
        "block": block,
        "site": site,
        "slots": slots,
        "forms": forms,
        "offsets": Words(hkdf(check_key, b"05 check offsets", context, site.encode())).below_t(3),
    }


def vectors() -> dict[str, Any]:
    one, two, seed = bytes([1] * 32), bytes([2] * 32), bytes(range(32))
    pairs = {"east": one, "west": two}
    return {
        "masks": [
            mask_case("north", pairs, seed, b"round 1", 0),
            mask_case("north", pairs, seed, b"round 1", 1),
            mask_case("north", pairs, seed, b"round 2", 0),
            mask_case("north", pairs, one, b"round 1", 0),
            mask_case("north", {"east": two, "west": one}, seed, b"round 1", 0),
            mask_case("aster", pairs, seed, b"round 1", 0),
        ],
        "checks": [
            check_case(seed, b"round 1", 0, "north", [1, 0, T - 1, (1 << 42) - 1]),
            check_case(seed, b"round 1", 1, "north", [1, 0, T - 1, (1 << 42) - 1]),
            check_case(seed, b"round 2", 0, "north", [1, 0, T - 1, (1 << 42) - 1]),
            check_case(one, b"", 300, "east", [pow(3, i, T) for i in range(40)]),
            check_case(one, b"", 0, "west", []),
        ],
    }


if __name__ == "__main__":
    text = json.dumps(vectors(), indent=1)
    Path(__file__).with_name("derivation.json").write_text(text + "\n")
