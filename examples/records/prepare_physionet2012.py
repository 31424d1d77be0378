"""Turn the intensive-care stays of the PhysioNet challenge 2012 into the files of three sites, for ``gru_d.yaml``.

    python examples/records/prepare_physionet2012.py FOLDER OUTPUT

``FOLDER`` holds ``set-a/`` with a text file for each stay and ``Outcomes-a.txt``, as PhysioNet publishes them; or
``set_a.npz``, with the arrays ptr, minute, variable, value, names, outcome and outcome_names of the same measurements.
``OUTPUT`` gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``.

Rules:

* a step is an hour of the first 48; of several measurements of a variable in an hour the last one counts;
* every variable is scaled to [-1, 1] by a range that was chosen here from clinical knowledge, not from these patients;
  variables over several orders of magnitude are scaled by their logarithm; what is beyond a range is at its end;
* stays are dealt to the sites in turn, and every fourth stay of a site is for testing.

Source: Silva et al. 2012, Predicting in-hospital mortality of ICU patients, Computing in Cardiology 39:245-248.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

HOURS = 48
SITES = 3
TEST = 4  # of so many stays one is for testing

RANGES = {  # name: lowest, highest, and whether the logarithm is scaled
    "ALP": (20, 1000, True),
    "ALT": (5, 5000, True),
    "AST": (5, 5000, True),
    "Albumin": (1, 5, False),
    "BUN": (3, 150, True),
    "Bilirubin": (0.1, 40, True),
    "Cholesterol": (50, 300, False),
    "Creatinine": (0.2, 15, True),
    "DiasABP": (20, 120, False),
    "FiO2": (0.2, 1, False),
    "GCS": (3, 15, False),
    "Glucose": (40, 600, True),
    "HCO3": (5, 45, False),
    "HCT": (15, 55, False),
    "HR": (30, 180, False),
    "K": (2, 8, False),
    "Lactate": (0.5, 20, True),
    "MAP": (30, 150, False),
    "MechVent": (0, 1, False),
    "Mg": (0.5, 4, False),
    "NIDiasABP": (20, 120, False),
    "NIMAP": (30, 150, False),
    "NISysABP": (50, 220, False),
    "Na": (115, 165, False),
    "PaCO2": (15, 90, False),
    "PaO2": (30, 500, True),
    "Platelets": (10, 800, True),
    "RespRate": (5, 45, False),
    "SaO2": (70, 100, False),
    "SysABP": (50, 220, False),
    "Temp": (32, 42, False),
    "TroponinI": (0.3, 50, True),
    "TroponinT": (0.01, 25, True),
    "Urine": (1, 2000, True),
    "WBC": (0.5, 60, True),
    "Weight": (35, 180, False),
    "pH": (6.9, 7.7, False),
}
VARIABLES = list(RANGES)


class Stay(NamedTuple):
    """A stay: its number, (minute, variable, value) in order of time, and whether the patient died in hospital."""

    number: str
    measurements: list[tuple[int, str, float]]
    died: bool


def read_stays(folder: Path) -> Iterator[Stay]:
    """Read the stays in the form that ``folder`` has."""
    return read_arrays(folder / "set_a.npz") if (folder / "set_a.npz").exists() else read_texts(folder)


def read_texts(folder: Path) -> Iterator[Stay]:
    """Read one file for each stay: lines of ``hh:mm,variable,value`` after a header."""
    with (folder / "Outcomes-a.txt").open(newline="") as lines:
        died = {row["RecordID"]: row["In-hospital_death"] == "1" for row in csv.DictReader(lines)}
    for number in sorted(died):
        with (folder / "set-a" / f"{number}.txt").open(newline="") as lines:
            rows = [
                (60 * int(row["Time"][:2]) + int(row["Time"][3:]), row["Parameter"], float(row["Value"]))
                for row in csv.DictReader(lines)
                if row["Parameter"] in RANGES and float(row["Value"]) >= 0  # -1 stands for an unknown weight
            ]
        yield Stay(number, rows, died[number])


def read_arrays(file: Path) -> Iterator[Stay]:
    """Read the measurements of all stays, one after the other; stay i has those from ptr[i] to ptr[i + 1]."""
    with np.load(file) as arrays:
        found = {name: arrays[name] for name in arrays}
    death = found["outcome"][:, list(found["outcome_names"]).index("In-hospital_death")]
    names = found["names"][found["variable"]]
    for number, (start, end) in enumerate(zip(found["ptr"], found["ptr"][1:], strict=False)):
        columns = (found["minute"][start:end], names[start:end], found["value"][start:end])
        rows = [(int(minute), str(name), float(value)) for minute, name, value in zip(*columns, strict=True)]
        yield Stay(str(number), rows, bool(death[number]))


def scale(variable: str, value: float) -> float:
    """Scale a value from the variable's range to [-1, 1]."""
    low, high, logarithm = RANGES[variable]
    value = min(max(value, low), high)
    if logarithm:
        low, high, value = np.log([low, high, value])
    return float(2 * (value - low) / (high - low) - 1)


def make_record(stay: Stay) -> dict[str, np.ndarray]:
    """Return the tensors of a stay, by name."""
    values = np.zeros((HOURS, len(VARIABLES)), np.float32)
    observed = np.zeros(values.shape, bool)
    for minute, variable, value in stay.measurements:
        place = min(minute // 60, HOURS - 1), VARIABLES.index(variable)
        values[place], observed[place] = scale(variable, value), True
    hours = np.flatnonzero(observed.any(axis=1))
    present = np.arange(HOURS) <= (hours[-1] if len(hours) else -1)
    gaps = np.zeros(values.shape, np.float32)  # hours since the variable's last measurement, or since the beginning
    for hour in range(1, HOURS):
        gaps[hour] = 1 + np.where(observed[hour - 1], 0, gaps[hour - 1])
    return {
        "patient": np.array(f"stay-{stay.number}"),
        "values": values,
        "observed": observed,
        "gaps": gaps / HOURS * present[:, None],
        "present": present,
        "label": np.array(int(stay.died)),
    }


def main() -> None:
    """Read the folder and write the files of the sites."""
    parser = argparse.ArgumentParser(description="Make the files of three sites from the PhysioNet challenge 2012.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    asked = parser.parse_args()
    records = [make_record(stay) for stay in read_stays(asked.folder)]
    for site in range(SITES):
        own = records[site::SITES]
        folder = asked.output / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        tests = own[TEST - 1 :: TEST]
        trained = [record for place, record in enumerate(own) if place % TEST != TEST - 1]
        for name, part in (("train", trained), ("test", tests)):
            np.savez(folder / f"{name}.npz", **{key: np.stack([each[key] for each in part]) for key in part[0]})


if __name__ == "__main__":
    main()
