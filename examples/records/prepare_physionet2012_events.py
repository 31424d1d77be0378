"""Turn the intensive-care stays of the PhysioNet challenge 2012 into lists of events, for ``event_ensemble.yaml``.

    python examples/records/prepare_physionet2012_events.py FOLDER OUT

FOLDER is that of ``prepare_physionet2012.py``. OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and
``test.npz``:

===========  ==========  ==========================================================================================
array        shape       content
===========  ==========  ==========================================================================================
``events``   (n, 256)    age, sex and unit, then what was measured in the first 48 hours, newest first; 0 is none
``hours``    (n, 256)    how long before the end of the 48 hours each was
``label``    (n,)        1 if the patient died in hospital
``patient``  (n,)        a stay; the file names no person who has two
===========  ==========  ==========================================================================================

Rules:

* an event is a variable in one of five ranges, from very low to very high. The limits are of clinical knowledge,
  written down by the author of the study: ``LIMITS``; none was computed from stays;
* an event counts once in six hours, at the time of the last measurement of this kind. Of more events than have a place
  the newest are kept;
* stays are dealt to the sites in turn, and every fourth one of a site is for testing, as in the other script.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from prepare_physionet2012 import HOSPITALS, TEST, Stay, name_patient, read_stays

LIMITS: Final = {
    "ALP": (30, 45, 120, 300), "ALT": (10, 20, 40, 200), "AST": (10, 20, 40, 200), "Albumin": (2, 2.8, 3.5, 5),
    "BUN": (10, 20, 40, 80), "Bilirubin": (0.5, 1.2, 2, 6), "Cholesterol": (100, 150, 200, 250),
    "Creatinine": (0.6, 1.2, 2, 4), "DiasABP": (40, 50, 80, 100), "FiO2": (0.3, 0.45, 0.6, 0.9), "GCS": (4, 8, 11, 14),
    "Glucose": (60, 80, 180, 300), "HCO3": (15, 20, 28, 35), "HCT": (21, 27, 36, 48), "HR": (50, 70, 100, 130),
    "K": (3, 3.5, 5, 6), "Lactate": (1, 2, 4, 8), "MAP": (55, 65, 90, 110), "MechVent": (0, 0, 2, 3),
    "Mg": (1.5, 1.8, 2.4, 3), "NIDiasABP": (40, 50, 80, 100), "NIMAP": (55, 65, 90, 110),
    "NISysABP": (80, 95, 140, 170), "Na": (125, 135, 145, 155), "PaCO2": (25, 35, 45, 60), "PaO2": (55, 70, 120, 250),
    "Platelets": (50, 100, 400, 600), "RespRate": (8, 12, 20, 30), "SaO2": (85, 92, 96, 99),
    "SysABP": (80, 95, 140, 170), "Temp": (35, 36, 38, 39), "TroponinI": (0.4, 1, 5, 20),
    "TroponinT": (0.03, 0.1, 0.5, 2), "Urine": (10, 40, 100, 300), "WBC": (2, 4, 12, 20), "Weight": (50, 65, 85, 110),
    "pH": (7.2, 7.3, 7.45, 7.55),
}  # fmt: skip
"""Where the ranges very low, low, middle, high and very high meet; a value at a limit is in the higher one."""
RANGES: Final = 5
DECADES: Final = range(20, 100, 10)
UNITS: Final = (1, 2, 3, 4)  # coronary, cardiac surgery recovery, medical, surgical
WORDS: Final = 1 + len(LIMITS) * RANGES + len(DECADES) + 2 + len(UNITS)
HOURS: Final = 48
ONCE_IN_MINUTES: Final = 360
EVENTS: Final = 256

_FACTS: Final = 1 + len(LIMITS) * RANGES


def find_events(stay: Stay) -> list[tuple[float, int]]:
    """Find the events and how many hours before the end each was, newest first."""
    last: dict[tuple[int, int], int] = {}
    for minute, name, value in stay.measurements:
        if name in LIMITS and minute < HOURS * 60:
            word = 1 + RANGES * list(LIMITS).index(name) + int(np.searchsorted(LIMITS[name], value, side="right"))
            last[minute // ONCE_IN_MINUTES, word] = minute
    return sorted((HOURS - minute / 60, word) for (_, word), minute in last.items())


def list_facts(stay: Stay) -> Iterator[int]:
    """List age, sex and unit as words."""
    age, male, unit = (int(stay.facts.get(name, -1)) for name in ("Age", "Gender", "ICUType"))
    if age >= 0:
        yield _FACTS + min(max(age // 10 * 10, DECADES[0]), DECADES[-1]) // 10 - DECADES[0] // 10
    if male >= 0:
        yield _FACTS + len(DECADES) + male
    if unit in UNITS:
        yield _FACTS + len(DECADES) + 2 + UNITS.index(unit)


def make_record(stay: Stay) -> dict[str, Any]:
    """Return the arrays of a stay, by name."""
    every = [*((float(HOURS), word) for word in list_facts(stay)), *find_events(stay)][:EVENTS]
    events, hours = np.zeros(EVENTS, np.int64), np.zeros(EVENTS, np.float32)
    hours[: len(every)], events[: len(every)] = zip(*every, strict=True)
    return {
        "events": events,
        "hours": hours,
        "label": np.array(int(stay.died)),
        "patient": np.array(name_patient(stay)),
    }


def write_sites(stays: Sequence[Stay], target: Path) -> None:
    """Write every site's files under ``target``."""
    for site in range(len(HOSPITALS)):
        own = stays[site :: len(HOSPITALS)]
        folder = target / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        parts = {"train": [], "test": []}
        for place, stay in enumerate(own):
            parts["test" if place % TEST == TEST - 1 else "train"].append(make_record(stay))
        for name, records in parts.items():
            np.savez(
                folder / f"{name}.npz", **{key: np.stack([each[key] for each in records]) for key in records[0]}
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn the stays of the PhysioNet challenge 2012 into events.")
    parser.add_argument("source", type=Path, metavar="FOLDER")
    parser.add_argument("target", type=Path, metavar="OUT")
    asked = parser.parse_args()
    write_sites(list(read_stays(asked.source)), asked.target)
