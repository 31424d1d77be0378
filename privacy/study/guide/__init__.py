"""Explain every key of a study file, and how to choose its value: for ``docs/study-file.md`` and for editors.

Types, limits and defaults are not here: they are taken from the terms. A test fails for a key without an entry, and
for an entry without a key.
"""

from typing import Final

from privacy.study.guide import augmentation, data, events, images, sequences, tasks, training
from privacy.study.guide.guidance import Guidance

PARTS: Final[dict[str, str]] = {
    **training.PARTS,
    **data.PARTS,
    **tasks.PARTS,
    **augmentation.PARTS,
    **images.PARTS,
    **events.PARTS,
    **sequences.PARTS,
}
KEYS: Final[dict[str, Guidance]] = {
    **training.KEYS,
    **data.KEYS,
    **tasks.KEYS,
    **augmentation.KEYS,
    **images.KEYS,
    **events.KEYS,
    **sequences.KEYS,
}
THRESHOLD: Final = training.THRESHOLD

__all__ = ["KEYS", "PARTS", "THRESHOLD", "Guidance"]
