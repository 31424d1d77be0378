"""Segmentation of images and volumes: cross-entropy with the soft Dice of each record, and the figures of totals.

Rules:

* of flags a model gives one logit a voxel, and a voxel with a probability of at least the threshold is foreground;
  of ids it gives a logit for each class and voxel, and the class with the highest one is predicted, of equal ones
  the first. A pixel is a voxel here;
* the loss of a record is (1 - w) * (mean cross-entropy of its voxels) + w * (1 - soft Dice), w the overlap weight.
  The soft Dice is the mean over the foreground classes of (2 sum p t + 1) / (sum p + sum t + 1), over this
  record's voxels alone: one voxel is added on both sides, so that a class that is in neither is no error;
* voxels with the ignored id count in nothing, and the logit of this class is never used;
* a record with a logit that is not finite has its own cell; it counts as Dice 0, and as a prediction of
  background;
* a record's Dice is rounded to the nearest of ``bins`` values from 0 to 1 in equal steps, both ends included. So
  the mean Dice is off by at most half a step, 0.5 / (bins - 1), and the mean IoU, D / (2 - D) of the rounded Dice,
  by at most a step;
* a class that is neither in truth nor prediction of a patient has no Dice there, and the patient is left out of
  it;
* Dice and IoU over totals are those of all patients' voxels together, each size rounded to a thousandth of a
  record: a structure of less than half a thousandth of the image vanishes in them;
* figures are means over the foreground classes that have patients, or voxels. Models are compared by the mean Dice
  over patients, an exact fraction;
* noise may have made totals negative, or an intersection larger than what intersects: they are clipped at zero,
  and at the smaller of the two.

The public half, ``privacy/study/tasks/segmentation.py``, has the order of the cells and what one patient adds to
them.

Sources: Dice 1945; Milletari et al. 2016, V-Net, for the soft Dice as a loss.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.task import FigureKind, Values
from models.tasks.histograms import clip_counts, compute_mean, estimate_patients, to_figure
from models.tasks.precision import widen
from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Flags
from privacy.study.tasks.segmentation import WHOLE, SegmentationTerms

if TYPE_CHECKING:
    import torch

FIGURES: Final = (
    FigureKind("mean_dice", "mean Dice"),
    FigureKind("mean_iou", "mean IoU"),
    FigureKind("total_dice", "Dice of all voxels"),
    FigureKind("total_iou", "IoU of all voxels"),
)
MOST_NAMED: Final = 20
"""The most foreground classes that have a figure each."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class SegmentationTask:
    """Predict for every voxel of an image what it shows: implements :class:`~models.task.Task`.

    Attributes:
        classes: how many, the background included.
        flags: whether the mask is flags, of which the model gives one logit a voxel.
        target: the name of the mask.
        overlap_weight: how much of the loss is one minus the soft Dice.
        ignored: the id of voxels that do not count, if there is one.
        class_weights: how much a voxel of each class counts in the cross-entropy; without any, 1.
        threshold: the least probability of foreground, of flags.
    """

    classes: int = 2
    flags: bool = True
    target: str = "mask"
    overlap_weight: float = 0.3
    ignored: int | None = None
    class_weights: tuple[float, ...] = ()
    threshold: float = 0.5

    @classmethod
    def from_terms(cls, terms: SegmentationTerms, contract: DataContract) -> Self:
        """Make the task that ``terms`` describe for the data of ``contract``."""
        return cls(
            classes=terms.count_classes(contract),
            flags=isinstance(contract.find_tensor(terms.target), Flags),
            target=terms.target,
            overlap_weight=terms.overlap_weight,
            ignored=terms.ignored,
            class_weights=terms.class_weights,
            threshold=terms.threshold,
        )

    @property
    def figures(self) -> tuple[FigureKind, ...]:
        """The figures, mean Dice first; the last ones are that of each foreground class, if these are few."""
        return (*FIGURES, *(FigureKind(f"dice_{each}", f"mean Dice of class {each}") for each in self._named))

    def compute_losses(self, outputs: "torch.Tensor", targets: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
        """Compute cross-entropy and overlap of each record; (records,)."""
        import torch  # the coordinator reads figures without torch
        from torch.nn.functional import logsigmoid

        mask = targets[self.target].flatten(1).long()  # (records, voxels)
        kept = torch.tensor(self._kept, device=outputs.device)
        if self.flags:
            logits = widen(outputs).flatten(1)
            logs = torch.stack([logsigmoid(-logits), logsigmoid(logits)], dim=1)
        else:
            logs = widen(outputs).flatten(2)[:, kept].log_softmax(dim=1)  # (records, kept, voxels)
        truth = mask[:, None] == kept[:, None]  # (records, kept, voxels); of an ignored voxel no class is true
        counted = truth.any(dim=1, keepdim=True)
        voxels = counted.flatten(1).sum(dim=1).clamp(min=1)
        entropies = -torch.where(truth, logs, 0.0)  # not a product: a logarithm may be minus infinity
        if self.class_weights:
            entropies = entropies * entropies.new_tensor(self.class_weights)[kept][:, None]
        entropy = entropies.flatten(1).sum(dim=1) / voxels

        foreground = [place for place, each in enumerate(self._kept) if each]
        true, said = truth[:, foreground], torch.where(counted, logs[:, foreground].exp(), 0.0)
        both = torch.where(true, said, 0.0).sum(dim=2)  # (records, foreground)
        overlap = (2 * both + 1) / (said.sum(dim=2) + true.sum(dim=2) + 1)
        return (1 - self.overlap_weight) * entropy + self.overlap_weight * (1 - overlap.mean(dim=1))

    def count_cells(
        self, outputs: "torch.Tensor", targets: Mapping[str, NDArray[np.generic]], bins: int
    ) -> NDArray[np.int64]:
        """Count records by Dice for each foreground class, then sum the sizes for each."""
        mask = targets[self.target]
        voxels = math.prod(mask.shape[1:])
        true = mask.reshape(len(mask), voxels).astype(np.int64)
        predicted, finite = self._predict(outputs)
        predicted = predicted.reshape(len(mask), voxels)
        counted = np.isin(true, self._kept)
        histograms, sums = [], []
        for each in self._foreground:
            of_truth, of_prediction = true == each, (predicted == each) & counted
            sizes = np.stack(
                [part.sum(axis=1) for part in (of_truth & of_prediction, of_prediction, of_truth)], axis=1
            )  # (records, 3)
            places = np.where(finite, _place_dice(sizes, bins), bins + 1)
            histograms.append(np.bincount(places, minlength=bins + 2))
            # rounded to the nearest thousandth, in whole numbers
            sums.append(((2 * WHOLE * sizes + voxels) // (2 * voxels)).sum(axis=0))
        return np.concatenate([*histograms, *sums]).astype(np.int64)

    def count_patients(self, counts: Sequence[int], bins: int) -> int:
        """Return the mean total of the foreground classes' histograms."""
        classes = len(self._foreground)
        return estimate_patients(counts[: classes * (bins + 2)], classes)

    def compute_figures(self, counts: Sequence[int], bins: int) -> Values:
        """Compute the figures of summed totals by name.

        ==============  ==================================================================================
        ``mean_dice``   mean over the patients of twice the intersection, over predicted plus true size
        ``mean_iou``    mean over the patients of the intersection, over the union
        ``total_dice``  the same as the first, of all patients' voxels together
        ``total_iou``   the same as the second, of all patients' voxels together
        ``dice_1`` ...  ``mean_dice`` of each foreground class, where there are several
        ==============  ==================================================================================

        Raises:
            ValueError: the counts are not as many as the task has cells.
        """
        histograms, sums = self._split(counts, bins)
        dices = [_compute_mean_dice(each, bins) for each in histograms]
        both, either = np.minimum(sums[:, 0], sums[:, 1:].min(axis=1)).tolist(), sums[:, 1:].sum(axis=1).tolist()
        figures = (
            compute_mean(dices),
            compute_mean(_compute_mean_iou(each, bins) for each in histograms),
            compute_mean(_divide(2 * a, b) for a, b in zip(both, either, strict=True)),
            compute_mean(_divide(a, b - a) for a, b in zip(both, either, strict=True)),
            *(dices if self._named else ()),
        )
        return {kind.name: to_figure(figure) for kind, figure in zip(self.figures, figures, strict=True)}

    def compute_rank(self, counts: Sequence[int], bins: int) -> Fraction | None:
        """Compute the exact mean Dice over patients; None if no foreground class has patients.

        Raises:
            ValueError: as :meth:`compute_figures`.
        """
        return compute_mean(_compute_mean_dice(each, bins) for each in self._split(counts, bins)[0])

    def describe_outputs(self, outputs: "torch.Tensor") -> Mapping[str, NDArray[np.float64]]:
        """Return the ``class`` that is predicted of every voxel, (records, *space), and probabilities.

        These are the ``probability`` of foreground, (records, *space), of flags; of ids the ``probabilities``,
        (records, classes, *space), which are 0 for the ignored class.
        """
        predicted, _ = self._predict(outputs)
        logits = outputs.detach().double()
        if self.flags:
            return {"class": predicted.astype(np.float64), "probability": logits.sigmoid().cpu().numpy()}
        kept = list(self._kept)
        probabilities = np.zeros(logits.shape)
        probabilities[:, kept] = logits[:, kept].softmax(dim=1).cpu().numpy()
        return {"class": predicted.astype(np.float64), "probabilities": probabilities}

    @property
    def _kept(self) -> tuple[int, ...]:
        """The classes that a voxel may have: all but the ignored one."""
        return tuple(each for each in range(self.classes) if each != self.ignored)

    @property
    def _foreground(self) -> tuple[int, ...]:
        return tuple(each for each in self._kept if each)

    @property
    def _named(self) -> tuple[int, ...]:
        """The foreground classes that have a figure each."""
        return self._foreground if 1 < len(self._foreground) <= MOST_NAMED else ()

    def _predict(self, outputs: "torch.Tensor") -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the class of every voxel, (records, *space), and whether a record is finite, (records,).

        A record with a logit that is not finite is background.
        """
        logits = outputs.detach() if self.flags else outputs.detach()[:, list(self._kept)]
        finite: NDArray[np.bool_] = logits.isfinite().flatten(1).all(dim=1).cpu().numpy()
        if self.flags:
            predicted = (logits.double().sigmoid() >= self.threshold).cpu().numpy().astype(np.int64)
        else:
            predicted = np.array(self._kept)[logits.argmax(dim=1).cpu().numpy()]
        predicted[~finite] = 0
        return predicted, finite

    def _split(self, counts: Sequence[int], bins: int) -> tuple[Counts, Counts]:
        """Return the histograms (foreground, bins + 2) and the sums (foreground, 3), clipped at zero."""
        classes = len(self._foreground)
        clipped = clip_counts(counts, classes * (bins + 5))
        return clipped[: classes * (bins + 2)].reshape(classes, -1), clipped[classes * (bins + 2) :].reshape(-1, 3)


def _place_dice(sizes: Counts, bins: int) -> Counts:
    """Return the nearest of the values of Dice for each record, or the cell ``bins`` of an absent class.

    Args:
        sizes: voxels of intersection, prediction and truth; (records, 3).
        bins: how many values there are.
    """
    both, either = sizes[:, 0], sizes[:, 1] + sizes[:, 2]
    # 2 both / either, times bins - 1, plus a half, rounded down, in whole numbers
    place = (4 * both * (bins - 1) + either) // np.maximum(2 * either, 1)
    return np.where(either == 0, bins, place)


def _compute_mean_dice(histogram: Counts, bins: int) -> Fraction | None:
    """Compute the mean Dice of a histogram (bins + 2,); what is not finite counts as 0."""
    patients = int(histogram[:bins].sum() + histogram[bins + 1])
    steps = sum(place * count for place, count in enumerate(histogram[:bins].tolist()))
    return _divide(steps, (bins - 1) * patients)


def _compute_mean_iou(histogram: Counts, bins: int) -> Fraction | None:
    """Compute the mean IoU of a histogram (bins + 2,); what is not finite counts as 0."""
    patients = int(histogram[:bins].sum() + histogram[bins + 1])
    dice = np.arange(bins) / (bins - 1)
    total = float((histogram[:bins] * (dice / (2 - dice))).sum())
    return Fraction(total) / patients if patients else None


def _divide(part: int, whole: int) -> Fraction | None:
    return Fraction(part, whole) if whole else None
