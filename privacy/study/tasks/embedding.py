"""The task ``embedding``: learn vectors of codes and visits by predicting the codes of the visits nearby.

Row t of the outputs predicts the visits from t - ``window`` to t + ``window``, except t: skip-gram over visits
(Mikolov et al. 2013, word2vec; Choi et al. 2016, Med2Vec). Totals: ``neighbouring_visits.py``.
"""

from typing import Literal

from pydantic import Field

from privacy.study.tasks.neighbouring_visits import VisitsTerms


class EmbeddingTerms(VisitsTerms):
    """The codes of the visits nearby.

    Attributes:
        window: how many visits before, and how many after.
    """

    kind: Literal["embedding"]
    window: int = Field(default=1, ge=1, le=100)
