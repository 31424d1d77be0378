"""Make of a patient's timeline a history: visits in order, events in their visits, what is known of the patient.

Rules:

* an event before the patient's birth is left out, and so is a visit that begins before it;
* two rows that contradict each other about a date of birth or a fact make it unknown; of two dates of death the earlier
  one counts, of two days until which a patient was followed the later one;
* the same value of a variable at the same time in the same visit, twice, counts once;
* a visit that only its events tell begins with the first of them and ends with the last;
* an event without a number of a visit belongs to the visit during which it was, the one that began last. An event in no
  visit has no step of kind ``visits``, but is known all the same.
"""

import bisect
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from client.data.conversion.events.raw import Origin, Person
from client.data.conversion.events.resolve import ItemKind
from client.data.conversion.events.store import StoredEvent, StoredVisit, Timeline
from client.data.conversion.events.times import DAY_S

ROUGH_S: Final = 183 * DAY_S
"""By so much a date of birth without its day and month may be later than the birth."""

Report = Callable[[str, Origin], None]
"""Called for a row that is left out, with the reason and its place."""


class Span(NamedTuple):
    """A visit: first and last second."""

    start: int
    end: int


class Happened(NamedTuple):
    """Something that happened: when, in which visit by its place in their order, and what."""

    second: int
    visit: int | None
    kind: ItemKind
    number: int
    value: float


@dataclass(frozen=True)
class History:
    """What is known of a patient: visits in order of their beginning, events in order of time."""

    visits: Sequence[Span] = field(repr=False)
    events: Sequence[Happened] = field(repr=False)
    birth: int | None = field(repr=False)
    death: int | None = field(repr=False)
    followed: int = field(repr=False)
    """The last second about which something is known; the patient's death, if that is known."""
    facts: Mapping[str, str] = field(repr=False)


class HistoryMaker:
    """Makes histories, and counts what the site may want to know."""

    def __init__(self, *, by_day: bool, report: Report) -> None:
        """Make visits of days, or by their numbers; ``report`` takes what is left out."""
        self._by_day = by_day
        self._report = report
        self.counts = Counter[str]()
        """How often something was found that is no mistake, by a clause that names it."""

    def make(self, timeline: Timeline) -> History | None:
        """Make a history; None for a patient of whom only a row of persons is known."""
        birth, rough = self._merge_births(timeline.persons)
        earliest = None if birth is None else birth - (ROUGH_S if rough else 0)
        events = self._drop_repeated([each for each in timeline.events if self._is_after(earliest, each, "is")])
        visits = [each for each in timeline.visits if self._is_after(earliest, each, "begins")]
        if not events and not visits:
            return None
        spans, places = _order_days(events) if self._by_day else _order_visits(visits, events)
        death = min((each.death for each in timeline.persons if each.death is not None), default=None)
        ends = [*(each.second for each in events[-1:]), *(span.end for span in spans)]
        ends += [each.followed for each in timeline.persons if each.followed is not None]
        return History(
            visits=spans,
            events=list(self._place(events, spans, places)),
            birth=birth,
            death=death,
            followed=max(ends) if death is None else death,
            facts=self._merge_facts(timeline.persons),
        )

    def _is_after(self, earliest: int | None, each: StoredEvent | StoredVisit, verb: str) -> bool:
        second = each.second if isinstance(each, StoredEvent) else each.start
        if earliest is None or second >= earliest:
            return True
        self._report(f"{verb} before the patient's birth", each.origin)
        return False

    def _merge_births(self, persons: Sequence[Person]) -> tuple[int | None, bool]:
        births = {(each.birth, each.birth_is_rough) for each in persons if each.birth is not None}
        if len({birth for birth, _ in births}) > 1:
            self.counts["patients have two different dates of birth, so that none counts"] += 1
            return None, False
        return min(births, default=(None, False))

    def _merge_facts(self, persons: Sequence[Person]) -> dict[str, str]:
        words: dict[str, set[str]] = {}
        for person in persons:
            for name, word in person.facts:
                words.setdefault(name, set()).add(word)
        for name, several in words.items():
            if len(several) > 1:
                self.counts[f"patients have two different words for '{name}', so that none counts"] += 1
        return {name: next(iter(several)) for name, several in words.items() if len(several) == 1}

    def _drop_repeated(self, events: Sequence[StoredEvent]) -> list[StoredEvent]:
        kept = list[StoredEvent]()
        for each in events:
            if kept and each.kind is ItemKind.VALUE and each[:5] == kept[-1][:5]:
                self.counts["values are there twice, and count once"] += 1
            else:
                kept.append(each)
        return kept

    def _place(
        self, events: Sequence[StoredEvent], spans: Sequence[Span], places: Mapping[str, int]
    ) -> "Sequence[Happened]":
        starts = [span.start for span in spans]
        placed = list[Happened]()
        for each in events:
            if self._by_day:
                visit: int | None = places[str(each.second // DAY_S)]
            elif each.visit is not None:
                visit = places[each.visit]
            else:
                visit = _find_visit(each.second, spans, starts)
                if visit is None:
                    self.counts["events are in no visit"] += 1
            placed.append(Happened(each.second, visit, each.kind, each.number, each.value))
        return placed


def _find_visit(second: int, spans: Sequence[Span], starts: Sequence[int]) -> int | None:
    for place in range(bisect.bisect_right(starts, second) - 1, -1, -1):
        if second <= spans[place].end:
            return place
    return None


def _order_days(events: Sequence[StoredEvent]) -> tuple[list[Span], dict[str, int]]:
    days = sorted({each.second // DAY_S for each in events})
    spans = [Span(day * DAY_S, day * DAY_S + DAY_S - 1) for day in days]
    return spans, {str(day): place for place, day in enumerate(days)}


def _order_visits(
    visits: Sequence[StoredVisit], events: Sequence[StoredEvent]
) -> tuple[list[Span], dict[str, int]]:
    told = dict[str, tuple[int, int | None]]()
    for each in visits:  # one visit may have several rows, such as a transfer
        start, end = told.get(each.visit, (each.start, None))
        told[each.visit] = (
            min(start, each.start),
            max((x for x in (end, each.end) if x is not None), default=None),
        )
    seen = dict[str, tuple[int, int]]()
    for event in events:
        if event.visit is not None:
            first, last = seen.get(event.visit, (event.second, event.second))
            seen[event.visit] = (min(first, event.second), max(last, event.second))
    spans = dict[str, Span]()
    for name in told.keys() | seen.keys():
        if name in told:
            start, end = told[name]
            spans[name] = Span(start, max(start, seen.get(name, (0, start))[1]) if end is None else end)
        else:
            spans[name] = Span(*seen[name])
    order = sorted(spans, key=lambda name: (*spans[name], _split_numbers(name), name))
    return [spans[name] for name in order], {name: place for place, name in enumerate(order)}


def _split_numbers(name: str) -> list[tuple[int, str]]:
    """Return a key by which visit 9 comes before visit 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name[:200])]
