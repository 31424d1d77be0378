"""Normalise patient identifiers: the forms in which two identifiers are compared.

There are two forms, and no other:

* :func:`normalise` identifies a patient within a site's tables. It groups records, and keeps a patient of the
  training file out of the test file;
* :func:`fold` is coarser, and decides what people are asked: two patients of one folded form *may* be one person
  whose identifier another program has written differently. Budgets and objections use it
  (``client/data/patient_register.py``).

Rules of the normal form:

* Unicode NFKC (UAX 15): an accent in one piece or in two, full-width letters and digits, ligatures are the same;
* digits of every script are 0 to 9;
* invisible characters (byte order marks, zero-width and soft ones, variation selectors) are left out;
* white space of any kind is one space inside, and none around;
* letter case, leading zeros and dashes are kept: ``A1`` and ``a1`` may be two people.

An identifier names no patient if nothing is left of it, or if NUL or another control character is left in it.

Rules of the folded form, in addition:

* no letter case, no white space, one kind of dash;
* no ``'`` or ``="..."``, with which a spreadsheet keeps a number as text;
* in a whole number no leading zeros and no ``.0``: a hospital's system, a spreadsheet and a data frame write one
  patient as ``00012``, ``12`` and ``12.0``.

Both forms accept every text, and do not change what is in that form already. The coarser form is the safe one: if
two people look like one, people are asked; if one person looked like two, they would have two budgets.
"""

import re
import unicodedata
from collections.abc import Set
from typing import Final

_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_AS_TEXT: Final = re.compile(r"'(.+)|=\"(.+)\"")
_WHOLE: Final = re.compile(r"0*([0-9]+)(?:[.,]0{0,2})?")


def normalise(word: str) -> str:
    """Return the normal form of an identifier; empty if it names no patient.

    >>> normalise(" Mu\u0308-\uff10\uff17\ufeff ")
    'Mü-07'
    """
    text = word
    if not (text.isascii() and text.isprintable()):
        # twice: without an invisible character between them, a letter and an accent may combine
        text = unicodedata.normalize("NFKC", _remove_unseen(unicodedata.normalize("NFKC", text)))
        text = "".join(str(unicodedata.decimal(each)) if each.isdecimal() else each for each in text)
    return " ".join(text.split())


def is_usable(identifier: str) -> bool:
    """Return whether a normal form names a patient: it is not empty, and has no control character."""
    return bool(identifier) and (
        identifier.isprintable() or not any(unicodedata.category(each) in ("Cc", "Cs") for each in identifier)
    )


def fold(identifier: str) -> str:
    """Return what is left of a normal form without anything that another program may have changed.

    >>> [fold(each) for each in ("00012", "12.0", "P\u20130012")]
    ['12', '12', 'p-0012']
    """
    text, folded = identifier, _fold_once(identifier)
    while folded != text:  # until nothing changes: '012 becomes 012, which becomes 12
        text, folded = folded, _fold_once(folded)
    return folded


def count_alike(identifiers: Set[str]) -> int:
    """Count those of different ``identifiers`` that share their folded form with another one of them."""
    forms: dict[str, int] = {}
    for identifier in identifiers:
        form = fold(identifier)
        forms[form] = forms.get(form, 0) + 1
    return sum(count for count in forms.values() if count > 1)


def _fold_once(text: str) -> str:
    text = unicodedata.normalize("NFKC", text.casefold().replace(" ", ""))
    if not text.isascii():
        text = "".join("-" if unicodedata.category(each) == "Pd" else each for each in text)
    if kept := _AS_TEXT.fullmatch(text):
        text = kept[1] or kept[2]
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def _remove_unseen(text: str) -> str:
    return "".join(each for each in _UNSEEN.sub("", text) if unicodedata.category(each) != "Cf")
