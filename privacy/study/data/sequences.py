"""A contract of kind ``sequences``: DNA, RNA or protein letters of a public length, and what is predicted of them.

A record is one sequence: an entry of a FASTA file, an interval of a genome, or a row of a table. A patient may have
many. With ``overlap`` the target is whether the interval overlaps public or measured intervals, as in DeepSEA.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.fields import Column, Name
from privacy.study.data.contract import DataContract, Tensors
from privacy.study.data.labels import Label
from privacy.study.data.letters import Letters
from privacy.study.data.tensors import Flags, Ids


class Overlap(Document):
    """Whether sets of intervals, such as the peaks of an assay, cover a sequence's interval.

    Attributes:
        sets: their names. One gives the target ``label``, an id of 2 values; several give the flags ``labels``.
        share: the part of the sequence's interval that a set must cover at least.
    """

    sets: Annotated[tuple[Name, ...], Field(min_length=1, max_length=1000)]
    share: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if twice := sorted({name for name in self.sets if self.sets.count(name) > 1}):
            raise ValueError(f"a set is listed twice: {', '.join(twice)}")
        return self

    def list_targets(self) -> Tensors:
        """List ``label`` or ``labels``."""
        if len(self.sets) == 1:
            return (Ids(type="id", name="label", values=2),)
        return (Flags(type="flag", name="labels", shape=(len(self.sets),)),)


class SequencesContract(DataContract):
    """The sequences every site must have.

    Attributes:
        sequence: the letters, as one tensor.
        minus_strand: whether a sequence of an interval on the minus strand is read as it stands in the genome, or
            as its reverse complement.
        flanks: what surrounds an interval that is shorter than ``sequence.length``: padding, or the genome's letters.
        label: what is predicted, from columns that the mapping finds.
        overlap: the same, from intervals.
    """

    kind: Literal["sequences"]
    patient: Column = "patient"
    sequence: Letters
    minus_strand: Literal["as-given", "reverse-complement"] = "as-given"
    flanks: Literal["padding", "genome"] = "padding"
    label: Label | None = None
    overlap: Overlap | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        bases = self.sequence.alphabet in ("dna", "rna")
        if not bases and (self.minus_strand, self.flanks) != ("as-given", "padding"):
            raise ValueError("minus_strand and flanks are for DNA and RNA; leave them out")
        if self.sequence.alphabet == "smiles":
            raise ValueError("sequence.alphabet: compounds are for kind 'pairs', whose label may be left out")
        if self.label is not None and self.overlap is not None:
            raise ValueError("both label and overlap say what is predicted; leave out one")
        names = [self.patient, *(each.name for each in (*self.list_inputs(), *self.list_targets()))]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"a tensor or column has one role; used twice: {', '.join(twice)}")
        return self

    def list_inputs(self) -> Tensors:
        """List the sequence, the only input."""
        return (self.sequence.make_tensor(),)

    def list_targets(self) -> Tensors:
        """List the targets of the label or of the overlap; none without them."""
        if self.overlap is not None:
            return self.overlap.list_targets()
        return () if self.label is None else self.label.list_targets()
