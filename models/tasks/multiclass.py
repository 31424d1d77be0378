"""Multi-class classification: its losses, and the figures of summed histograms and of truth x prediction.

Rules:

* a model gives a logit for each class; probabilities are their softmax, the prediction is the class with the
  highest one, of equal ones the first;
* the loss is the cross-entropy of these probabilities, or the margin loss, for which each class has a probability of
  its own: the sigmoid of its logit. That of the true class should be 0.9 or more, that of another one 0.1 or less;
* a record of which a probability is not a number counts with probability 0 for every class, and as predicted to be
  of class 0;
* each class is compared with all others by its probability, in bins; two patients in one bin are a tie;
* models are compared by the mean AUROC over the classes that have patients on both sides, an exact fraction;
* balanced accuracy is the mean over the classes that have patients; F1 that over the classes that are true or
  predicted of any patient;
* a figure is None if it needs patients that are not there. Noise may have made counts negative: they are clipped
  at zero first.

The public half, ``privacy/study/tasks/multiclass.py``, has the order of the cells.

Sources: Hand and Till 2001 for an AUROC of several classes (here one against the rest, each class counts alike);
Cohen 1960 for kappa; Sabour, Frosst and Hinton 2017, Dynamic routing between capsules, for the margin loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.task import FigureKind, Values
from models.tasks.confusion import (
    Confusion,
    compute_accuracy,
    compute_balanced_accuracy,
    compute_kappa,
    compute_macro_f1,
    count_confusion,
)
from models.tasks.histograms import (
    clip_counts,
    compute_auroc,
    compute_mean,
    estimate_patients,
    place_in_bins,
    to_figure,
)
from models.tasks.precision import widen
from privacy.study.data.contract import DataContract
from privacy.study.tasks.multiclass import ClassLoss, MulticlassTerms

if TYPE_CHECKING:
    import torch

FIGURES: Final = (
    FigureKind("macro_auroc", "macro AUROC"),
    FigureKind("accuracy", "accuracy"),
    FigureKind("balanced_accuracy", "balanced accuracy"),
    FigureKind("macro_f1", "macro F1"),
    FigureKind("kappa", "Cohen's kappa"),
)
MOST_NAMED: Final = 20
"""The most classes that have a figure each."""
_PRESENT: Final = 0.9  # the least probability of the true class that costs nothing in the margin loss
_ABSENT: Final = 0.1  # the highest probability of another class that costs nothing
_ABSENT_WEIGHT: Final = 0.5  # of what the other classes cost


@dataclass(frozen=True)
class MulticlassTask:
    """Predict which of several classes a record belongs to: implements :class:`~models.task.Task`.

    Attributes:
        classes: how many.
        target: the name of the class.
        class_weights: how much a record of each class counts in the loss; without any, 1.
        loss: which one.
    """

    classes: int
    target: str = "label"
    class_weights: tuple[float, ...] = ()
    loss: ClassLoss = ClassLoss.CROSS_ENTROPY

    @classmethod
    def from_terms(cls, terms: MulticlassTerms, contract: DataContract) -> Self:
        """Make the task that ``terms`` describe for the data of ``contract``."""
        (classes,) = terms.compute_output_shape(contract)
        return cls(classes, terms.target, terms.class_weights, terms.loss)

    @property
    def figures(self) -> tuple[FigureKind, ...]:
        """The figures, macro AUROC first; the last ones are the AUROC of each class, if these are few."""
        named = range(self.classes) if self.classes <= MOST_NAMED else ()
        return (*FIGURES, *(FigureKind(f"auroc_{each}", f"AUROC of class {each}") for each in named))

    def compute_losses(self, outputs: "torch.Tensor", targets: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
        """Compute the loss of each record, times its class's weight; (records,)."""
        from torch.nn.functional import cross_entropy  # the coordinator reads figures without torch

        logits, truth = widen(outputs), targets[self.target].long()
        weights = logits.new_tensor(self.class_weights) if self.class_weights else None
        if self.loss is ClassLoss.CROSS_ENTROPY:
            return cross_entropy(logits, truth, weight=weights, reduction="none")
        losses = _compute_margin_losses(logits, truth)
        return losses if weights is None else losses * weights[truth]

    def count_cells(
        self, outputs: "torch.Tensor", targets: Mapping[str, NDArray[np.generic]], bins: int
    ) -> NDArray[np.int64]:
        """Count records by class and score bin for each class, then by truth and prediction."""
        said, truth = self.describe_outputs(outputs), targets[self.target]
        place = place_in_bins(said["probabilities"], bins)  # (records, classes)
        own = truth.astype(np.int64)[:, None] == np.arange(self.classes)
        cells = (2 * np.arange(self.classes) + own) * bins + place
        histograms = np.bincount(cells.ravel(), minlength=2 * bins * self.classes).astype(np.int64)
        return np.concatenate([histograms, count_confusion(truth, said["class"].astype(np.int64), self.classes)])

    def count_patients(self, counts: Sequence[int], bins: int) -> int:
        """Return the mean total of the histograms and of truth x prediction."""
        return estimate_patients(counts, self.classes + 1)

    def compute_figures(self, counts: Sequence[int], bins: int) -> Values:
        """Compute the figures of summed counts by name.

        =====================  ===========================================================================
        ``macro_auroc``        mean AUROC of the classes, each against the rest
        ``accuracy``           share of patients predicted right
        ``balanced_accuracy``  mean of this share over the classes
        ``macro_f1``           mean F1 of the classes
        ``kappa``              agreement of truth and prediction beyond chance
        ``auroc_0`` ...        AUROC of each class against the rest
        =====================  ===========================================================================

        Raises:
            ValueError: the counts are not as many as the task has cells.
        """
        aurocs, confusion = self._compute_aurocs(counts, bins), self._split(counts, bins)[1]
        figures = (
            compute_mean(aurocs),
            compute_accuracy(confusion),
            compute_balanced_accuracy(confusion),
            compute_macro_f1(confusion),
            compute_kappa(confusion),
            *(aurocs if self.classes <= MOST_NAMED else ()),
        )
        return {kind.name: to_figure(figure) for kind, figure in zip(self.figures, figures, strict=True)}

    def compute_rank(self, counts: Sequence[int], bins: int) -> Fraction | None:
        """Compute the exact macro AUROC; None if no class has patients on both sides.

        Raises:
            ValueError: as :meth:`compute_figures`.
        """
        return compute_mean(self._compute_aurocs(counts, bins))

    def describe_outputs(self, outputs: "torch.Tensor") -> Mapping[str, NDArray[np.float64]]:
        """Return the ``class`` that is predicted, (records,), and the ``probabilities``, (records, classes)."""
        probabilities: NDArray[np.float64] = outputs.detach().double().softmax(dim=1).cpu().numpy()
        # one logit that is no number makes all probabilities of its record NaN, of which argmax takes the first
        return {"class": probabilities.argmax(axis=1).astype(np.float64), "probabilities": probabilities}

    def _compute_aurocs(self, counts: Sequence[int], bins: int) -> list[Fraction | None]:
        """Compute the exact AUROC of each class against the rest."""
        return [compute_auroc(rest, own) for rest, own in self._split(counts, bins)[0]]

    def _split(self, counts: Sequence[int], bins: int) -> tuple[NDArray[np.int64], Confusion]:
        """Return the histograms (classes, 2, bins) and the confusion (classes, classes), clipped at zero."""
        own = 2 * bins * self.classes
        clipped = clip_counts(counts, own + self.classes**2)
        return clipped[:own].reshape(self.classes, 2, bins), clipped[own:].reshape(self.classes, self.classes)


def _compute_margin_losses(logits: "torch.Tensor", truth: "torch.Tensor") -> "torch.Tensor":
    """Compute how far each class's own probability is beyond its margin, squared and summed; (records,)."""
    import torch  # the coordinator reads figures without torch

    own = torch.arange(logits.shape[1], device=logits.device) == truth[:, None]  # (records, classes)
    probabilities = logits.sigmoid()
    missing = (_PRESENT - probabilities).clamp(min=0).square()
    excess = (probabilities - _ABSENT).clamp(min=0).square()
    return torch.where(own, missing, _ABSENT_WEIGHT * excess).sum(dim=1)
