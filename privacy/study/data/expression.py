"""A contract of kind ``expression``: named genes in a public order, as one number each, in a public range.

A record is one sample: an array, a sequenced tissue, a cell. Whose sample it is, the mapping finds. Nothing is measured
on patients: no quantile normalisation, no scaling by a site's own mean. What a site's genes are called elsewhere, or in
which logarithm they are kept, the mapping says.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from privacy.fields import Column, RangeEnd, Word
from privacy.study.data.contract import DataContract, Tensors
from privacy.study.data.labels import Label
from privacy.study.data.tensors import Numbers, TensorName

Gene = Annotated[Word, Field(min_length=1, max_length=100)]


class ExpressionContract(DataContract):
    """The expression matrix every site must have.

    Attributes:
        input: the name of the tensor, (genes,).
        genes: in the order of the tensor; letter case matters.
        transform: what is done to a value: nothing, or log2(1 + value).
        low: of the range, after the transform; ``high`` likewise.
        scaled: to what the range is scaled.
        absent: what stands for a gene that a sample lacks: the sample is left out, or the range's low end or middle.
        most_absent: the largest part of the genes that a sample may lack.
        repeated: what becomes of a gene with several rows, such as probes: refused, their mean, or the largest.
        label: what is predicted, from columns that the mapping finds.
    """

    kind: Literal["expression"]
    patient: Column = "patient"
    input: TensorName = "features"
    genes: Annotated[tuple[Gene, ...], Field(min_length=1, max_length=100_000)]
    transform: Literal["none", "log2p1"] = "none"
    low: RangeEnd
    high: RangeEnd
    scaled: Literal["unit", "signed", "none"] = "unit"
    absent: Literal["refuse", "low", "middle"] = "refuse"
    most_absent: float = Field(default=0, ge=0, lt=1)
    repeated: Literal["refuse", "mean", "largest"] = "refuse"
    label: Label | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.genes)) < len(self.genes):
            listed = [gene for gene in set(self.genes) if self.genes.count(gene) > 1]
            raise ValueError(f"genes: {len(listed)} are listed twice, for example {min(listed)}")
        if self.absent == "refuse" and self.most_absent:
            raise ValueError("most_absent: says how many genes may be absent; say what stands for them: absent")
        names = [self.patient, *(each.name for each in (*self.list_inputs(), *self.list_targets()))]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"a tensor or column has one role; used twice: {', '.join(twice)}")
        return self

    @property
    def fill(self) -> float:
        """The value that stands for an absent gene."""
        return self.low if self.absent == "low" else (self.low + self.high) / 2

    def list_inputs(self) -> Tensors:
        """List the genes, the only input."""
        return (
            Numbers(
                type="number",
                name=self.input,
                shape=(len(self.genes),),
                low=self.low,
                high=self.high,
                scaled=self.scaled,
            ),
        )

    def list_targets(self) -> Tensors:
        """List the targets of the label; none without it."""
        return () if self.label is None else self.label.list_targets()
