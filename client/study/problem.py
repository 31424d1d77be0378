"""Decide what leaves a site when a request had no effect: a code and a sentence of public facts.

Rules:

* an error's own sentence leaves only if its kind is in ``_OWN_WORDS``: kinds that are raised over terms, messages
  and public figures, never over a file or a record;
* for every other kind a fixed sentence of this file leaves, the same whatever happened. The error's own sentence,
  with paths and reasons of the system, goes to the site's log;
* a sentence with a path in it does not leave, whatever its kind.

========================  ===============  ==============================================
error                     code             sentence
========================  ===============  ==============================================
RefusedError              its own          its own
EpochLostError            epoch-lost       its own
Budget-, Wire-, TermsError  refused        its own
SealingError              refused          ``SEALING``
StorageError, OSError     unavailable      ``UNAVAILABLE``
DataUnavailableError      unavailable      ``UNREADABLE``
DataError                 data             ``CHANGED``
anything else             failed           ``FAILED``
========================  ===============  ==============================================

:class:`~privacy.errors.LedgerError`, ``KeyFileError`` and ``SiteConfigError`` end the site instead: nothing leaves.
"""

import re
from dataclasses import dataclass
from typing import Final

from client.study.key_epochs import EpochLostError
from privacy.errors import (
    BudgetError,
    DataError,
    DataUnavailableError,
    RefusedError,
    SealingError,
    StorageError,
    TermsError,
    WireError,
)
from privacy.refusal_codes import RefusalCode
from privacy.sentence import fit_sentence

FAILED: Final = "the site's own log says why"
SEALING: Final = "what came sealed does not hold; the site's own log says why"
CHANGED: Final = "the registered files are not those that were registered; this site's people register them again"
UNREADABLE: Final = "the registered files cannot be read now; nothing was done, and this site can be asked again"
UNAVAILABLE: Final = "this site's {what} cannot be written now; nothing was done, and it can be asked again"

_OWN_WORDS: Final = (RefusedError, BudgetError, WireError, TermsError)
_PATH: Final = re.compile(r"[/\\]|\bErrno\b")


@dataclass(frozen=True)
class Said:
    """What leaves: the rule's code for programs, a sentence for the coordinator's operator."""

    code: RefusalCode
    sentence: str


def describe_error(error: Exception) -> Said:
    """Return what may leave the site about ``error``."""
    if isinstance(error, StorageError | OSError):
        what = error.what if isinstance(error, StorageError) else "disk"
        return Said(RefusalCode.UNAVAILABLE, UNAVAILABLE.format(what=what))
    if isinstance(error, DataError):
        unreadable = isinstance(error, DataUnavailableError)
        return Said(RefusalCode.UNAVAILABLE, UNREADABLE) if unreadable else Said(RefusalCode.DATA, CHANGED)
    code = RefusalCode.FAILED
    if isinstance(error, RefusedError):
        code = error.code
    elif isinstance(error, EpochLostError):
        code = RefusalCode.EPOCH_LOST
    elif isinstance(error, (*_OWN_WORDS, SealingError)):
        code = RefusalCode.REFUSED
    if isinstance(error, SealingError):
        return Said(code, SEALING)
    sentence = str(error) if isinstance(error, _OWN_WORDS) else FAILED
    return Said(code, FAILED if _PATH.search(sentence) else fit_sentence(sentence))
