"""What tasks that predict the codes of other visits share: the tensors, and the cells of recall.

A record is a series of visits, each with any number of codes. Row t of the outputs, a number for each code,
predicts the codes of visits near t; which ones, the task says. A visit that is not present, or has no code, is not
predicted.

A test patient adds one to one cell for each k of ``top``. Recall at k is the share of a visit's codes that are
among the k with the greatest outputs (Choi et al. 2016, Doctor AI); what is counted is its mean over a patient's
predicted visits, in ``evaluation.bins`` + 1 cells from 0 to 1, the nearest one. One more cell counts patients
without a predicted visit. A k that is not less than the number of codes says nothing, and has no cells.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Flags, TensorName, describe_tensor
from privacy.study.tasks.task import CellGroup, TaskTerms, describe_tensor_misfit


class VisitsTerms(TaskTerms):
    """The codes of visits.

    Attributes:
        events: the codes of each visit, flags (visits, codes).
        present: which visits there are, flags (visits,).
        labels: other codes of each visit to be predicted, flags (visits, codes); None predicts ``events``.
        top: each k of recall at k; the first one chooses the best model.
    """

    events: TensorName = "visits"
    present: TensorName = "present"
    labels: TensorName | None = None
    top: Annotated[tuple[Annotated[int, Field(ge=1, le=10_000)], ...], Field(min_length=1, max_length=5)] = (
        10,
        30,
    )

    @model_validator(mode="after")
    def _distinct_top(self) -> Self:
        if len(set(self.top)) < len(self.top):
            raise ValueError("top: a number is listed twice")
        return self

    @property
    def predicted(self) -> str:
        """The name of the flags that are predicted."""
        return self.events if self.labels is None else self.labels

    def list_targets(self) -> tuple[str, ...]:
        """List the codes to be predicted, and which visits there are; both may be inputs."""
        return (self.predicted, self.present)

    def find_misfit(self, contract: DataContract) -> str | None:
        """Describe why there are no codes of at least two visits, or no mask of the same visits."""
        words = {self.predicted: "flags (visits, codes)", self.present: "flags (visits,)"}
        for name, wanted in words.items():
            if misfit := describe_tensor_misfit(contract, name, Flags, wanted):
                return misfit
        codes, present = contract.find_tensor(self.predicted), contract.find_tensor(self.present)
        assert codes is not None
        assert present is not None
        if len(codes.shape) != 2 or codes.shape[0] < 2:
            return (
                f"the task needs '{self.predicted}' to be flags (visits, codes) of at least two visits; in the data "
                f"it is {describe_tensor(codes)}"
            )
        if present.shape != codes.shape[:1]:
            return (
                f"the task needs '{self.present}' to be one flag for each of the {codes.shape[0]} visits of "
                f"'{self.predicted}'; in the data it is {describe_tensor(present)}"
            )
        if not self.list_top(contract):
            return (
                f"top: '{self.predicted}' has {codes.shape[1]} codes, so that recall at {min(self.top)} is always 1; "
                "name a smaller number"
            )
        return None

    def list_top(self, contract: DataContract) -> tuple[int, ...]:
        """List each k of ``top`` that is less than the number of codes."""
        codes = self.compute_output_shape(contract)[1]
        return tuple(k for k in self.top if k < codes)

    def compute_output_shape(self, contract: DataContract) -> tuple[int, ...]:
        """Return (visits, codes)."""
        found = contract.find_tensor(self.predicted)
        assert found is not None
        return found.shape

    def list_cell_groups(self, contract: DataContract, bins: int) -> tuple[CellGroup, ...]:
        """List for each k a histogram of recall at k, with a last cell for patients without a predicted visit."""
        return tuple(CellGroup(f"recall at {k}", bins + 2) for k in self.list_top(contract))
