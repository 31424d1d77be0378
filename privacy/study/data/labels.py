"""The label of a table: what a study predicts, and the target tensors that it becomes.

==============  =====================================  ====================================================
kind            columns                                targets
==============  =====================================  ====================================================
``binary``      one, of yes and no words               ``label``: an id of 2 values, 1 for yes
``class``       one, of words in classes               ``label``: an id, the place of the word's class
``number``      one, in a public range                 ``label``: a number, scaled to [0, 1]
``several``     several binary ones                    ``labels``: flags, one for each column
``survival``    a time and what happened then          ``time``: a number scaled to [0, 1]; ``event``: an id,
                                                       0 for censored, then the causes
==============  =====================================  ====================================================
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from privacy.document import Document
from privacy.fields import Column, RangeEnd, Word, require_rising
from privacy.study.data.contract import Tensors
from privacy.study.data.tensors import Flags, Ids, Numbers

Words = Annotated[tuple[Word, ...], Field(min_length=1, max_length=1000)]


class BinaryLabel(Document):
    """The words of one column that mean yes, and those that mean no."""

    kind: Literal["binary"] = "binary"
    name: Column
    positive: Words
    negative: Words

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        if set(self.positive) & set(self.negative):
            raise ValueError("a word is both positive and negative")
        return self

    def list_columns(self) -> tuple[Column, ...]:
        """List the columns that the label needs."""
        return (self.name,)

    def list_targets(self) -> Tensors:
        """List ``label``."""
        return (Ids(type="id", name="label", values=2),)


class ClassLabel(Document):
    """One column whose words belong to classes; their order matters to an ordinal task only."""

    kind: Literal["class"]
    name: Column
    classes: tuple[Words, ...] = Field(min_length=2, max_length=1000)

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        words = [word for each in self.classes for word in each]
        if twice := sorted({word for word in words if words.count(word) > 1}):
            raise ValueError(f"a word belongs to one class; listed twice: {', '.join(twice)}")
        return self

    def list_columns(self) -> tuple[Column, ...]:
        """List the columns that the label needs."""
        return (self.name,)

    def list_targets(self) -> Tensors:
        """List ``label``."""
        return (Ids(type="id", name="label", values=len(self.classes)),)


class NumberLabel(Document):
    """One column of numbers in a public range; beyond it they are clipped."""

    kind: Literal["number"]
    name: Column
    low: RangeEnd
    high: RangeEnd

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        require_rising(self.low, self.high)
        return self

    def list_columns(self) -> tuple[Column, ...]:
        """List the columns that the label needs."""
        return (self.name,)

    def list_targets(self) -> Tensors:
        """List ``label``."""
        return (Numbers(type="number", name="label", low=self.low, high=self.high),)


class SeveralLabels(Document):
    """Several binary columns, each predicted for itself."""

    kind: Literal["several"]
    columns: tuple[BinaryLabel, ...] = Field(min_length=1, max_length=1000)

    def list_columns(self) -> tuple[Column, ...]:
        """List the columns that the label needs."""
        return tuple(each.name for each in self.columns)

    def list_targets(self) -> Tensors:
        """List ``labels``."""
        return (Flags(type="flag", name="labels", shape=(len(self.columns),)),)


class SurvivalLabel(Document):
    """A column of times from 0 to ``longest``, and one of what happened then: nothing more known, or a cause.

    A later time counts as ``longest``, and as censored: until then nothing had happened.
    """

    kind: Literal["survival"]
    time: Column
    longest: Annotated[float, Field(gt=0, le=1e15)]
    event: Column
    censored: Words
    causes: tuple[Words, ...] = Field(min_length=1, max_length=10)

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        words = [word for each in (self.censored, *self.causes) for word in each]
        if twice := sorted({word for word in words if words.count(word) > 1}):
            raise ValueError(f"a word means one thing; listed twice: {', '.join(twice)}")
        return self

    def list_columns(self) -> tuple[Column, ...]:
        """List the columns that the label needs."""
        return (self.time, self.event)

    def list_targets(self) -> Tensors:
        """List ``time`` and ``event``."""
        return (
            Numbers(type="number", name="time", low=0, high=self.longest),
            Ids(type="id", name="event", values=1 + len(self.causes)),
        )


def _read_kind(value: Any) -> Any:
    return value.get("kind", "binary") if isinstance(value, dict) else getattr(value, "kind", "binary")


Label = Annotated[
    Annotated[BinaryLabel, Tag("binary")]
    | Annotated[ClassLabel, Tag("class")]
    | Annotated[NumberLabel, Tag("number")]
    | Annotated[SeveralLabels, Tag("several")]
    | Annotated[SurvivalLabel, Tag("survival")],
    Discriminator(_read_kind),
]
