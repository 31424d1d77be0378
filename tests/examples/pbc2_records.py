"""The tensors of a patient of the trial PBC2 by plain loops, as the study ``dynamic_deephit.yaml`` describes them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.study import EventsContract

VISITS = 8
FIRST = (1, 2, 4, 8)  # of so many visits a record is made
YEARS = 5  # a longer gap between two measurements counts as this
LONGEST = 10  # years
EVENTS = {"alive": 0, "dead": 1, "transplanted": 2}
WORDS = {
    "edema": ("No edema", "edema no diuretics", "edema despite diuretics"),
    "drug": ("placebo", "D-penicil"),
    "sex": ("male", "female"),
    "ascites": ("No", "Yes"),
    "hepatomegaly": ("No", "Yes"),
    "spiders": ("No", "Yes"),
}

Row = dict[str, str]


def scale(contract: EventsContract, place: int, word: str) -> float | None:
    """A value in [-1, 1]; None for a missing one."""
    variable = contract.variables[place]
    if word in ("", "NA"):
        return None
    value = float(WORDS[variable.name].index(word)) if variable.name in WORDS else float(word)
    low, high, inside = variable.low, variable.high, min(max(value, variable.low), variable.high)
    if variable.logarithm:
        low, high, inside = np.log([low, high, inside])
    return float(2 * (inside - low) / (high - low) - 1)


def make_records(contract: EventsContract, rows: Sequence[Row]) -> Iterator[dict[str, NDArray[Any]]]:
    """The records of a patient, whose visits are in order of time."""
    values = np.zeros((VISITS, len(contract.variables)), np.float32)
    observed = np.zeros(values.shape, bool)
    gaps = np.zeros(
        values.shape, np.float32
    )  # years since the variable's last measurement, or since the first visit
    for visit, row in enumerate(rows[:VISITS]):
        if visit:
            waited = float(row["year"]) - float(rows[visit - 1]["year"])
            gaps[visit] = waited + np.where(observed[visit - 1], 0, gaps[visit - 1])
        for place, variable in enumerate(contract.variables):
            value = scale(contract, place, row[variable.name])
            if value is not None:
                values[visit, place], observed[visit, place] = value, True
    for visits in FIRST:
        if visits > len(rows):
            return
        present = np.arange(VISITS) < visits
        last = rows[visits - 1]
        time, event = float(last["years"]) - float(last["year"]), EVENTS[last["status"]]
        yield {
            "values": values * present[:, None],
            "observed": observed & present[:, None],
            "gaps": np.minimum(gaps / YEARS, 1) * present[:, None],
            "present": present,
            "time": np.array(min(time, LONGEST)),
            "event": np.array(event if time <= LONGEST else 0),
        }
