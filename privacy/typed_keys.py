"""A public key as people read, type and compare it: twelve groups of five characters.

::

    k12fk-7w0pq-...                    60 characters: "k1", the key's 32 bytes, 6 check characters

Rules:

* Crockford's base 32: digits and letters without i, l, o, u. Letters that look alike are accepted (o is 0; i and l
  are 1). Capitals, blanks and hyphens make no difference.
* The check characters are those of Bech32m (a BCH code over GF(32)), computed over the values of all 60 characters.
  Up to four wrong characters are always detected, and so are any two that changed places. Other errors pass once in
  a thousand million times. The length is fixed.
* Every key begins with k1, so that none looks like an option of a command.
* This is the form in every command, message and document for people, and in ``peers.json``. What is signed or sent
  has the 43 characters of ``privacy/keys.py``.

Sources: BIP 173 and BIP 350 (the code and its guarantee), Crockford (the alphabet).
"""

from collections.abc import Sequence
from typing import Final

from privacy.errors import WireError

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_MEANT: Final = str.maketrans("oil", "011")
_KIND: Final = "k1"
_KEY_BYTES: Final = 32
_KEY_CHARACTERS: Final = 52
_CHECK_CHARACTERS: Final = 6
_LENGTH: Final = len(_KIND) + _KEY_CHARACTERS + _CHECK_CHARACTERS
_GROUP: Final = 5
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
BECH32M: Final = 0x2BC830A3


def to_typed(raw: bytes) -> str:
    """Write a key's 32 bytes in the form for people."""
    bits = int.from_bytes(raw) << (5 * _KEY_CHARACTERS - 8 * _KEY_BYTES)
    values = [ALPHABET.index(character) for character in _KIND]
    values += [bits >> 5 * place & 31 for place in reversed(range(_KEY_CHARACTERS))]
    check = compute_remainder([*values, *[0] * _CHECK_CHARACTERS]) ^ BECH32M
    values += [check >> 5 * place & 31 for place in reversed(range(_CHECK_CHARACTERS))]
    text = "".join(ALPHABET[value] for value in values)
    return "-".join(text[place : place + _GROUP] for place in range(0, _LENGTH, _GROUP))


def from_typed(text: str) -> bytes:
    """Parse a key as a person typed it; return its 32 bytes.

    Raises:
        WireError: it is no key, or one that was mistyped.
    """
    plain = "".join(text.split()).replace("-", "").lower().translate(_MEANT)
    strange = next((character for character in plain if character not in ALPHABET), None)
    if strange is not None:
        raise WireError(f"expected a key in groups of five characters (k1...), got one with {strange!r} in it")
    if len(plain) != _LENGTH:
        raise WireError(
            f"expected a key of {_LENGTH} characters in groups of five (k1...), got {len(plain)} characters"
        )
    values = [ALPHABET.index(character) for character in plain]
    bits = sum(value << 5 * place for place, value in enumerate(reversed(values[len(_KIND) : -_CHECK_CHARACTERS])))
    raw, padding = divmod(bits, 1 << (5 * _KEY_CHARACTERS - 8 * _KEY_BYTES))
    if not plain.startswith(_KIND) or compute_remainder(values) != BECH32M or padding:
        raise WireError(
            "a key was mistyped: its check characters do not fit, so that a character is wrong or in another place; "
            "compare it group by group"
        )
    return raw.to_bytes(_KEY_BYTES)


def compute_remainder(values: Sequence[int]) -> int:
    """Compute the remainder of a word over GF(32) by Bech32's generator, starting from 1 (BIP 173)."""
    remainder = 1
    for value in values:
        top = remainder >> 25
        remainder = (remainder & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate(_GENERATOR):
            if top >> place & 1:
                remainder ^= generator
    return remainder
