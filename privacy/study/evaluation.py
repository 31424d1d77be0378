"""The parts ``evaluation`` and ``release`` of the terms: when to evaluate, early stopping, the released model."""

from bisect import bisect_left
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from privacy.document import Document
from privacy.fields import Epsilon


class CountedRecords(StrEnum):
    """Which records of a test patient count: the last one, or all of them."""

    LAST = "last"
    ALL = "all"


class Evaluation(Document):
    """After which rounds the shared model is scored on held-out patients, as sealed totals.

    What a test patient adds is the task's (``privacy/study/tasks/``). With ``epsilon`` the totals are noised and
    charged. ``none`` means that test patients are not protected, which a site's policy must allow.
    ``every: 5`` may be written in place of ``rounds``: every fifth round, and the last one.

    Attributes:
        bins: into how many bins scores are divided.
        records: which records of a test patient count.
        patience: early stopping: the study ends after this many evaluations without a better model, by the task's
            first figure; None trains all rounds.
    """

    rounds: tuple[Annotated[int, Field(ge=0)], ...] = ()
    bins: int = Field(default=100, ge=2, le=10_000, multiple_of=2)
    records: CountedRecords = CountedRecords.LAST
    epsilon: Epsilon = None
    patience: Annotated[int, Field(ge=1, le=1000)] | None = None

    def scores(self, base: int) -> bool:
        """Return whether the model after round ``base`` is scored; rounds stand in rising order."""
        place = bisect_left(self.rounds, base)
        return self.rounds[place : place + 1] == (base,)


class Choice(StrEnum):
    """Which model is released.

    The last one; the evaluated one with the best first figure of opened totals; or the moving average of the shared
    models of all rounds. An average of outputs of the mechanism is post-processing: it costs nothing, and with noise it
    is often the better model (De et al. 2022).
    """

    LAST = "last"
    BEST = "best"
    AVERAGE = "average"


class ReleaseChoice(Document):
    """Who gets the released model, and which model it is.

    Attributes:
        decay: of the moving average, a <- decay * a + (1 - decay) * model after every round; only where the average is
            released.
    """

    to: Literal["sites"] = "sites"
    model: Choice = Choice.LAST
    decay: float = Field(default=0.8, gt=0, lt=1)
