"""A contract of kind ``events``: from what happened to patients, and when, to tensors.

An event has a patient and a time, and a code, a value or a text; it may belong to a visit. A **record** is a patient
at an **index**: the moment of the prediction. Inputs are what is known then, targets what happens after it.

The axis of time (``steps``) decides the inputs::

    visits   a step is a visit                 visits   flag (length, codes)      codes of each
    grid     a step is so many hours or days   values   number (length, variables), each scaled to [-1, 1]
                                               observed flag (length, variables)
                                               gaps     number (length, variables), in [0, 1]
                                               days     number (length), since the visit before; steps of visits only
                                               present  flag (length)
    bag      no steps                          features number (width), in [0, 1]

``visits`` is there if the contract has codes, ``values``, ``observed`` and ``gaps`` if it has variables, and ``static``
(width) if it has facts of the patient. In a bag, everything is in ``features``: codes, then two numbers for each
variable (its last value, whether there is one), then the static ones.

Everything that decides a number is in the contract, so that all sites do the same; nothing is measured on patients.
"""

import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.fields import Column
from privacy.study.data.contract import DataContract, Tensors
from privacy.study.data.event_criteria import CodeMap, CodeSet, Criteria, HasValue, PatientAge, Static, Variable
from privacy.study.data.event_labels import EventLabel, EventSurvival, ValueHappens
from privacy.study.data.tensors import Flags, Ids, Numbers

Length = Annotated[int, Field(ge=1, le=100_000)]


class VisitSteps(Document):
    """Steps are visits, in order of their beginning.

    Attributes:
        length: the most visits of a record.
        keep: of more, the ``last`` ones or the ``first`` ones up to the index.
        by: events of a visit have its ``number``; or those of one ``day`` are a visit.
        longest_gap: in days; a longer one counts as this.
        most_codes: codes are ids of at most so many a visit, instead of flags; 0 stands for none.
    """

    kind: Literal["visits"]
    length: Length
    keep: Literal["last", "first"] = "last"
    by: Literal["number", "day"] = "number"
    longest_gap: Annotated[float, Field(gt=0, le=36525)] = 365
    most_codes: Annotated[int, Field(ge=1, le=10_000)] | None = None


class GridSteps(Document):
    """Steps of equal length: from the beginning of the visit on, or the last ones before the index.

    Attributes:
        length: how many steps.
        unit, each: a step is ``each`` hours or days long.
        several: of several values in a step the ``last`` one counts, the ``first`` one, or their ``mean``; of several
            at one time the largest one.
        longest_gap: in steps; a longer one counts as this.
    """

    kind: Literal["grid"]
    length: Length
    unit: Literal["hours", "days"] = "hours"
    each: Annotated[int, Field(ge=1, le=10_000)] = 1
    several: Literal["last", "first", "mean"] = "last"
    longest_gap: Annotated[float, Field(gt=0, le=1e6)] | None = None

    @property
    def step_s(self) -> int:
        """The length of a step, in seconds."""
        return self.each * (3600 if self.unit == "hours" else 86400)


class BagSteps(Document):
    """No steps: everything up to the index is one vector."""

    kind: Literal["bag"]


class EventIndex(Document):
    """The moments of prediction; each is one record.

    Attributes:
        at: ``visit-end``; ``visit-start``, ``hours`` after it; ``first-event``, the first event that meets ``of``; or
            ``date``, the beginning of the day ``date``.
        visits: which visits have one: the ``last``, ``each``, or those of these numbers, from 1.
        before_last: the last so many visits have none, because what comes after them is not known.
        least_visits: patients with fewer visits have no record.
        hours: between the visit's start and the index.
        of: what the first event must meet.
        without: who met one of these until then has no record: who has the disease already.
        date: the same day for all patients.
        history_days: only what happened so many days before the index or later is known; all of it, if left out.
    """

    at: Literal["visit-end", "visit-start", "first-event", "date"] = "visit-end"
    visits: Literal["last", "each"] | tuple[Annotated[int, Field(ge=1, le=100_000)], ...] = "last"
    before_last: Annotated[int, Field(ge=0, le=1000)] = 0
    least_visits: Annotated[int, Field(ge=1, le=1000)] = 1
    hours: Annotated[float, Field(ge=0, le=100_000)] = 0
    of: Criteria | None = None
    without: Criteria | None = None
    date: datetime.date | None = None
    history_days: Annotated[float, Field(gt=0, le=36525)] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.at == "first-event") != (self.of is not None):
            raise ValueError("at: first-event needs 'of', and only that")
        if (self.at == "date") != (self.date is not None):
            raise ValueError("at: date needs 'date', and only that")
        if self.hours and self.at != "visit-start":
            raise ValueError("hours are for at: visit-start")
        if self.at in ("first-event", "date") and (self.visits != "last" or self.before_last):
            raise ValueError(f"at: {self.at} has one moment; leave out visits and before_last")
        return self


