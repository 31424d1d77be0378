"""Numbers of pairs, such as the affinity of a drug and a target: the loss, and figures from a summed histogram.

The figures are those of a histogram of truth x prediction (``two_way_counts.py``), in the target's own units;
models are compared by the concordance. They are those of Öztürk et al. 2018, DeepDTA, and R^2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from models.task import FigureKind, Values
from models.tasks.group_counts import count_patients_of_histograms
from models.tasks.histograms import to_figure
from models.tasks.number_losses import compute_number_losses, compute_shares, describe_numbers
from models.tasks.two_way_counts import TwoWayCounts, count_two_way
from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Numbers
from privacy.study.tasks.number_target import bound_bins
from privacy.study.tasks.pairs import PairsTerms

if TYPE_CHECKING:
    import torch

FIGURES: Final = (
    FigureKind("concordance", "concordance"),
    FigureKind("mse", "mean squared error", lower_is_better=True, best=0.0),
    FigureKind("r2", "R²"),
    FigureKind("rm2", "r_m²"),
)
FIGURE_OF_STRONG: Final = FigureKind("average_precision", "average precision")


@dataclass(frozen=True)
class PairsTask:
    """Predict a number of a pair: implements :class:`~models.task.Task`.

    A model gives one output a record, in the scale that models see.
    """

    terms: PairsTerms
    contract: DataContract

    @property
    def figures(self) -> tuple[FigureKind, ...]:
        """The figures, concordance first; average precision last if the terms say what is strong."""
        return FIGURES if self.terms.strong is None else (*FIGURES, FIGURE_OF_STRONG)

    @property
    def _numbers(self) -> Numbers:
        return self.terms.find_numbers(self.contract)

    def compute_losses(self, outputs: "torch.Tensor", targets: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
        """Compute the loss of each record; (records,)."""
        return compute_number_losses(outputs, targets[self.terms.target], self.terms)

    def count_cells(
        self, outputs: "torch.Tensor", targets: Mapping[str, NDArray[np.generic]], bins: int
    ) -> NDArray[np.int64]:
        """Count records by truth and prediction, truths outside."""
        truths = compute_shares(targets[self.terms.target], self._numbers)
        predictions = compute_shares(outputs.detach().double().cpu().numpy(), self._numbers)
        return count_two_way(truths, predictions, bound_bins(bins))

    def count_patients(self, counts: Sequence[int], bins: int) -> int:
        """Return the total of the histogram, at least 0."""
        return count_patients_of_histograms(counts, self.terms.list_cell_groups(self.contract, bins))

    def compute_figures(self, counts: Sequence[int], bins: int) -> Values:
        """Compute the figures of summed counts by name.

        Raises:
            ValueError: the counts are not as many as the task has cells.
        """
        table = self._read(counts, bins)
        values = {
            "concordance": to_figure(table.compute_concordance()),
            "mse": table.compute_mean_squared_error(),
            "r2": to_figure(table.compute_r2()),
            "rm2": table.compute_rm2(),
        }
        first = self.terms.find_strong_bin(self.contract, bins)
        return (
            values if first is None else {**values, FIGURE_OF_STRONG.name: table.compute_average_precision(first)}
        )

    def compute_rank(self, counts: Sequence[int], bins: int) -> Fraction | None:
        """Compute the exact concordance.

        Raises:
            ValueError: as :meth:`compute_figures`.
        """
        return self._read(counts, bins).compute_concordance()

    def describe_outputs(self, outputs: "torch.Tensor") -> Mapping[str, NDArray[np.float64]]:
        """Return the predicted ``value`` of each record in the target's own units, (records,)."""
        return {"value": describe_numbers(outputs, self._numbers)}

    def _read(self, counts: Sequence[int], bins: int) -> TwoWayCounts:
        return TwoWayCounts(counts, bound_bins(bins), self._numbers.low, self._numbers.high)
