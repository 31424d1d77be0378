"""The task ``regression``: predict one number, or several.

A test patient adds one to one cell: of one number, to the cell of truth bin x prediction bin, in the target's
public range; of several, to the bin of the mean absolute error of all of them, in parts of the range. Such errors are
small parts of it, and their bins are not squared: so there may be as many as ``evaluation.bins`` says.
"""

from typing import Literal

from privacy.study.data.contract import DataContract
from privacy.study.tasks.number_target import NumberTargetTerms, bound_bins
from privacy.study.tasks.task import CellGroup


class RegressionTerms(NumberTargetTerms):
    """Numbers in a public range."""

    kind: Literal["regression"]

    def list_cell_groups(self, contract: DataContract, bins: int) -> tuple[CellGroup, ...]:
        """List one histogram: of truth x prediction for one number, of the mean absolute error for several."""
        if self.find_numbers(contract).shape:
            return (CellGroup("mean absolute error", bins),)
        return (CellGroup("truth x prediction", bound_bins(bins) ** 2),)
