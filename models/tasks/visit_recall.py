"""Tasks that predict the codes of other visits: the loss, and recall from summed histograms.

Rules:

* a model gives a logit for each visit and code, (records, visits, codes); row t predicts the visits t + d for
  every ``offset`` d of the task, if both visits are present and the predicted one has a code. These are a record's
  pairs;
* the loss of a record is the mean over its pairs; 0 without a pair. With ``softmax`` a pair costs the
  cross-entropy of the softmax of row t against the uniform distribution over the codes of the visit;
* the codes of row t with the k greatest logits are found; of equal ones those with the smaller number, and one
  that is no number is the smallest. Recall at k of a pair is the share of the visit's codes that are found, that
  of a record the mean over its pairs;
* a record is in the cell nearest to its recall, so that a figure is off by at most half a cell; models are
  compared by the first figure, an exact fraction.

Source of recall at k: Choi et al. 2016, Doctor AI: predicting clinical events via recurrent neural networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from models.task import FigureKind, Values
from models.tasks.group_counts import Counts, count_patients_of_histograms, split_counts
from models.tasks.histograms import to_figure
from privacy.study.data.contract import DataContract
from privacy.study.tasks.neighbouring_visits import VisitsTerms

if TYPE_CHECKING:
    import torch

_NUMBERS_AT_ONCE: Final = 1 << 22


@dataclass(frozen=True)
class VisitsTask:
    """Predict the codes of other visits: what the tasks of this kind share."""

    terms: VisitsTerms
    contract: DataContract

    @property
    def offsets(self) -> tuple[int, ...]:
        """How far the visits that a row predicts are after it; negative before it."""
        raise NotImplementedError

    @property
    def figures(self) -> tuple[FigureKind, ...]:
        """Recall at each k, in the order of the terms."""
        return tuple(FigureKind(f"recall_at_{k}", f"recall at {k}") for k in self.terms.list_top(self.contract))

    def compute_losses(self, outputs: "torch.Tensor", targets: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
        """Compute the mean loss of each record's pairs; (records,)."""
        import torch  # the coordinator reads figures without torch

        codes, present = targets[self.terms.predicted].bool(), targets[self.terms.present].bool()
        told = present & codes.any(dim=2)  # (records, visits)
        total, pairs = outputs.new_zeros(len(outputs)), outputs.new_zeros(len(outputs))
        scores = self.prepare(outputs)
        for offset in self.offsets:
            rows, others = slice_pairs(codes.shape[1], offset)
            paired = present[:, rows] & told[:, others]
            losses = self.compare(scores[:, rows], codes[:, others].to(outputs.dtype))  # (records, pairs)
            total = total + torch.where(paired, losses, 0.0).sum(dim=1)
            pairs = pairs + paired.sum(dim=1)
        return total / pairs.clamp(min=1)

    def prepare(self, outputs: "torch.Tensor") -> "torch.Tensor":
        """Return what :meth:`compare` takes, of all logits; (records, visits, codes)."""
        return outputs.log_softmax(dim=2)

    def compare(self, scores: "torch.Tensor", codes: "torch.Tensor") -> "torch.Tensor":
        """Compute the loss of each pair of a row of scores and a visit's codes, 0 or 1; (records, pairs)."""
        return -(scores * codes).sum(dim=2) / codes.sum(dim=2).clamp(min=1)

    def count_cells(
        self, outputs: "torch.Tensor", targets: Mapping[str, NDArray[np.generic]], bins: int
    ) -> NDArray[np.int64]:
        """Count records, for each k, by their mean recall; those without a pair in the last cell."""
        codes, present = (targets[name].astype(bool) for name in (self.terms.predicted, self.terms.present))
        recalls = self._compute_recalls(outputs, codes, present)  # (records, top)
        # NaN stands for a record without a pair, and for nothing else: recalls are shares of whole numbers
        places = np.where(np.isnan(recalls), bins + 1, np.rint(np.nan_to_num(recalls) * bins)).astype(np.int64)
        return np.concatenate([np.bincount(each, minlength=bins + 2) for each in places.T]).astype(np.int64)

    def _compute_recalls(
        self, outputs: "torch.Tensor", codes: NDArray[np.bool_], present: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Compute each record's mean recall at each k, NaN without a pair; (records, top)."""
        top = np.array(self.terms.list_top(self.contract))
        found = np.full((len(codes), len(top)), np.nan)
        at_once = max(1, _NUMBERS_AT_ONCE // max(1, codes[:1].size))
        for first in range(0, len(codes), at_once):
            some = slice(first, first + at_once)
            best = find_greatest(outputs[some], int(top.max()))  # (records, visits, k)
            found[some] = self._average_recalls(best, codes[some], present[some], top)
        return found

    def _average_recalls(
        self,
        best: NDArray[np.int64],
        codes: NDArray[np.bool_],
        present: NDArray[np.bool_],
        top: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        sizes = codes.sum(axis=2)  # (records, visits)
        total, pairs = np.zeros((len(codes), len(top))), np.zeros((len(codes), 1))
        for offset in self.offsets:
            rows, others = slice_pairs(codes.shape[1], offset)
            paired = present[:, rows] & present[:, others] & (sizes[:, others] > 0)
            hits = np.cumsum(np.take_along_axis(codes[:, others], best[:, rows], axis=2), axis=2)[:, :, top - 1]
            recalls = hits / np.maximum(sizes[:, others], 1)[:, :, None]  # (records, pairs, top)
            total += np.where(paired[:, :, None], recalls, 0.0).sum(axis=1)
            pairs += paired.sum(axis=1, keepdims=True)
        means: NDArray[np.float64] = np.where(pairs > 0, total / np.maximum(pairs, 1), np.nan)
        return means

    def count_patients(self, counts: Sequence[int], bins: int) -> int:
        """Return the mean total of the histograms, at least 0; patients without a pair are counted too."""
        return count_patients_of_histograms(counts, self.terms.list_cell_groups(self.contract, bins))

    def compute_figures(self, counts: Sequence[int], bins: int) -> Values:
        """Compute recall at each k of summed counts by name, a mean over the patients with a pair.

        Raises:
            ValueError: the counts are not as many as the task has cells.
        """
        parts = split_counts(counts, self.terms.list_cell_groups(self.contract, bins))
        return {
            kind.name: to_figure(compute_mean_recall(part)) for kind, part in zip(self.figures, parts, strict=True)
        }

    def compute_rank(self, counts: Sequence[int], bins: int) -> Fraction | None:
        """Compute the exact recall at the first k.

        Raises:
            ValueError: as :meth:`compute_figures`.
        """
        return compute_mean_recall(split_counts(counts, self.terms.list_cell_groups(self.contract, bins))[0])

    def describe_outputs(self, outputs: "torch.Tensor") -> Mapping[str, NDArray[np.float64]]:
        """Return the ``probability`` of each code for each row, (records, visits, codes)."""
        shares: NDArray[np.float64] = outputs.detach().double().softmax(dim=2).cpu().numpy()
        return {"probability": shares}


def slice_pairs(visits: int, offset: int) -> tuple[slice, slice]:
    """Return the rows that have a visit ``offset`` after them, and these visits, in the same order."""
    count = max(0, visits - abs(offset))
    row, other = max(0, -offset), max(0, offset)
    return slice(row, row + count), slice(other, other + count)


def find_greatest(outputs: "torch.Tensor", k: int) -> NDArray[np.int64]:
    """Find the ``k`` codes with the greatest logits of each row, greatest first; (records, visits, k)."""
    import torch  # the coordinator reads figures without torch

    known = torch.where(outputs.isnan(), -torch.inf, outputs.detach())
    order: NDArray[np.int64] = known.sort(dim=2, descending=True, stable=True).indices[:, :, :k].cpu().numpy()
    return order


def compute_mean_recall(cells: Counts) -> Fraction | None:
    """Compute the mean recall of one histogram, (bins + 2,); None if nobody has a pair."""
    recalls = cells[:-1]
    patients, steps = int(recalls.sum()), len(recalls) - 1
    if not patients:
        return None
    return Fraction(int((recalls * np.arange(steps + 1).astype(object)).sum()), steps * patients)
