"""The parts ``evaluation`` and ``release`` of the terms: when to evaluate, early stopping, the released model."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from privacy.document import Document
from privacy.fields import Epsilon


class Evaluation(Document):
    """After which rounds the shared model is scored on held-out patients, as sealed totals.

    Each test patient adds one to one cell of a histogram (class x score bin). With ``epsilon`` the totals are
    noised and charged. ``none`` means that test patients are not protected, which a site's policy must allow.
    ``every: 5`` may be written in place of ``rounds``: every fifth round, and the last one.

    Attributes:
        patience: early stopping: the study ends after this many evaluations without a better AUROC; None trains all
            rounds.
    """

    rounds: tuple[Annotated[int, Field(ge=1)], ...] = ()
    bins: int = Field(default=100, ge=2, le=10_000, multiple_of=2)
    epsilon: Epsilon = None
    patience: Annotated[int, Field(ge=1, le=1000)] | None = None


class Choice(StrEnum):
    """Which model is released: the last one, or the evaluated one with the best AUROC of opened totals."""

    LAST = "last"
    BEST = "best"


class ReleaseChoice(Document):
    """Who gets the released model, and which model it is."""

    to: Literal["sites"] = "sites"
    model: Choice = Choice.LAST
