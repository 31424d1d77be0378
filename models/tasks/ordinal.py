"""Classes in order: the sum of cross-entropies of "above k", and the figures of truth x prediction.

Rules:

* a model gives for each class k but the last one the logit that the record is of a class above k. The loss is the
  sum of their cross-entropies;
* the prediction is how many of these probabilities are 0.5 or more. They need not fall with k;
* a record of which a probability is not a number counts as predicted to be of class 0;
* models are compared by the quadratic weighted kappa, an exact fraction;
* a figure is None if it needs patients that are not there. Noise may have made counts negative: they are clipped
  at zero first.

Sources: Cheng, Wang and Pollastri 2008, A neural network approach to ordinal regression, for the loss; Cohen 1968,
Weighted kappa.
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
    compute_mean_distance,
    compute_quadratic_kappa,
    count_confusion,
)
from models.tasks.histograms import clip_counts, estimate_patients, to_figure
from models.tasks.precision import widen
from privacy.study.data.contract import DataContract
from privacy.study.tasks.ordinal import OrdinalTerms

if TYPE_CHECKING:
    import torch

FIGURES: Final = (
    FigureKind("quadratic_kappa", "quadratic weighted kappa"),
    FigureKind("accuracy", "accuracy"),
    FigureKind("mean_absolute_error", "mean absolute error in classes", lower_is_better=True, best=0.0),
    FigureKind("within_one", "share within one class"),
)
THRESHOLD: Final = 0.5


@dataclass(frozen=True)
class OrdinalTask:
    """Predict which of several classes in order a record belongs to: implements :class:`~models.task.Task`.

    Attributes:
        classes: how many.
        target: the name of the class.
    """

    classes: int
    target: str = "label"

    @classmethod
    def from_terms(cls, terms: OrdinalTerms, contract: DataContract) -> Self:
        """Make the task that ``terms`` describe for the data of ``contract``."""
        (above,) = terms.compute_output_shape(contract)
        return cls(above + 1, terms.target)

    @property
    def figures(self) -> tuple[FigureKind, ...]:
        """The figures, quadratic weighted kappa first."""
        return FIGURES

    def compute_losses(self, outputs: "torch.Tensor", targets: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
        """Compute the sum of the cross-entropies of "above k", over k; (records,)."""
        import torch  # the coordinator reads figures without torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        logits, lower = widen(outputs), torch.arange(self.classes - 1, device=outputs.device)
        above = (targets[self.target].long()[:, None] > lower).to(logits.dtype)  # (records, classes - 1)
        return binary_cross_entropy_with_logits(logits, above, reduction="none").sum(dim=1)

    def count_cells(
        self, outputs: "torch.Tensor", targets: Mapping[str, NDArray[np.generic]], bins: int
    ) -> NDArray[np.int64]:
        """Count records by truth and prediction; (classes * classes,)."""
        predicted = self.describe_outputs(outputs)["class"].astype(np.int64)
        return count_confusion(targets[self.target], predicted, self.classes)

    def count_patients(self, counts: Sequence[int], bins: int) -> int:
        """Return the total of truth x prediction."""
        return estimate_patients(counts, 1)

    def compute_figures(self, counts: Sequence[int], bins: int) -> Values:
        """Compute the figures of summed counts, (classes * classes,), by name.

        =======================  =========================================================================
        ``quadratic_kappa``      1 minus the mean squared distance in classes, over that by chance
        ``accuracy``             share of patients predicted right
        ``mean_absolute_error``  mean distance of prediction and truth, in classes
        ``within_one``           share of patients predicted right, or one class off
        =======================  =========================================================================

        Raises:
            ValueError: the counts are not as many as the task has cells.
        """
        confusion = self._arrange(counts)
        figures = (
            compute_quadratic_kappa(confusion),
            compute_accuracy(confusion),
            compute_mean_distance(confusion),
            compute_accuracy(confusion, within=1),
        )
        return {kind.name: to_figure(figure) for kind, figure in zip(FIGURES, figures, strict=True)}

    def compute_rank(self, counts: Sequence[int], bins: int) -> Fraction | None:
        """Compute the exact quadratic weighted kappa; None if truth and prediction are of one same class alone.

        Raises:
            ValueError: as :meth:`compute_figures`.
        """
        return compute_quadratic_kappa(self._arrange(counts))

    def describe_outputs(self, outputs: "torch.Tensor") -> Mapping[str, NDArray[np.float64]]:
        """Return the predicted ``class``, (records,), and the probabilities ``above`` k, (records, classes - 1)."""
        above: NDArray[np.float64] = outputs.detach().double().sigmoid().cpu().numpy()
        predicted = np.where(np.isnan(above).any(axis=1), 0, (above >= THRESHOLD).sum(axis=1))
        return {"class": predicted.astype(np.float64), "above": above}

    def _arrange(self, counts: Sequence[int]) -> Confusion:
        return clip_counts(counts, self.classes**2).reshape(self.classes, self.classes)
