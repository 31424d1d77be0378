"""A sentence as it is stored and sent: of limited length, and without control characters for a terminal.

Text from another party becomes part of many sentences (a refusal quotes a launch), and that party chooses its
length and its characters. The writer or sender of a sentence applies :func:`fit_sentence`. The reader refuses
everything else by the type :data:`Sentence`.

>>> fit_sentence("no room" + chr(27) + "[31m")
'no room [31m'
"""

import re
from typing import Annotated, Final

from pydantic import Field

MAX_SENTENCE: Final = 2000
"""The most characters of a sentence."""
_NOT_TEXT: Final = re.compile("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")
_CUT: Final = " [cut]"

Sentence = Annotated[
    str, Field(min_length=1, max_length=MAX_SENTENCE, pattern=r"^[^\x00-\x09\x0b-\x1f\x7f-\x9f]+$")
]


def fit_sentence(text: str) -> str:
    """Make a :data:`Sentence` of ``text``: control characters become spaces, and long text is cut."""
    sentence = _NOT_TEXT.sub(" ", text[: MAX_SENTENCE + 1])
    if len(sentence) > MAX_SENTENCE:
        return sentence[: MAX_SENTENCE - len(_CUT)] + _CUT
    return sentence or "no reason given"
