"""Make the targets of a record: what happens to a patient after a moment, as the contract's label says.

Rules:

* what is known at the moment does not count, except in ``this-visit`` at its end, where it is the visit that counts;
* a record whose window ends after the patient was last seen has no label, unless something happened before or the
  patient died: then nothing more could happen. The contract may assume otherwise;
* a visit that follows must be there: without a next visit there is no label of the next visit.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.conversion.events.history import Happened, History
from client.data.conversion.events.moments import Moment
from client.data.conversion.events.resolve import ItemKind, Resolver
from client.data.conversion.events.times import DAY_S
from privacy.study.data.event_criteria import Criteria, HasDied
from privacy.study.data.event_labels import (
    ClassHappens,
    CodesHappen,
    EventLabel,
    EventSurvival,
    EventWindow,
    Happens,
    SeveralHappen,
    ValueHappens,
)

_UNITS_S = {"hours": 3600.0, "days": float(DAY_S), "years": 365.25 * DAY_S}


class NoLabelError(Exception):
    """A record without its targets; the message says why, as a clause about records."""


class TargetMaker:
    """Makes the targets of records for one label."""

    def __init__(self, label: EventLabel, resolver: Resolver, names: Sequence[str]) -> None:
        """Prepare it; ``names`` are those of the contract's variables."""
        self._label = label
        self._resolver = resolver
        self._names = names

    def make(self, history: History, moment: Moment) -> dict[str, NDArray[Any]]:
        """Return the targets by name.

        Raises:
            NoLabelError: it is not known what happened.
        """
        match self._label:
            case Happens(of=of, window=window):
                happened = self._happens(of, window, history, moment)
                self._require_known(happened, window, history, moment)
                return {"label": np.array(int(happened))}
            case SeveralHappen(of=several, window=window):
                flags = np.array([self._happens(of, window, history, moment) for of in several], bool)
                self._require_known(bool(flags.all()), window, history, moment)
                return {"labels": flags}
            case CodesHappen(of=codes, window=window):
                flags = np.zeros(codes.width, bool)
                events = self._list_window(window, history, moment)
                flags[[each.number for each in events if each.kind is ItemKind.LABEL_CODE]] = True
                self._require_known(False, window, history, moment)
                return {"labels": flags}
            case ClassHappens():
                return {"label": np.array(self._find_class(self._label, history, moment))}
            case ValueHappens():
                return {"label": np.array(self._find_value(self._label, history, moment), np.float32)}
            case EventSurvival():
                return self._make_survival(self._label, history, moment)

    def _happens(self, of: Criteria, window: EventWindow, history: History, moment: Moment) -> bool:
        numbers = self._resolver.number_criteria(of)
        if any(
            each.kind is ItemKind.MET and each.number in numbers
            for each in self._list_window(window, history, moment)
        ):
            return True
        return (
            history.death is not None
            and any(isinstance(each, HasDied) for each in of)
            and self._holds_death(window, history.death, history, moment)
        )

    def _find_class(self, label: ClassHappens, history: History, moment: Moment) -> int:
        for number, of in enumerate(label.of):
            if self._happens(of, label.window, history, moment):
                return number
        if label.otherwise == "left-out":
            raise NoLabelError("have no event of a class in the window")
        self._require_known(False, label.window, history, moment)
        return len(label.of)

    def _find_value(self, label: ValueHappens, history: History, moment: Moment) -> float:
        number = self._names.index(label.variable)
        values = [
            each.value
            for each in self._list_window(label.window, history, moment)
            if each.kind is ItemKind.VALUE and each.number == number
        ]
        if not values:
            raise NoLabelError("have no value in the window")
        return {"first": values[0], "last": values[-1], "largest": max(values), "smallest": min(values)}[label.take]

    def _make_survival(self, label: EventSurvival, history: History, moment: Moment) -> dict[str, NDArray[Any]]:
        unit_s = _UNITS_S[label.unit]
        seconds, event = float(max(history.followed - moment.second, 0)), 0
        for number in range(len(label.causes), 0, -1):  # of two at one time the first listed counts
            first = self._find_first(label.causes[number - 1], history, moment)
            if first is not None and first - moment.second <= seconds:
                seconds, event = float(first - moment.second), number
        if seconds / unit_s > label.longest:
            seconds, event = label.longest * unit_s, 0
        return {"time": np.array(seconds / unit_s, np.float32), "event": np.array(event)}

    def _find_first(self, of: Criteria, history: History, moment: Moment) -> int | None:
        numbers = self._resolver.number_criteria(of)
        seconds = [
            each.second
            for each in history.events
            if each.kind is ItemKind.MET and each.number in numbers and each.second > moment.second
            and not moment.knows(each)
        ]  # fmt: skip
        if history.death is not None and history.death > moment.second and any(isinstance(e, HasDied) for e in of):
            seconds.append(history.death)
        return min(seconds, default=None)

    def _list_window(self, window: EventWindow, history: History, moment: Moment) -> list[Happened]:
        """List the events in the window, in order of time."""
        if window.when == "after":
            start, end = _find_ends(window, moment)
            return [each for each in history.events if start < each.second <= end and not moment.knows(each)]
        if moment.visit is None:
            return []
        visit = moment.visit + (window.when == "next-visit")
        inside = [each for each in history.events if each.visit == visit]
        return inside if moment.at_end else [each for each in inside if not moment.knows(each)]

    def _holds_death(self, window: EventWindow, death: int, history: History, moment: Moment) -> bool:
        if window.when == "after":
            start, end = _find_ends(window, moment)
            return start < death <= end
        visit = math.inf if moment.visit is None else moment.visit + (window.when == "next-visit")
        if visit >= len(history.visits):
            return False
        span = history.visits[int(visit)]
        same_day = span.end // DAY_S * DAY_S + DAY_S - 1  # a death of which only the day is known
        return span.start <= death <= same_day and (moment.at_end or death > moment.second)

    def _require_known(self, happened: bool, window: EventWindow, history: History, moment: Moment) -> None:
        """Raise NoLabelError unless it is known that nothing more happened in the window."""
        if window.when != "after":
            if moment.visit is None or moment.visit + (window.when == "next-visit") >= len(history.visits):
                raise NoLabelError(f"have no {'next' if window.when == 'next-visit' else 'such'} visit")
            return
        if happened or window.followed == "assumed" or history.death is not None:
            return
        if history.followed < _find_ends(window, moment)[1]:
            raise NoLabelError("are of patients who were not seen until the window's end")


def _find_ends(window: EventWindow, moment: Moment) -> tuple[float, float]:
    assert window.days is not None
    start = moment.second + window.begins * DAY_S
    return start, start + window.days * DAY_S
