"""What documents say of a task's figures: their names, titles, and which values are better.

A document has figures as a mapping from names to values. Canonical JSON sorts its keys, so that their order, the titles
for tables, and which figure chooses the best model stand beside it, once: the first one chooses.
"""

from typing import Annotated, Final

from pydantic import Field

from privacy.document import Document, make_text_field

MOST_FIGURES: Final = 100
"""The most figures that a task may have."""

FigureName = Annotated[
    str,
    make_text_field(
        r"^[a-z][a-z0-9_]{0,39}$",
        "the name of a figure: a small letter, then small letters, digits and _, at most 40",
    ),
]
FigureTitle = Annotated[str, Field(min_length=1, max_length=60)]


class FigureFacts(Document):
    """One figure of a task.

    Attributes:
        name: in mappings.
        title: in tables.
        lower_is_better: whether a smaller value is a better one.
    """

    name: FigureName
    title: FigureTitle
    lower_is_better: bool = False
