"""What a key of a study file means, and how to choose its value."""

from typing import NamedTuple


class Guidance(NamedTuple):
    """What a key means, and how to choose its value; ``choose`` is empty for a key that needs no choice."""

    meaning: str
    choose: str = ""
