"""A contract of kind ``pairs``: a compound and a protein, and how strongly they bind.

A record is one pair. What is protected is named: it is the item of one input (a compound with all its pairs, since a
company hides its compounds), or a person whom the table of pairs tells. Inputs may be of one item only, for example
fingerprints of compounds with a class as the label.
"""

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.fields import Column, RangeEnd, Sha256, Word, require_rising
from privacy.study.data.contract import DataContract, Tensors
from privacy.study.data.labels import Label
from privacy.study.data.letters import Letters
from privacy.study.data.tensors import Numbers, TensorName


class Fingerprint(Document):
    """A compound's Morgan fingerprint: which circular surroundings of its atoms occur, folded to public bits.

    Source: Rogers and Hahn 2010, Extended-Connectivity Fingerprints; RDKit's Morgan generator without chirality.
    ``radius`` 2 is what is called ECFP4.
    """

    kind: Literal["fingerprint"]
    name: TensorName
    radius: int = Field(default=2, ge=0, le=6)
    bits: int = Field(default=2048, ge=16, le=65_536)

    def make_tensor(self) -> Numbers:
        """Make the tensor: 1 for what occurs; (bits,)."""
        return Numbers(type="number", name=self.name, shape=(self.bits,), low=0, high=1, scaled="none")


class Similarities(Document):
    """What is known of an item in public: its row of a matrix, such as its similarities to the things of a list.

    A row of a network's adjacency matrix, or the numbers that a published embedding has for the item, are such rows
    too.

    Attributes:
        columns: the names of the matrix's columns, in the order of the tensor.
        low: of the range; a matrix with another value is refused, not clipped.
        symmetric: whether rows and columns are the same things, so that the matrix must be symmetric.
        diagonal: the similarity of a thing to itself, if all have the same.
        sha256: of the only file that sites may use; without it each site has its own.
    """

    kind: Literal["similarities"]
    name: TensorName
    columns: Annotated[tuple[Word, ...], Field(min_length=1, max_length=100_000)]
    low: RangeEnd = 0
    high: RangeEnd = 1
    scaled: Literal["unit", "signed", "none"] = "unit"
    symmetric: bool = False
    diagonal: float | None = None
    sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if twice := sorted(name for name, times in Counter(self.columns).items() if times > 1)[:3]:
            raise ValueError(f"columns: listed twice: {', '.join(twice)}")
        require_rising(self.low, self.high)
        if self.diagonal is not None and not self.low <= self.diagonal <= self.high:
            raise ValueError(
                f"diagonal: expected a value from {self.low:g} to {self.high:g}, got {self.diagonal:g}"
            )
        return self

    def make_tensor(self) -> Numbers:
        """Make the tensor; (columns,)."""
        return Numbers(
            type="number",
            name=self.name,
            shape=(len(self.columns),),
            low=self.low,
            high=self.high,
            scaled=self.scaled,
        )


class Affinity(Document):
    """How strongly a pair binds: -log10 of a constant in mol/l (pKd, pKi, pIC50), in a public range.

    Attributes:
        bounds: what becomes of a measurement that is only a bound ("> 10000"): ``refuse`` leaves the pair out,
            ``equal`` takes the bound as the value.
    """

    low: RangeEnd
    high: RangeEnd
    bounds: Literal["refuse", "equal"] = "refuse"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        require_rising(self.low, self.high)
        return self

    def list_targets(self) -> Tensors:
        """List ``affinity``."""
        return (Numbers(type="number", name="affinity", low=self.low, high=self.high),)


PairInput = Annotated[Letters | Fingerprint | Similarities, Field(discriminator="kind")]


class PairsContract(DataContract):
    """The pairs every site must have.

    Attributes:
        protected: whose contribution is hidden: the name of an input, whose items are the patients, each with all its
            pairs; or ``person``, whom the table of pairs tells.
        inputs: of the two items of a pair; two inputs may be of one item, such as its letters and its fingerprint.
        affinity: what is predicted, from a constant.
        label: the same, from a column of any other kind.
    """

    kind: Literal["pairs"]
    patient: Column = "patient"
    protected: TensorName
    inputs: Annotated[tuple[PairInput, ...], Field(min_length=1, max_length=10)]
    affinity: Affinity | None = None
    label: Label | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [each.name for each in self.inputs]
        if self.protected not in (*names, "person"):
            raise ValueError(f"protected: expected an input ({', '.join(names)}) or person, got '{self.protected}'")
        if self.label is not None and self.affinity is not None:
            raise ValueError("both label and affinity say what is predicted; leave out one")
        names += [self.patient, *(each.name for each in self.list_targets())]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"a tensor or column has one role; used twice: {', '.join(twice)}")
        return self

    def list_inputs(self) -> Tensors:
        """List the inputs."""
        return tuple(each.make_tensor() for each in self.inputs)

    def list_targets(self) -> Tensors:
        """List the targets of the affinity or of the label; none without them."""
        if self.affinity is not None:
            return self.affinity.list_targets()
        return () if self.label is None else self.label.list_targets()
