"""Turn letters into the numbers of a contract's tensor, by the contract and nothing else.

Rules:

* a letter of the alphabet has its public number (``privacy/study/data/letters.py``), counted from 1; 0 is padding;
* a code for several letters, a gap or a stop is *unknown*: the contract says what becomes of it;
* any other character is refused: a protein given as DNA is not read as DNA with gaps.
"""

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from privacy.study.data.letters import BASES, Letters

PAD: Final = "\x00"
"""Stands for no letter, where a window reaches beyond the end of a sequence."""

_COMPLEMENT: Final = str.maketrans("ACGTURYSWKMBDHVNacgturyswkmbdhvn", "TGCAAYRSWMKVHDBNtgcaayrswmkvhdbn")
_UNKNOWN: Final = 254
_INVALID: Final = 255
_ALSO: Final = {"dna": "".join(BASES) + "X-.", "rna": "".join(BASES) + "X-.", "protein": "J-.*"}
_SAME: Final = {"dna": {"U": "T"}, "rna": {"T": "U"}}


class UnusableLettersError(Exception):
    """Letters that the contract does not take; the message is a clause without them."""


class LetterEncoder:
    """Encodes sequences for one tensor."""

    def __init__(self, letters: Letters) -> None:
        """Prepare the tables of ``letters``."""
        self._letters = letters
        self._codes = _make_codes(letters)
        self._shares = _make_shares(letters) if letters.unknown == "shares" else None
        self._own = len(letters.letters) + 1

    def encode(self, text: str) -> NDArray[Any]:
        """Return the tensor of a sequence: (length,) ids, or one-hot (letters, length) float32.

        Raises:
            UnusableLettersError: it has no letters, or one that the contract does not take.
        """
        if not text:
            raise UnusableLettersError("has no letters")
        begin, place = find_window(len(text), self._letters.length, self._letters.keep)
        try:
            raw = np.frombuffer(text[begin : begin + self._letters.length].encode("ascii"), dtype=np.uint8)
        except UnicodeEncodeError:
            raise UnusableLettersError(self._describe_invalid()) from None
        codes = self._codes[raw]
        unknown = codes == _UNKNOWN
        if (codes == _INVALID).any():
            raise UnusableLettersError(self._describe_invalid())
        if self._letters.unknown == "refuse" and unknown.any():
            raise UnusableLettersError("has an unknown letter, which the contract refuses")
        codes = np.where(unknown, self._own if self._letters.unknown == "own" else 0, codes).astype(np.int64)
        if self._letters.encoded == "ids":
            ids = np.zeros(self._letters.length, dtype=np.int64)
            ids[place : place + len(codes)] = codes
            return ids
        rows = len(self._letters.letters) + (self._letters.unknown == "own")
        hot = np.zeros((rows, self._letters.length), dtype=np.float32)
        there = np.flatnonzero(codes)
        hot[codes[there] - 1, place + there] = 1
        if self._shares is not None:
            partly = np.flatnonzero(unknown)
            hot[:, place + partly] = self._shares[raw[partly]].T
        return hot

    def _describe_invalid(self) -> str:
        return f"has a character that is no letter of {self._letters.alphabet}"


def find_window(count: int, length: int, keep: Literal["start", "middle", "end"]) -> tuple[int, int]:
    """Find which part of ``count`` letters is kept, and where it stands among ``length``: the first place of each.

    >>> find_window(10, 4, "middle"), find_window(4, 10, "end"), find_window(4, 10, "start")
    ((3, 0), (0, 6), (0, 0))
    """
    spare = {"start": 0, "middle": abs(count - length) // 2, "end": abs(count - length)}[keep]
    return (spare, 0) if count > length else (0, spare)


def complement(text: str) -> str:
    """Return the reverse complement of DNA or RNA; letters that are no bases stay as they are.

    >>> complement("AACgTN")
    'NAcGTT'
    """
    return text[::-1].translate(_COMPLEMENT)


def _make_codes(letters: Letters) -> NDArray[np.uint8]:
    """Make the table from a byte to the number of its letter."""
    codes = np.full(256, _INVALID, dtype=np.uint8)
    codes[ord(PAD)] = 0
    if letters.alphabet == "smiles":
        codes[33:127] = _UNKNOWN
        for number, letter in enumerate(letters.letters, 1):
            codes[ord(letter)] = number
        return codes
    known = {letter: number for number, letter in enumerate(letters.letters, 1)}
    known |= {letter: known[same] for letter, same in _SAME.get(letters.alphabet, {}).items()}
    known |= dict.fromkeys(_ALSO[letters.alphabet], _UNKNOWN)
    for letter, code in known.items():
        codes[ord(letter)] = code
        if letter.isalpha():
            codes[ord(letter.lower())] = code if letters.lower_case == "capital" else _UNKNOWN
    return codes


def _make_shares(letters: Letters) -> NDArray[np.float32]:
    """Make the table from a byte to the share of each base, (256, 4)."""
    shares = np.zeros((256, 4), dtype=np.float32)
    for code, bases in (BASES | {"X": "ACGT"}).items():
        for base in bases:
            shares[[ord(code), ord(code.lower())], "ACGT".index(base)] = 1 / len(bases)
    if letters.lower_case == "unknown":  # a masked letter may be any base
        shares[[ord(each) for each in "acgtu"]] = 0.25
    return shares
