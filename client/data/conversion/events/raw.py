"""Define what readers of events give, whatever they read: patients, visits and events, with their places."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Origin(NamedTuple):
    """Where something was read: file or table, and row, line or resource within it from 1."""

    source: str
    row: int


class SystemCode(NamedTuple):
    """A code of a system, in normal form."""

    system: str
    code: str


@dataclass(frozen=True, slots=True)
class Person:
    """What is known of a patient.

    Attributes:
        patient: the identifier, in normal form.
        birth, death, followed: seconds of the hospital's clock; None where it is not known.
        birth_is_rough: the date of birth lacked its day.
        facts: words by the contract's names of facts.
    """

    patient: str = field(repr=False)
    birth: int | None = field(default=None, repr=False)
    death: int | None = field(default=None, repr=False)
    followed: int | None = field(default=None, repr=False)
    facts: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    birth_is_rough: bool = False


@dataclass(frozen=True, slots=True)
class Visit:
    """A visit of a patient, from ``start`` to ``end`` in seconds of the hospital's clock."""

    patient: str = field(repr=False)
    visit: str = field(repr=False)
    start: int = field(repr=False)
    end: int | None = field(repr=False)
    origin: Origin


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a patient.

    Attributes:
        patient: the identifier, in normal form.
        visit: the visit that it belongs to, if one is named.
        second: when, in seconds of the hospital's clock.
        codes: several of them are names of one thing, or several things of one moment.
        value: a measured value, in ``unit``.
        text: of a note.
    """

    patient: str = field(repr=False)
    visit: str | None = field(repr=False)
    second: int = field(repr=False)
    codes: tuple[SystemCode, ...] = field(repr=False)
    value: float | None = field(repr=False)
    unit: str = field(repr=False)
    text: str = field(repr=False)
    origin: Origin


AnyRaw = Person | Visit | Event
