"""A sentence of one party as it is stored and sent: short, and nothing in it that a terminal would obey.

What another party sends becomes part of many sentences (a refusal quotes a launch), so its length and its characters
are theirs to choose. Who writes a sentence down or sends it passes it through :func:`fit_sentence`; who reads one
refuses everything else by the type :data:`Sentence`.
"""

import re
from typing import Annotated, Final

from pydantic import Field

MAX_SENTENCE: Final = 2000
"""In characters."""
_NOT_TEXT: Final = re.compile("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")
_CUT: Final = " [cut]"

Sentence = Annotated[
    str, Field(min_length=1, max_length=MAX_SENTENCE, pattern=r"^[^\x00-\x09\x0b-\x1f\x7f-\x9f]+$")
]


def fit_sentence(text: str) -> str:
    """Make a :data:`Sentence` of ``text``: control characters become spaces, what is too long is cut."""
    sentence = _NOT_TEXT.sub(" ", text[: MAX_SENTENCE + 1])
    if len(sentence) > MAX_SENTENCE:
        return sentence[: MAX_SENTENCE - len(_CUT)] + _CUT
    return sentence or "no reason given"
