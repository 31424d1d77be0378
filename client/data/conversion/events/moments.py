"""Find the moments of prediction in a patient's history, and what is known at each of them.

Rules:

* at the end of a visit everything of this visit and of those before it is known, whenever it was written down, and what
  belongs to no visit and was not later;
* so many hours after the beginning of a visit, at a first event or at a date, what was not later is known; a day
  without a time counts as its beginning;
* what is known at a moment is never counted as happening after it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from client.data.conversion.events.history import Happened, History
from client.data.conversion.events.resolve import ItemKind
from client.data.conversion.events.times import DAY_S
from privacy.study.data.events import EventIndex


@dataclass(frozen=True)
class Moment:
    """A moment of prediction.

    Attributes:
        second: of the hospital's clock.
        visit: the visit that it belongs to, or the last one before it; None if there is none.
        at_end: whether it is the end of that visit.
        from_second: what was before is not used.
    """

    second: int
    visit: int | None
    at_end: bool
    from_second: float

    def knows(self, event: Happened) -> bool:
        """Return whether ``event`` is known, however long ago it was."""
        if self.at_end and event.visit is not None:
            return self.visit is not None and event.visit <= self.visit
        if event.visit is not None and self.visit is not None and event.visit > self.visit:
            return False
        return event.second <= self.second

    def uses(self, event: Happened) -> bool:
        """Return whether ``event`` is known and recent enough to be an input."""
        return event.second >= self.from_second and self.knows(event)


class MomentFinder:
    """Finds the moments of prediction that a contract's index names."""

    def __init__(self, index: EventIndex, of: frozenset[int], without: frozenset[int]) -> None:
        """Prepare it; ``of`` and ``without`` are the numbers of the index's criteria."""
        self._index = index
        self._of, self._without = of, without

    def find(self, history: History) -> Iterator[Moment]:
        """Yield the moments of a patient, in order of time."""
        if len(history.visits) < self._index.least_visits:
            return
        for second, visit in self._list(history):
            from_second = float("-inf")
            if self._index.history_days is not None:
                from_second = second - self._index.history_days * DAY_S
            moment = Moment(second, visit, self._index.at == "visit-end", from_second)
            if not any(
                each.kind is ItemKind.MET and each.number in self._without and moment.knows(each)
                for each in history.events
            ):
                yield moment

    def _list(self, history: History) -> Iterator[tuple[int, int | None]]:
        index, visits = self._index, history.visits
        if index.at == "date":
            assert index.date is not None
            second = index.date.toordinal() * DAY_S - _EPOCH_DAYS * DAY_S - 1  # the last second of the day before
            if any(each.second <= second for each in history.events):
                yield second, _find_last(history, second)
        elif index.at == "first-event":
            first = next((e for e in history.events if e.kind is ItemKind.MET and e.number in self._of), None)
            if first is not None:
                yield first.second, _find_last(history, first.second)
        else:
            for place in self._list_visits(len(visits)):
                at_end = index.at == "visit-end"
                yield visits[place].end if at_end else visits[place].start + round(index.hours * 3600), place

    def _list_visits(self, count: int) -> list[int]:
        usable = count - self._index.before_last
        if self._index.visits == "last":
            return [usable - 1] if usable > 0 else []
        if self._index.visits == "each":
            return list(range(usable))
        return [number - 1 for number in sorted(set(self._index.visits)) if number <= usable]


_EPOCH_DAYS = 719_163  # date(1970, 1, 1).toordinal()


def _find_last(history: History, second: int) -> int | None:
    begun = [place for place, span in enumerate(history.visits) if span.start <= second]
    return begun[-1] if begun else None
