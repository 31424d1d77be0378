"""One patient, one name: the form in which an identifier is compared, wherever two of them are.

Two forms, and no other:

* :func:`normalise` is who a patient is within a site's tables: what groups records, and what keeps a patient out of
  the test file who is in the training file;
* :func:`fold` is coarser, and decides what is asked of people: two patients of one folded form *may* be one person
  whom another program has written otherwise. Budgets and objections go by it (``client/data/patient_register.py``).

Rules of the normal form:

* Unicode NFKC: an accent in one piece or in two, full-width letters and digits, ligatures are the same;
* digits of every script are 0 to 9;
* characters that nobody sees (byte order marks, zero-width and soft ones, variation selectors) are left out;
* white space of any kind is one space inside, and none around;
* letter case, leading zeros and dashes are kept: ``A1`` and ``a1`` may be two people.

What is left must be something, without NUL or other control characters, else it names nobody.

Rules of the folded form, on top of those: no letter case, no white space, one kind of dash, none of a spreadsheet's
``'`` or ``="..."`` that keeps a number as text; and of a name that is a whole number no leading zeros and no ``.0``:
``00012``, ``12`` and ``12.0`` are what a hospital's system, a spreadsheet and a data frame make of one patient.

Both forms are total, and do not change what is in that form already. Coarser is the safe side: two people taken for
one are asked about, one person taken for two would have two budgets.
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
    """The normal form of an identifier; empty if it names nobody.

    >>> normalise(" Mu\u0308-\uff10\uff17\ufeff ")
    'Mü-07'
    """
    text = word
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFKC", _remove_unseen(unicodedata.normalize("NFKC", text)))
        text = "".join(str(unicodedata.decimal(each)) if each.isdecimal() else each for each in text)
    return " ".join(text.split())


def is_usable(identifier: str) -> bool:
    """Whether a normal form names somebody: it is not empty, and has no control character."""
    return bool(identifier) and (
        identifier.isprintable() or not any(unicodedata.category(each) in ("Cc", "Cs") for each in identifier)
    )


def fold(identifier: str) -> str:
    """What stays of a normal form when all is left out that another program may have changed.

    >>> [fold(each) for each in ("00012", "12.0", "P\u20130012")]
    ['12', '12', 'p-0012']
    """
    text, folded = identifier, _fold_once(identifier)
    while folded != text:  # one rule may make room for another: what is left of '012 is folded again
        text, folded = folded, _fold_once(folded)
    return folded


def count_alike(identifiers: Set[str]) -> int:
    """How many of different ``identifiers`` share their folded form with another one of them."""
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
