"""What an event is asked: which codes, values, words; and the vocabularies and variables that events become.

A **criterion** is met by some events. A list of criteria is met by an event that meets any of them, so that one disease
can be found in several ways: type 2 diabetes by HbA1c above 7 %, by 250.00, by E11, by words in a note.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.fields import Column, RangeEnd, require_rising
from privacy.study.data.code_systems import (
    EVERY_SYSTEMS,
    Code,
    CodeSystem,
    EveryRule,
    list_every,
    normalise_beginning,
)

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_ /%().+-]{0,59}$")]
Unit = Annotated[str, Field(max_length=40)]


class HasCode(Document):
    """An event with one of ``codes``; in ICD and ATC also with one that begins like it."""

    kind: Literal["code"]
    system: CodeSystem
    codes: tuple[Code, ...] = Field(min_length=1, max_length=10_000)

    @model_validator(mode="after")
    def _of_the_system(self) -> Self:
        list_normal_words(self.system, self.codes)
        return self


class HasValue(Document):
    """A measurement of a variable of ``data.variables``, above or below a value in that variable's unit."""

    kind: Literal["value"]
    variable: VariableName
    above: RangeEnd | None = None
    below: RangeEnd | None = None

    @model_validator(mode="after")
    def _with_an_end(self) -> Self:
        if self.above is None and self.below is None:
            raise ValueError("expected above, below, or both")
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise ValueError(f"expected above < below, got {self.above:g} and {self.below:g}")
        return self


class HasWords(Document):
    """A note that has one of ``phrases``, as whole words, whatever the letter case; a negation is not understood."""

    kind: Literal["words"]
    phrases: tuple[Annotated[str, Field(min_length=2, max_length=200)], ...] = Field(min_length=1, max_length=1000)


class HasDied(Document):
    """The patient's death, at its date."""

    kind: Literal["death"]


Criterion = Annotated[HasCode | HasValue | HasWords | HasDied, Field(discriminator="kind")]
Criteria = Annotated[tuple[Criterion, ...], Field(min_length=1, max_length=100)]


class CodeSet(Document):
    """Codes of a system as columns of flags.

    The columns are ``words``, or what the rule ``every`` lists, or ``buckets``: a code's SHA-256 modulo their number.
    In ICD and ATC a code counts for the longest word with which it begins. ``others`` adds a column for codes of the
    system that have none.
    """

    system: CodeSystem
    every: EveryRule | None = None
    words: tuple[Code, ...] = Field(default=(), max_length=100_000)
    buckets: int | None = Field(default=None, ge=2, le=100_000)
    others: bool = False

    @model_validator(mode="after")
    def _one_vocabulary(self) -> Self:
        if [self.every is not None, bool(self.words), self.buckets is not None].count(True) != 1:
            raise ValueError("expected one of every, words and buckets")
        if self.every is not None and self.system not in EVERY_SYSTEMS[self.every]:
            raise ValueError(f"{self.every} are no codes of {self.system}")
        words = list_normal_words(self.system, self.words)
        if twice := sorted({word for word in words if words.count(word) > 1} if len(words) < 5000 else ()):
            raise ValueError(f"a word is listed twice: {', '.join(twice)}")
        return self

    @property
    def width(self) -> int:
        """How many columns it has."""
        named = self.buckets or len(self.words) or len(list_every(self.every or "atc-1"))
        return named + self.others

    def list_words(self) -> tuple[str, ...]:
        """List the normal forms of its words, in the order of the columns; none for buckets."""
        return list_every(self.every) if self.every is not None else list_normal_words(self.system, self.words)


class CodeMap(Document):
    """A public table that leads from the codes of one system to those of another, the same file at every site.

    Attributes:
        source: codes of this system are replaced.
        target: by codes of this one.
        form: ``gem``, lines of two codes and five flags, as CMS publishes General Equivalence Mappings; ``gem-csv``,
            the same as CSV with a header; ``ccs``, the single-level diagnosis groups of CCS; ``pairs``, CSV with a
            header whose first two columns are the codes.
        sha256: of the file, unpacked.
        several: what becomes of a code that leads to several: ``all`` of them count, or it is ``unknown``.
    """

    source: CodeSystem
    target: CodeSystem
    form: Literal["gem", "gem-csv", "ccs", "pairs"]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    several: Literal["all", "unknown"] = "all"

    @model_validator(mode="after")
    def _between_systems(self) -> Self:
        if self.source == self.target:
            raise ValueError(f"expected two systems, got {self.source} twice")
        if self.form == "ccs" and (self.source, self.target) != ("icd9cm", "ccs"):
            raise ValueError("the form ccs leads from icd9cm to ccs")
        return self


class CodeName(Document):
    """One code of a system."""

    system: CodeSystem
    code: Code

    @model_validator(mode="after")
    def _of_the_system(self) -> Self:
        list_normal_words(self.system, (self.code,))
        return self


class LinearConversion(Document):
    """A value in ``unit`` is multiplied by ``times``, then ``plus`` is added."""

    unit: Unit
    times: Annotated[float, Field(gt=0, le=1e12)] = 1.0
    plus: RangeEnd = 0.0


class Variable(Document):
    """A measured variable, scaled from its public range to [-1, 1]; beyond the range it is clipped.

    Attributes:
        name: for people, and for criteria and labels.
        codes: what it is measured as, such as LOINC codes.
        unit: of the range; empty for a number without unit.
        low, high: the public range.
        logarithm: whether the logarithm is scaled: for variables over several orders of magnitude.
        molar_mass: of the substance, in g/mol, between units of mass and of amount.
        conversions: from units that no rule of physics converts, such as mmol/mol of HbA1c to %.
    """

    name: VariableName
    codes: tuple[CodeName, ...] = Field(min_length=1, max_length=1000)
    unit: Unit = ""
    low: RangeEnd
    high: RangeEnd
    logarithm: bool = False
    molar_mass: Annotated[float, Field(gt=0, le=1e9)] | None = None
    conversions: tuple[LinearConversion, ...] = Field(default=(), max_length=20)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        require_rising(self.low, self.high)
        if self.logarithm and self.low <= 0:
            raise ValueError(f"a logarithm needs low above 0, got {self.low:g}")
        return self


class PatientAge(Document):
    """The age at the index, in years of 365.25 days, scaled from its public range to [-1, 1]."""

    kind: Literal["age"]
    low: Annotated[float, Field(ge=0, le=150)] = 0
    high: Annotated[float, Field(ge=0, le=150)] = 110

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        require_rising(self.low, self.high)
        return self


class PatientFact(Document):
    """A word that is known of a patient and does not change, one-hot encoded; a word outside ``values`` is missing."""

    kind: Literal["fact"]
    name: Column
    values: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = Field(min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.values)) < len(self.values):
            raise ValueError("a value is listed twice")
        return self


Static = Annotated[PatientAge | PatientFact, Field(discriminator="kind")]


def list_normal_words(system: str, codes: Sequence[str]) -> tuple[str, ...]:
    """List the normal forms of codes that the study's author wrote.

    Raises:
        ValueError: one is no code of the system, nor the beginning of one.
    """
    words = [normalise_beginning(system, code) for code in codes]
    if wrong := [code for code, word in zip(codes, words, strict=True) if word is None]:
        raise ValueError(f"no codes of {system}: {', '.join(wrong[:5])}")
    return tuple(word for word in words if word is not None)
