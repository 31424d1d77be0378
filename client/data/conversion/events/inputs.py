"""Make the inputs of a record: what is known of a patient at a moment, as the contract's tensors.

The tensors and their order: ``privacy/study/data/events.py``. Here is what decides a number:

* a value is scaled from its variable's range to [-1, 1], and is at an end of it beyond; of a logarithm likewise;
* of several values of a variable in one step the contract says which one counts; in a visit and in a bag the last one
  does. Of several at one time the largest is the last one;
* a gap is the time since the variable's last value, or since the first step if there was none; it is in steps of a grid
  or in days between visits, divided by the longest gap, and 1 beyond;
* steps of a grid are present until the last one that has a value.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.conversion.events.history import Happened, History
from client.data.conversion.events.moments import Moment
from client.data.conversion.events.resolve import ItemKind
from client.data.conversion.events.times import DAY_S
from privacy.study import EventsContract
from privacy.study.data.event_criteria import PatientAge, Variable
from privacy.study.data.events import BagSteps, GridSteps, VisitSteps

Arrays = dict[str, NDArray[Any]]
_YEAR_S = 365.25 * DAY_S


class InputMaker:
    """Makes the inputs of records for one contract, and counts what the site may want to know."""

    def __init__(self, contract: EventsContract) -> None:
        self._contract = contract
        self._codes_width = contract.codes_width
        self.values = Counter[int]()
        """How many values of each variable were used."""
        self.below, self.above = Counter[int](), Counter[int]()
        """How many of them were below its range, and above it."""
        self.counts = Counter[str]()
        """How often something was found that is no mistake, by a clause that names it."""

    def make(self, history: History, moment: Moment) -> Arrays:
        """Return the inputs by name."""
        used = [each for each in history.events if moment.uses(each)]
        match self._contract.steps:
            case BagSteps():
                return {"features": self._make_bag(history, moment, used)}
            case VisitSteps() as steps:
                inputs = self._make_visits(history, moment, used, steps)
            case GridSteps() as steps:
                inputs = self._make_grid(history, moment, used, steps)
        if self._contract.static:
            inputs["static"] = self._make_static(history, moment)
        return inputs

    def _make_visits(self, history: History, moment: Moment, used: Sequence[Happened], steps: VisitSteps) -> Arrays:
        last = -1 if moment.visit is None else moment.visit
        places = [place for place in range(last + 1) if history.visits[place].start >= moment.from_second]
        places = places[-steps.length :] if steps.keep == "last" else places[: steps.length]
        rows = {place: row for row, place in enumerate(places)}
        starts = np.array([history.visits[place].start for place in places], np.float64) / DAY_S
        waited = np.diff(starts, prepend=starts[:1])  # (visits,) days since the visit before
        days = np.zeros(steps.length, np.float32)
        days[: len(places)] = np.minimum(waited, steps.longest_gap)
        inputs: Arrays = {"days": days, "present": np.arange(steps.length) < len(places)}
        if self._contract.codes:
            inputs |= self._make_codes(used, rows, steps)
        if self._contract.variables:
            in_rows = ((rows[each.visit], each) for each in used if each.visit is not None and each.visit in rows)
            values, observed = self._fill(in_rows, steps.length, "last")
            inputs |= {"values": values, "observed": observed}
            inputs["gaps"] = _compute_gaps(observed, waited, steps.longest_gap)
        return inputs

    def _make_codes(self, used: Sequence[Happened], rows: dict[int, int], steps: VisitSteps) -> Arrays:
        flags = np.zeros((steps.length, self._codes_width), bool)
        for each in used:
            if each.kind is ItemKind.CODE and each.visit in rows:
                flags[rows[each.visit], each.number] = True
        if steps.most_codes is None:
            return {"visits": flags}
        ids = np.zeros((steps.length, steps.most_codes), np.int64)
        for row in rows.values():
            found = np.flatnonzero(flags[row])
            if len(found) > steps.most_codes:
                self.counts["visits have more codes than most_codes, and lack those with the highest numbers"] += 1
            ids[row, : len(found)] = 1 + found[: steps.most_codes]
        return {"codes": ids}

    def _make_grid(self, history: History, moment: Moment, used: Sequence[Happened], steps: GridSteps) -> Arrays:
        length, step_s = steps.length, steps.step_s
        if self._contract.index.at == "visit-start":
            assert moment.visit is not None
            begin = history.visits[moment.visit].start
        else:
            begin = moment.second - length * step_s
        end = begin + length * step_s  # what is at this very second belongs to the last step
        in_rows = (
            (min((each.second - begin) // step_s, length - 1), each) for each in used if begin <= each.second <= end
        )
        values, observed = self._fill(in_rows, length, steps.several)
        last = np.flatnonzero(observed.any(axis=1))[-1:]
        present = np.arange(length) <= (last[0] if len(last) else -1)
        gaps = _compute_gaps(observed, np.minimum(np.arange(length), 1), steps.longest_gap or length)
        return {"values": values, "observed": observed, "gaps": gaps * present[:, None], "present": present}

    def _fill(
        self, in_rows: Iterable[tuple[int, Happened]], length: int, several: str
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return scaled values and which were observed; (length, variables) each."""
        variables = self._contract.variables
        found = dict[tuple[int, int], list[float]]()
        for row, each in in_rows:
            if each.kind is ItemKind.VALUE:
                found.setdefault((row, each.number), []).append(each.value)
        values = np.zeros((length, len(variables)), np.float32)
        observed = np.zeros(values.shape, bool)
        for (row, number), numbers in found.items():
            value = {"last": numbers[-1], "first": numbers[0], "mean": sum(numbers) / len(numbers)}[several]
            values[row, number], observed[row, number] = self._scale(number, value), True
        return values, observed

    def _scale(self, number: int, value: float) -> float:
        variable = self._contract.variables[number]
        self.values[number] += 1
        self.below[number] += value < variable.low
        self.above[number] += value > variable.high
        return scale_value(variable, value)

    def _make_bag(self, history: History, moment: Moment, used: Sequence[Happened]) -> NDArray[np.float32]:
        codes = np.zeros(self._codes_width, np.float32)
        codes[[each.number for each in used if each.kind is ItemKind.CODE]] = 1
        values, observed = self._fill(((0, each) for each in used), 1, "last")
        pairs = np.stack([(values[0] + 1) / 2, observed[0]], axis=1).reshape(-1)  # a missing one is in the middle
        static = self._make_static(history, moment)
        if ages := [place for place, _ in self._list_ages()]:
            static[ages] = (static[ages] + 1) / 2
        return np.concatenate([codes, pairs, static]).astype(np.float32)

    def _make_static(self, history: History, moment: Moment) -> NDArray[np.float32]:
        """Return age in [-1, 1] and words as 0 or 1, each followed by whether it is missing; (static width,)."""
        numbers = list[float]()
        for each in self._contract.static:
            if isinstance(each, PatientAge):
                if history.birth is None:
                    numbers += [0.0, 1.0]
                else:
                    years = min(max((moment.second - history.birth) / _YEAR_S, each.low), each.high)
                    numbers += [2 * (years - each.low) / (each.high - each.low) - 1, 0.0]
            else:
                word = history.facts.get(each.name)
                if word is not None and word not in each.values:
                    self.counts[f"records have a word for '{each.name}' that the contract does not list"] += 1
                numbers += [float(word == known) for known in each.values]
                numbers.append(float(word not in each.values))
        return np.array(numbers, np.float32)

    def _list_ages(self) -> Iterable[tuple[int, PatientAge]]:
        place = 0
        for each in self._contract.static:
            if isinstance(each, PatientAge):
                yield place, each
            place += 2 if isinstance(each, PatientAge) else 1 + len(each.values)


def scale_value(variable: Variable, value: float) -> float:
    """Scale a value from its variable's range to [-1, 1]."""
    low, high, inside = variable.low, variable.high, min(max(value, variable.low), variable.high)
    if variable.logarithm:
        low, high, inside = (float(each) for each in np.log([low, high, inside]))
    return 2 * (inside - low) / (high - low) - 1


def _compute_gaps(observed: NDArray[Any], waited: NDArray[Any], longest: float) -> NDArray[np.float32]:
    """Compute the gaps of every step; ``waited`` is the time since the step before, (steps,) or fewer."""
    gaps = np.zeros(observed.shape, np.float64)
    for step in range(1, len(waited)):
        gaps[step] = waited[step] + np.where(observed[step - 1], 0, gaps[step - 1])
    return np.minimum(gaps / longest, 1).astype(np.float32)
