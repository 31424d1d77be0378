"""The tensors of a stay in intensive care by plain loops, as the study ``gru_d.yaml`` describes them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.study import EventsContract

HOURS = 48
Measurement = tuple[int, str, float]
"""Minute, variable, value."""


def make_record(contract: EventsContract, measurements: list[Measurement]) -> dict[str, NDArray[Any]]:
    """The inputs of a stay, by name; of several values in an hour the last one counts."""
    places = {variable.name: place for place, variable in enumerate(contract.variables)}
    values = np.zeros((HOURS, len(places)), np.float32)
    observed = np.zeros(values.shape, bool)
    for minute, name, value in measurements:
        if minute > 60 * HOURS:
            continue
        variable, hour = contract.variables[places[name]], min(minute // 60, HOURS - 1)
        low, high, inside = variable.low, variable.high, min(max(value, variable.low), variable.high)
        if variable.logarithm:
            low, high, inside = np.log([low, high, inside])
        values[hour, places[name]] = 2 * (inside - low) / (high - low) - 1
        observed[hour, places[name]] = True
    hours = np.flatnonzero(observed.any(axis=1))
    present = np.arange(HOURS) <= (hours[-1] if len(hours) else -1)
    gaps = np.zeros(values.shape, np.float32)  # hours since the variable's last measurement, or since the beginning
    for hour in range(1, HOURS):
        gaps[hour] = 1 + np.where(observed[hour - 1], 0, gaps[hour - 1])
    return {"values": values, "observed": observed, "gaps": gaps / HOURS * present[:, None], "present": present}
