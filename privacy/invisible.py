"""Characters that show nothing or change how others are shown, and text without them.

Names from files and from other parties become part of what is printed; see ``command_line.py``.
"""

import unicodedata
from typing import Final

_INVISIBLE: Final = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # control, format, surrogates, separators of lines and paragraphs


def escape_invisible(text: str) -> str:
    """Write every invisible character as its code point, so that a name steers no terminal and reverses no line.

    A newline is kept.

    >>> escape_invisible("age" + chr(27) + "[2J")
    'age[U+001B][2J'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"[U+{ord(each):04X}]" if each != "\n" and is_invisible(each) else each for each in text)


def is_invisible(character: str) -> bool:
    """Return whether a character shows nothing, or changes how others are shown."""
    return unicodedata.category(character) in _INVISIBLE
