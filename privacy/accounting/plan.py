"""Define a study's plan: which event is paid for, and how often, for training and for evaluation."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from privacy.accounting.epsilon import compute_stored_curve
from privacy.accounting.events import AnyEvent, Event
from privacy.document import Document


class Purpose(StrEnum):
    """The purpose of an event: it uses the patients of training, or those held out for evaluation."""

    TRAIN = "train"
    EVALUATE = "evaluate"


class Planned(Document):
    """An event that a study will cause ``times`` times, once a round."""

    purpose: Purpose
    event: Event
    times: Annotated[int, Field(ge=1, le=10_000)]


Plan = Annotated[tuple[Planned, ...], Field(min_length=1, max_length=1000)]


def describe_event(event: AnyEvent) -> str:
    """Describe an event in words, for a message."""
    fields = ((name.replace("_", " "), value) for name, value in event.model_dump(exclude={"kind"}).items())
    return ", ".join([event.kind, *(f"{name} {value:g}" for name, value in fields)])


def compute_plan_curve(plan: Iterable[Planned]) -> tuple[int, ...] | None:
    """Return what all of ``plan`` costs at each order of ``STORED_ORDERS``; None if a part of it has no bound."""
    curves = [compute_stored_curve(planned.event, planned.times) for planned in plan]
    if any(curve is None for curve in curves):
        return None
    return tuple(map(sum, zip(*[curve for curve in curves if curve is not None], strict=True)))
