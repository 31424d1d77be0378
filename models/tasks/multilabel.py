"""Several labels of a record: the mean cross-entropy, and the figures of summed score histograms.

Rules:

* a model gives a logit for each label; the score is its sigmoid. The loss is the mean over the labels, so that a
  record of many labels weighs no more than one of few;
* macro figures are means over labels that have the patients they need: AUROC both classes, average precision
  positive ones;
* the micro AUROC is that of all pairs of patient and label together, by the sum of the labels' histograms;
* two scores in one bin are a tie; a score that is not a number is in the lowest bin;
* models are compared by the first figure, an exact fraction: the macro AUROC, or without ``per_label`` the micro
  one;
* a figure is None if it needs a class that has no patients. Noise may have made counts negative: they are clipped
  at zero first, in each label's histogram before they are summed.

The public half, ``privacy/study/tasks/multilabel.py``, has the order of the cells and what one patient adds to
them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.task import FigureKind, Values
from models.tasks.histograms import (
    clip_counts,
    compute_auroc,
    compute_average_precision,
    compute_mean,
    estimate_patients,
    place_in_bins,
    to_figure,
)
from models.tasks.precision import widen
from privacy.study.data.contract import DataContract
from privacy.study.tasks.multilabel import MultilabelTerms

if TYPE_CHECKING:
    import torch

MACRO_AUROC: Final = FigureKind("macro_auroc", "macro AUROC")
MACRO_PRECISION: Final = FigureKind("macro_average_precision", "macro average precision")
MICRO_AUROC: Final = FigureKind("micro_auroc", "micro AUROC")
MICRO_PRECISION: Final = FigureKind("micro_average_precision", "micro average precision")
MOST_NAMED: Final = 20
"""The most labels that have a figure each."""


@dataclass(frozen=True)
class MultilabelTask:
    """Predict which of several labels are positive: implements :class:`~models.task.Task`.

    Attributes:
        labels: how many.
        target: the name of the flags.
        positive_weight: how much a positive label counts in the loss.
        per_label: whether each label has a histogram of its own.
    """

    labels: int
    target: str = "labels"
    positive_weight: float = 1.0
    per_label: bool = True

    @classmethod
    def from_terms(cls, terms: MultilabelTerms, contract: DataContract) -> Self:
        """Make the task that ``terms`` describe for the data of ``contract``."""
        (labels,) = terms.compute_output_shape(contract)
        return cls(labels, terms.target, terms.positive_weight, terms.per_label)

    @property
    def figures(self) -> tuple[FigureKind, ...]:
        """The figures; macro ones and the labels' own need ``per_label``."""
        if not self.per_label:
            return (MICRO_AUROC, MICRO_PRECISION)
        named = range(self.labels) if self.labels <= MOST_NAMED else ()
        return (
            MACRO_AUROC,
            MACRO_PRECISION,
            MICRO_AUROC,
            *(FigureKind(f"auroc_{each}", f"AUROC of label {each}") for each in named),
        )

    def compute_losses(self, outputs: "torch.Tensor", targets: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
        """Compute the mean over the labels of the weighted cross-entropy; (records,)."""
        from torch.nn.functional import (
            binary_cross_entropy_with_logits,
        )  # the coordinator reads figures without torch

        logits = widen(outputs)
        weight = None if self.positive_weight == 1 else logits.new_tensor(self.positive_weight)
        labels = targets[self.target].to(logits.dtype)
        return binary_cross_entropy_with_logits(logits, labels, reduction="none", pos_weight=weight).mean(dim=1)

    def count_cells(
        self, outputs: "torch.Tensor", targets: Mapping[str, NDArray[np.generic]], bins: int
    ) -> NDArray[np.int64]:
        """Count records by class and score bin for each label, or for all together."""
        place = place_in_bins(self.describe_outputs(outputs)["probabilities"], bins)  # (records, labels)
        histogram = np.arange(self.labels) if self.per_label else np.zeros(self.labels, dtype=np.int64)
        cells = (2 * histogram + (targets[self.target] != 0)) * bins + place
        return np.bincount(cells.ravel(), minlength=2 * bins * self._histograms).astype(np.int64)

    def count_patients(self, counts: Sequence[int], bins: int) -> int:
        """Return the mean number of patients of a label."""
        return estimate_patients(counts, self.labels)

    def compute_figures(self, counts: Sequence[int], bins: int) -> Values:
        """Compute the figures of summed counts by name.

        ===========================  =====================================================================
        ``macro_auroc``              mean AUROC of the labels
        ``macro_average_precision``  mean average precision of the labels
        ``micro_auroc``              AUROC of all pairs of patient and label
        ``micro_average_precision``  average precision of all pairs; without ``per_label``
        ``auroc_0`` ...              AUROC of each label
        ===========================  =====================================================================

        Raises:
            ValueError: the counts are not as many as the task has cells.
        """
        histograms = self._split(counts, bins)
        negatives, positives = histograms.sum(axis=0)
        micro = compute_auroc(negatives, positives)
        if not self.per_label:
            figures = [to_figure(micro), compute_average_precision(negatives, positives)]
        else:
            aurocs = [compute_auroc(*each) for each in histograms]
            precisions = [compute_average_precision(*each) for each in histograms]
            exact = [None if each is None else Fraction(each) for each in precisions]
            named = aurocs if self.labels <= MOST_NAMED else []
            figures = [to_figure(each) for each in (compute_mean(aurocs), compute_mean(exact), micro, *named)]
        return {kind.name: figure for kind, figure in zip(self.figures, figures, strict=True)}

    def compute_rank(self, counts: Sequence[int], bins: int) -> Fraction | None:
        """Compute the exact macro AUROC, or without ``per_label`` the micro one.

        Raises:
            ValueError: as :meth:`compute_figures`.
        """
        return compute_mean(compute_auroc(*each) for each in self._split(counts, bins))

    def describe_outputs(self, outputs: "torch.Tensor") -> Mapping[str, NDArray[np.float64]]:
        """Return the ``probabilities`` that each label is positive, (records, labels)."""
        probabilities: NDArray[np.float64] = outputs.detach().double().sigmoid().cpu().numpy()
        return {"probabilities": probabilities}

    @property
    def _histograms(self) -> int:
        return self.labels if self.per_label else 1

    def _split(self, counts: Sequence[int], bins: int) -> NDArray[np.int64]:
        """Return the histograms, (histograms, 2, bins), clipped at zero."""
        return clip_counts(counts, 2 * bins * self._histograms).reshape(self._histograms, 2, bins)
