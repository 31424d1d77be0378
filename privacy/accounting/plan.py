"""A study's plan: which event is paid for how often, for training and for evaluation."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from privacy.accounting.events import AnyEvent, Event
from privacy.document import Document


class Purpose(StrEnum):
    """Which patients an event touches."""

    TRAIN = "train"
    EVALUATE = "evaluate"


class Planned(Document):
    """An event that a study will cause ``times`` times, once in a round."""

    purpose: Purpose
    event: Event
    times: Annotated[int, Field(ge=1, le=10_000)]


Plan = Annotated[tuple[Planned, ...], Field(min_length=1, max_length=1000)]


def describe_event(event: AnyEvent) -> str:
    """An event in words, for a sentence."""
    fields = ((name.replace("_", " "), value) for name, value in event.model_dump(exclude={"kind"}).items())
    return ", ".join([event.kind, *(f"{name} {value:g}" for name, value in fields)])
