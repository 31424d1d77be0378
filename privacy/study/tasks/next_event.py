"""The task ``next-event``: predict the codes of the next visit, from each visit and those before it.

Row t of the outputs predicts visit t + 1. Totals: ``neighbouring_visits.py``.
"""

from typing import Literal

from privacy.study.tasks.neighbouring_visits import VisitsTerms


class NextEventTerms(VisitsTerms):
    """The codes of the next visit.

    Attributes:
        loss: ``softmax``, the cross-entropy against the uniform distribution over the visit's codes; or
            ``sigmoid``, the mean cross-entropy of every code for itself.
    """

    kind: Literal["next-event"]
    loss: Literal["softmax", "sigmoid"] = "softmax"
