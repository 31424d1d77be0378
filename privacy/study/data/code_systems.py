"""Code systems: the one form in which a code of each is compared, and the vocabularies that their rules give.

A **system** is a published list of codes. Hospitals write one code in several ways; :func:`normalise_code` gives its
normal form, or None for what cannot be a code of the system. Nothing is repaired that could be read in two ways.

=============  ==========================================================  ==================
system         normal form                                                 of what is written
=============  ==========================================================  ==================
``icd9cm``     ICD-9-CM diagnoses without dot: 3 to 5 digits, V and 2 to   ``250.00``
               4 digits, E0, E8 or E9 and 2 or 3 digits; leading zeros
               are kept
``icd10cm``    ICD-10-CM without dot: letter, digit, digit or letter, up   ``E11.9``
               to four more
``icd10``      ICD-10 (WHO) and ICD-10-GM: as above, without the marks     ``E11.9†``
               for dagger, asterisk and exclamation mark
``atc``        capital letters and digits, of levels 1 to 5                ``A10BA02``
``ndc``        11 digits (5-4-2); ten digits only with their two hyphens,  ``0002-8215-01``
               which say where the zero belongs
``loinc``      number, hyphen, check digit, which is verified (Luhn)       ``4548-4``
``snomed``     6 to 18 digits, whose last one is verified (Verhoeff)       ``44054006``
``rxnorm``     the digits of an RxCUI, without leading zeros               ``860975``
``cvx``        the digits of a vaccine, without leading zeros              ``62``
``ccs``        the digits of a group of CCS, without leading zeros         ``49``
``other``      the text, in Unicode NFKC, with one space between words     a hospital's own
=============  ==========================================================  ==================

Sources: ICD-9-CM and ICD-10-CM Official Guidelines (CMS, NCHS); WHO Collaborating Centre for Drug Statistics
Methodology, ATC; FDA, National Drug Code; LOINC Users' Guide, appendix on check digits; SNOMED International, Release
File Specifications, SCTID and Verhoeff's dihedral check; NLM, RxNorm.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

CodeSystem = Literal["icd9cm", "icd10cm", "icd10", "atc", "ndc", "loinc", "snomed", "rxnorm", "cvx", "ccs", "other"]
EveryRule = Literal["icd9cm-categories", "icd10-categories", "atc-1", "atc-2"]
"""A vocabulary that a rule gives."""

HIERARCHICAL: Final = frozenset({"icd9cm", "icd10cm", "icd10", "atc"})
"""Systems in which the beginning of a code is a wider code."""

EVERY_SYSTEMS: Final[dict[EveryRule, frozenset[str]]] = {
    "icd9cm-categories": frozenset({"icd9cm"}),
    "icd10-categories": frozenset({"icd10cm", "icd10"}),
    "atc-1": frozenset({"atc"}),
    "atc-2": frozenset({"atc"}),
}

Code = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(lambda code: code.strip())]
"""A code as people write it, or for a hierarchical system its beginning."""

MOST_CODE: Final = 200  # characters
_PATTERNS: Final = {
    "icd9cm": re.compile(r"[0-9]{3,5}|V[0-9]{2,4}|E[089][0-9]{2,3}"),  # E000 to E030, E800 to E999
    "icd10cm": re.compile(r"[A-Z][0-9][0-9A-Z][0-9A-Z]{0,4}"),
    "icd10": re.compile(r"[A-Z][0-9][0-9A-Z][0-9A-Z]{0,4}"),
    "atc": re.compile(r"[A-Z](?:[0-9]{2}(?:[A-Z](?:[A-Z](?:[0-9]{2})?)?)?)?"),
    "loinc": re.compile(r"([1-9][0-9]{0,6})-([0-9])"),
    "snomed": re.compile(r"[1-9][0-9]{5,17}"),
    "rxnorm": re.compile(r"[1-9][0-9]{0,7}"),
    "cvx": re.compile(r"[1-9][0-9]{0,3}"),
    "ccs": re.compile(r"[1-9][0-9]{0,3}"),
}
_DOTTED: Final = {
    "icd9cm": re.compile(r"([0-9]{3}|V[0-9]{2}|E[089][0-9]{2})\.?([0-9]*)"),
    "icd10cm": re.compile(r"([A-Z][0-9][0-9A-Z])\.?([0-9A-Z]*)"),
    "icd10": re.compile(r"([A-Z][0-9][0-9A-Z])\.?([0-9A-Z]*)"),
}
_CUT_ZEROS: Final = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,2}))?")
_NDC_HYPHENS: Final = re.compile(r"([0-9]{4,5})-([0-9]{3,4})-([0-9]{1,2})")
_LETTERED: Final = (
    "C4A",
    "C7A",
    "C7B",
    "D3A",
    "M1A",
    "O9A",
    "Z3A",
)  # categories of ICD-10-CM with a letter at the end
_ATC_GROUPS: Final = "ABCDGHJLMNPRSV"


def normalise_code(system: str, text: str, *, zeros_cut: bool = False) -> str | None:
    """Return the normal form of a code; None if it is no code of ``system``.

    Args:
        system: one of :data:`CodeSystem`.
        text: the code as it is written.
        zeros_cut: a program has read the codes of ICD-9-CM as numbers and cut their leading zeros, but kept their
            dots: ``8`` is ``008``, ``38.1`` is ``038.1``.

    >>> normalise_code("icd9cm", "250.00"), normalise_code("icd9cm", "8"), normalise_code("icd9cm", "8", zeros_cut=True)
    ('25000', None, '008')
    """
    if len(text) > MOST_CODE:
        return None
    word = " ".join(unicodedata.normalize("NFKC", text).split())
    if system == "other":
        return word if word and word.isprintable() else None
    word = word.upper()
    if system == "ndc":
        return _normalise_ndc(word)
    if system in ("rxnorm", "cvx", "ccs"):
        word = word.lstrip("0")
    if system in _DOTTED:
        if system == "icd10":
            word = word.rstrip("+*!†‡ -")
        if system == "icd9cm" and zeros_cut and (cut := _CUT_ZEROS.fullmatch(word)):
            word = f"{cut[1]:0>3}{cut[2] or ''}"
        dotted = _DOTTED[system].fullmatch(word)
        if dotted is None:
            return None
        word = dotted[1] + dotted[2]
    found = _PATTERNS[system].fullmatch(word)
    if found is None or not word.isascii():
        return None
    if system == "loinc" and _compute_luhn(found[1]) != int(found[2]):
        return None
    if system == "snomed" and not _has_verhoeff(word):
        return None
    return word


def normalise_beginning(system: str, text: str) -> str | None:
    """Return the normal form of a code, or of the beginning of one in a hierarchical system; None if it is neither.

    >>> normalise_beginning("icd9cm", "25"), normalise_beginning("snomed", "44")
    ('25', None)
    """
    whole = normalise_code(system, text)
    if whole is not None or system not in HIERARCHICAL:
        return whole
    word = text.strip().upper()
    return word if re.fullmatch(r"[A-Z]|[A-Z]?[0-9]{1,2}", word) else None


@cache
def list_every(rule: EveryRule) -> tuple[str, ...]:
    """List the words of the vocabulary that ``rule`` gives, in their order.

    ICD-9-CM: 000 to 999, V00 to V99, E800 to E999. ICD-10: A00 to Z99, then the categories that end in a letter.
    ATC: its 14 main groups, or these with every two digits.
    """
    return tuple(_generate_every(rule))


def _generate_every(rule: EveryRule) -> Iterator[str]:
    if rule == "icd9cm-categories":
        yield from (f"{number:03}" for number in range(1000))
        yield from (f"V{number:02}" for number in range(100))
        yield from (f"E{number}" for number in range(800, 1000))
    elif rule == "icd10-categories":
        yield from (
            f"{chr(letter)}{number:02}" for letter in range(ord("A"), ord("Z") + 1) for number in range(100)
        )
        yield from _LETTERED
    else:
        for letter in _ATC_GROUPS:
            yield from (letter,) if rule == "atc-1" else (f"{letter}{number:02}" for number in range(100))


def _normalise_ndc(word: str) -> str | None:
    """Return the 11 digits: where one of ten is missing, only hyphens tell in which part."""
    if re.fullmatch(r"[0-9]{11}", word):
        return word
    parts = _NDC_HYPHENS.fullmatch(word)
    if parts is None or len(word) < 12:  # ten digits and two hyphens
        return None
    return f"{parts[1]:0>5}{parts[2]:0>4}{parts[3]:0>2}"


def _compute_luhn(digits: str) -> int:
    """Compute the check digit modulo 10 (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled  # the sum of two digits
    return -total % 10


_DIHEDRAL: Final = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_PERMUTED: Final = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def _has_verhoeff(digits: str) -> bool:
    """Return whether the last digit is right (Verhoeff 1969: products in the dihedral group of order ten)."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_DIHEDRAL[check][int(_PERMUTED[place % 8][int(digit)])])
    return check == 0
