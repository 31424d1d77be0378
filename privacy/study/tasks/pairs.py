"""The task ``pairs``: predict a number of a pair, for example the affinity of a drug and a target.

A test patient (here whatever a record belongs to) adds one to the cell of truth bin x prediction bin, in the
target's public range.
"""

from typing import Literal

from privacy.fields import RangeEnd
from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import describe_tensor
from privacy.study.tasks.number_target import NumberTargetTerms, bound_bins
from privacy.study.tasks.task import CellGroup


class PairsTerms(NumberTargetTerms):
    """One number of a pair, in a public range.

    Attributes:
        strong: from which truth on a pair counts as a strong one, in the target's own units. The totals round it
            to the nearest edge of a bin. With it, there is the area under the curve of precision over recall.
    """

    kind: Literal["pairs"]
    strong: RangeEnd | None = None

    def find_misfit(self, contract: DataContract) -> str | None:
        """Describe why the target is not one number, or ``strong`` not within its range."""
        misfit = super().find_misfit(contract)
        if misfit is not None:
            return misfit
        numbers = self.find_numbers(contract)
        if numbers.shape:
            words = describe_tensor(numbers)
            return f"the task needs '{self.target}' to be one number a record; in the data it is {words}"
        if self.strong is not None and not numbers.low < self.strong < numbers.high:
            return (
                f"strong is {self.strong:g}, expected a number within the range of '{self.target}', more than "
                f"{numbers.low:g} and less than {numbers.high:g}"
            )
        return None

    def find_strong_bin(self, contract: DataContract, bins: int) -> int | None:
        """Find the first truth bin of strong pairs, at least 1 and at most the last; None without ``strong``."""
        if self.strong is None:
            return None
        numbers, each = self.find_numbers(contract), bound_bins(bins)
        edge = round((self.strong - numbers.low) / (numbers.high - numbers.low) * each)
        return min(max(edge, 1), each - 1)

    def list_cell_groups(self, contract: DataContract, bins: int) -> tuple[CellGroup, ...]:
        """List one histogram of truth x prediction."""
        return (CellGroup("truth x prediction", bound_bins(bins) ** 2),)
