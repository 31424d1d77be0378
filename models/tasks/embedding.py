"""Vectors of codes and visits, learned by predicting the codes of the visits nearby: the loss, and recall.

Row t predicts the visits from t - ``window`` to t + ``window``, except t, from the same logits; the rest is in
``visit_recall.py``. The codes of visit t are no target of row t, which has seen them.

Sources: Mikolov et al. 2013, Distributed representations of words and phrases and their compositionality; Choi et
al. 2016, Multi-layer representation learning for medical concepts (Med2Vec).
"""

from dataclasses import dataclass

from models.tasks.visit_recall import VisitsTask
from privacy.study.tasks.embedding import EmbeddingTerms


@dataclass(frozen=True)
class EmbeddingTask(VisitsTask):
    """Predict the codes of the visits nearby: implements :class:`~models.task.Task`."""

    terms: EmbeddingTerms

    @property
    def offsets(self) -> tuple[int, ...]:
        """All visits of the window but the row's own."""
        window = self.terms.window
        return tuple(offset for offset in range(-window, window + 1) if offset)