class EventsContract(DataContract):
    """The events every site must have, and the tensors that they become."""

    kind: Literal["events"]
    patient: Column = "patient"
    steps: Annotated[VisitSteps | GridSteps | BagSteps, Field(discriminator="kind")]
    index: EventIndex = EventIndex()
    codes: tuple[CodeSet, ...] = Field(default=(), max_length=20)
    maps: tuple[CodeMap, ...] = Field(default=(), max_length=20)
    variables: tuple[Variable, ...] = Field(default=(), max_length=10_000)
    static: tuple[Static, ...] = Field(default=(), max_length=100)
    label: EventLabel | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not (self.codes or self.variables or self.static):
            raise ValueError("expected codes, variables or static, which become inputs")
        if isinstance(self.steps, GridSteps) and self.codes:
            raise ValueError("a grid has variables; codes need steps of kind visits or bag")
        names = [variable.name for variable in self.variables]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"variables named twice: {', '.join(twice)}")
        facts = ["age" if isinstance(each, PatientAge) else each.name for each in self.static]
        if twice := sorted({fact for fact in facts if facts.count(fact) > 1}):
            raise ValueError(f"static has twice: {', '.join(twice)}")
        pairs = [(each.source, each.target) for each in self.maps]
        if len(set(pairs)) < len(pairs):
            raise ValueError("maps: a pair of systems is listed twice")
        self._require_known_variables(set(names))
        if any(each.name == self.patient for each in (*self.list_inputs(), *self.list_targets())):
            raise ValueError(f"patient: '{self.patient}' is the name of an input or a target; take another one")
        return self

    def _require_known_variables(self, known: set[str]) -> None:
        asked = [each.variable for each in self.list_criteria() if isinstance(each, HasValue)]
        if isinstance(self.label, ValueHappens):
            asked.append(self.label.variable)
        if unknown := sorted(set(asked) - known):
            raise ValueError(f"no variable of data.variables: {', '.join(unknown)}")

    @property
    def codes_width(self) -> int:
        """The columns of all code sets together."""
        return sum(each.width for each in self.codes)

    @property
    def static_width(self) -> int:
        """Numbers of the static facts: one for age, one for each word, and an indicator of a missing one for each."""
        return sum(2 if isinstance(each, PatientAge) else 1 + len(each.values) for each in self.static)

    def list_criteria(self) -> Criteria:
        """List every criterion of index and label, in their order."""
        lists: tuple[Criteria, ...] = tuple(each for each in (self.index.of, self.index.without) if each)
        match self.label:
            case EventSurvival(causes=causes):
                lists += causes
            case None | ValueHappens():
                pass
            case label if label.kind == "happens":
                lists += (label.of,)
            case label if label.kind in ("several", "class"):
                lists += label.of
        return tuple(each for criteria in lists for each in criteria)

    def list_inputs(self) -> Tensors:
        """List the inputs, as the head of this file says."""
        found: Tensors = ()
        if isinstance(self.steps, BagSteps):
            width = self.codes_width + 2 * len(self.variables) + self.static_width
            return (Numbers(type="number", name="features", shape=(width,), low=0, high=1, scaled="none"),)
        length = self.steps.length
        if isinstance(self.steps, VisitSteps):
            if self.codes and self.steps.most_codes is not None:
                found += (
                    Ids(
                        type="id", name="codes", shape=(length, self.steps.most_codes), values=1 + self.codes_width
                    ),
                )
            elif self.codes:
                found += (Flags(type="flag", name="visits", shape=(length, self.codes_width)),)
            found += (
                Numbers(
                    type="number", name="days", shape=(length,), low=0, high=self.steps.longest_gap, scaled="unit"
                ),
            )
        if self.variables:
            shape = (length, len(self.variables))
            found += (
                Numbers(type="number", name="values", shape=shape, low=-1, high=1, scaled="none"),
                Flags(type="flag", name="observed", shape=shape),
                Numbers(type="number", name="gaps", shape=shape, low=0, high=1, scaled="none"),
            )
        found += (Flags(type="flag", name="present", shape=(length,)),)
        if self.static:
            found += (
                Numbers(type="number", name="static", shape=(self.static_width,), low=-1, high=1, scaled="none"),
            )
        return found

    def list_targets(self) -> Tensors:
        """List the targets of the label; none without one."""
        return () if self.label is None else self.label.list_targets()
