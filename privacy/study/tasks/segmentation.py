"""The task ``segmentation``: predict for every pixel or voxel of an image what it shows.

The target is flags (one kind of foreground), or ids of C classes, of which 0 is the background. Foreground classes
are all but 0 and the ignored one.

A test patient adds to two groups for each foreground class, first the histograms of all classes, then the sums:

* one to one cell of a histogram: the record's Dice in bins, then a cell for a class that is neither in the truth
  nor in the prediction, then a cell for outputs that are not all finite numbers;
* to three sums: the size of the intersection, of the prediction and of the truth, each the share of the record's
  voxels in thousandths, rounded.

No size is more than all voxels, and so none of the three integers is more than ``WHOLE`` = 1000. Their squares sum
to at most 3 * 1000^2; a record that is all of one class, and is predicted so, reaches it.
"""

from typing import Final, Literal

from pydantic import Field

from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Flags, Ids, Numbers, TensorName, describe_tensor
from privacy.study.tasks.classes import MOST_CLASSES, describe_weights_misfit
from privacy.study.tasks.multiclass import ClassWeights
from privacy.study.tasks.task import CellGroup, TaskTerms, describe_tensor_misfit

WHOLE: Final = 1000
"""What a sum gets for all voxels of a record."""
_DIMENSIONS: Final = (2, 3)


class SegmentationTerms(TaskTerms):
    """A mask of an image or a volume, from one logit a voxel, or one for each class and voxel.

    Attributes:
        target: the mask: flags, or ids of which 0 is the background.
        overlap_weight: how much of the loss is one minus the soft Dice; the rest is cross-entropy.
        ignored: an id that means that nobody labelled the voxel; it counts neither in the loss nor in the totals.
        class_weights: the weight of each class's voxels in the cross-entropy, the background's first.
        threshold: a probability of at least this is foreground; for flags only.
    """

    kind: Literal["segmentation"]
    target: TensorName = "mask"
    overlap_weight: float = Field(default=0.3, ge=0, le=1)
    ignored: int | None = Field(default=None, ge=0, lt=MOST_CLASSES)
    class_weights: ClassWeights = ()
    threshold: float = Field(default=0.5, ge=0.001, le=0.999)

    def list_targets(self) -> tuple[str, ...]:
        """List the mask."""
        return (self.target,)

    def find_misfit(self, contract: DataContract) -> str | None:
        """Describe why the target is no mask, or why options do not suit it."""
        words = f"flags, or an id of 2 to {MOST_CLASSES} values, of an image or a volume"
        mask = contract.find_tensor(self.target)
        if mask is None:
            return describe_tensor_misfit(contract, self.target, Flags, words)
        classes = mask.values if isinstance(mask, Ids) else 2
        if isinstance(mask, Numbers) or len(mask.shape) not in _DIMENSIONS or classes > MOST_CLASSES:
            return f"the task needs '{self.target}' to be {words}; in the data it is {describe_tensor(mask)}"
        if isinstance(mask, Flags) and self.ignored is not None:
            return (
                f"ignored: only ids have a value to ignore; in the data '{self.target}' is {describe_tensor(mask)}"
            )
        if isinstance(mask, Ids) and self.threshold != 0.5:
            return f"threshold: only flags have one; in the data '{self.target}' is {describe_tensor(mask)}"
        if self.ignored is not None and not (classes > 2 and self.ignored < classes):
            return (
                f"ignored: expected one value of '{self.target}' and at least two others, got {self.ignored}; in "
                f"the data it has {classes} values"
            )
        return describe_weights_misfit(self.class_weights, classes, self.target)

    def compute_output_shape(self, contract: DataContract) -> tuple[int, ...]:
        """Return (*space) for flags, (classes, *space) for ids; nothing uses the logit of the ignored class."""
        mask = self._find_mask(contract)
        return mask.shape if isinstance(mask, Flags) else (mask.values, *mask.shape)

    def list_cell_groups(self, contract: DataContract, bins: int) -> tuple[CellGroup, ...]:
        """List for each foreground class the histogram of Dice, then for each the sums of sizes."""
        foreground = self.list_foreground(contract)
        return (
            *(CellGroup(f"class {each}: Dice, absent, not a number", bins + 2) for each in foreground),
            *(
                CellGroup(f"class {each}: intersection, predicted, true", 3, 3 * WHOLE**2, histogram=False)
                for each in foreground
            ),
        )

    def list_foreground(self, contract: DataContract) -> tuple[int, ...]:
        """List the foreground classes: all but the background and the ignored one."""
        return tuple(each for each in range(1, self.count_classes(contract)) if each != self.ignored)

    def count_classes(self, contract: DataContract) -> int:
        """Count the classes of the mask, background and ignored one included."""
        mask = self._find_mask(contract)
        return mask.values if isinstance(mask, Ids) else 2

    def _find_mask(self, contract: DataContract) -> Flags | Ids:
        mask = contract.find_tensor(self.target)
        assert isinstance(mask, Flags | Ids)
        return mask
