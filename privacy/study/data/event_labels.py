"""What is predicted from a patient's events: it happens in a window of time after the index.

============  =============================  ====================================================================
kind          targets                        a record has them if
============  =============================  ====================================================================
``happens``   ``label``, 0 or 1              the patient was followed to the window's end, or it happened before
``several``   ``labels``, flags              the same for each
``codes``     ``labels``, flags of a set     the window has an end that was reached
``class``     ``label``, a class             an event of a class is in the window, or ``otherwise`` says which it is
``value``     ``label``, a number            a value of the variable is in the window
``survival``  ``time``, ``event``            always: who is followed no longer is censored then
============  =============================  ====================================================================

A record without its targets is left out and counted.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.fields import RangeEnd, require_rising
from privacy.study.data.contract import Tensors
from privacy.study.data.event_criteria import CodeSet, Criteria, VariableName
from privacy.study.data.tensors import Flags, Ids, Numbers


class EventWindow(Document):
    """When it counts.

    Attributes:
        when: ``after`` the index, ``days`` long; in ``this-visit``, the one that the index belongs to; or in the
            ``next-visit``.
        days: the length of the window ``after`` the index.
        begins: so many days after the index the window ``after`` it begins.
        followed: ``required``: who was not seen to the window's end has no label. ``assumed``: nothing seen means that
            nothing happened; right only where the source has everything that happens to a patient.
    """

    when: Literal["after", "this-visit", "next-visit"]
    days: Annotated[float, Field(gt=0, le=36525)] | None = None
    begins: Annotated[float, Field(ge=0, le=36525)] = 0
    followed: Literal["required", "assumed"] = "required"

    @model_validator(mode="after")
    def _with_a_length(self) -> Self:
        if (self.when == "after") != (self.days is not None):
            raise ValueError("the window 'after' the index needs days, and only that one")
        if self.when != "after" and self.begins:
            raise ValueError("begins is for the window 'after' the index")
        return self


class Happens(Document):
    """Whether an event that meets a criterion is in the window."""

    kind: Literal["happens"]
    of: Criteria
    window: EventWindow

    def list_targets(self) -> Tensors:
        """List ``label``."""
        return (Ids(type="id", name="label", values=2),)


class SeveralHappen(Document):
    """The same for several lists of criteria, each for itself, in one window."""

    kind: Literal["several"]
    of: tuple[Criteria, ...] = Field(min_length=2, max_length=1000)
    window: EventWindow

    def list_targets(self) -> Tensors:
        """List ``labels``."""
        return (Flags(type="flag", name="labels", shape=(len(self.of),)),)


class CodesHappen(Document):
    """Which codes of a set are in the window, such as those of the next visit."""

    kind: Literal["codes"]
    of: CodeSet
    window: EventWindow

    def list_targets(self) -> Tensors:
        """List ``labels``."""
        return (Flags(type="flag", name="labels", shape=(self.of.width,)),)


class ClassHappens(Document):
    """The first class that has an event in the window; ``otherwise`` is the class of a record without one."""

    kind: Literal["class"]
    of: tuple[Criteria, ...] = Field(min_length=1, max_length=1000)
    otherwise: Literal["class", "left-out"]
    window: EventWindow

    @model_validator(mode="after")
    def _two_classes(self) -> Self:
        if len(self.of) + (self.otherwise == "class") < 2:  # a class alone says nothing
            raise ValueError("expected at least two classes")
        return self

    def list_targets(self) -> Tensors:
        """List ``label``: classes in their order, ``otherwise`` last."""
        return (Ids(type="id", name="label", values=len(self.of) + (self.otherwise == "class")),)


class ValueHappens(Document):
    """A value of a variable in the window."""

    kind: Literal["value"]
    variable: VariableName
    take: Literal["first", "last", "largest", "smallest"]
    window: EventWindow
    low: RangeEnd
    high: RangeEnd

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        require_rising(self.low, self.high)
        return self

    def list_targets(self) -> Tensors:
        """List ``label``."""
        return (Numbers(type="number", name="label", low=self.low, high=self.high),)


class EventSurvival(Document):
    """The time from the index to the first of some causes, or until the patient was followed.

    Attributes:
        causes: what may happen; of two at one time the first listed counts.
        unit: of the time.
        longest: later counts as this, censored.
    """

    kind: Literal["survival"]
    causes: tuple[Criteria, ...] = Field(min_length=1, max_length=10)
    unit: Literal["hours", "days", "years"] = "days"
    longest: Annotated[float, Field(gt=0, le=1e6)]

    def list_targets(self) -> Tensors:
        """List ``time`` and ``event``."""
        return (
            Numbers(type="number", name="time", low=0, high=self.longest),
            Ids(type="id", name="event", values=1 + len(self.causes)),
        )


EventLabel = Annotated[
    Happens | SeveralHappen | CodesHappen | ClassHappens | ValueHappens | EventSurvival, Field(discriminator="kind")
]
