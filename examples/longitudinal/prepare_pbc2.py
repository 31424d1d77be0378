"""Turn the trial of primary biliary cirrhosis (PBC2) into the files of three sites, for ``dynamic_deephit.yaml``.

    python examples/longitudinal/prepare_pbc2.py FOLDER OUTPUT

``FOLDER`` holds ``pbc2.csv``, a row for each visit, as the R packages JM and JMbayes have it. ``OUTPUT`` gets
``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``.

Rules:

* a record is a patient's first 1, 2, 4 or 8 visits, so that a model learns to predict early and late; a patient has a
  record for each of these that they reached, in this order;
* time is in years from the last of these visits to death or transplantation, or to the end of observation;
* every variable is scaled to [-1, 1] by a range that was chosen here from clinical knowledge, not from these patients;
  variables over several orders of magnitude are scaled by their logarithm; what is beyond a range is at its end;
* patients are dealt to the sites in turn, and every fourth one of a site is for testing.

Source: Murtaugh et al. 1994, Primary biliary cirrhosis: prediction of short-term survival based on repeated patient
visits, Hepatology 20:126-134.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

VISITS = 8
FIRST = (1, 2, 4, 8)  # of so many visits a record is made
YEARS = 5  # a longer gap between two measurements counts as this
SITES = 3
TEST = 4  # of so many patients one is for testing
EVENTS = {"alive": 0, "dead": 1, "transplanted": 2}

RANGES = {  # name: lowest, highest, and whether the logarithm is scaled
    "age": (25, 80, False),
    "serBilir": (0.2, 40, True),
    "serChol": (100, 1500, True),
    "albumin": (1.5, 5, False),
    "alkaline": (100, 10000, True),
    "SGOT": (20, 600, True),
    "platelets": (40, 600, False),
    "prothrombin": (9, 20, False),
    "histologic": (1, 4, False),
}
WORDS = {  # name: what each word counts as
    "edema": {"No edema": -1, "edema no diuretics": 0, "edema despite diuretics": 1},
    "drug": {"placebo": -1, "D-penicil": 1},
    "sex": {"male": -1, "female": 1},
    "ascites": {"No": -1, "Yes": 1},
    "hepatomegaly": {"No": -1, "Yes": 1},
    "spiders": {"No": -1, "Yes": 1},
}
VARIABLES = [*RANGES, *WORDS]

Row = dict[str, str]


def read_patients(file: Path) -> list[list[Row]]:
    """Read the visits of each patient, in order of time."""
    patients = defaultdict(list)
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            patients[row["id"]].append(row)
    return [sorted(rows, key=lambda row: float(row["year"])) for rows in patients.values()]


def scale(variable: str, word: str) -> float | None:
    """Scale a value to [-1, 1]; None for a missing one."""
    if word in ("", "NA"):
        return None
    if variable in WORDS:
        return WORDS[variable][word]
    low, high, logarithm = RANGES[variable]
    value = min(max(float(word), low), high)
    if logarithm:
        low, high, value = np.log([low, high, value])
    return float(2 * (value - low) / (high - low) - 1)


def make_records(rows: list[Row]) -> Iterator[dict[str, np.ndarray]]:
    """Yield the records of a patient: the tensors of each, by name."""
    values = np.zeros((VISITS, len(VARIABLES)), np.float32)
    observed = np.zeros(values.shape, bool)
    gaps = np.zeros(
        values.shape, np.float32
    )  # years since the variable's last measurement, or since the first visit
    for visit, row in enumerate(rows[:VISITS]):
        if visit:
            waited = float(row["year"]) - float(rows[visit - 1]["year"])
            gaps[visit] = waited + np.where(observed[visit - 1], 0, gaps[visit - 1])
        for place, variable in enumerate(VARIABLES):
            value = scale(variable, row[variable])
            if value is not None:
                values[visit, place], observed[visit, place] = value, True
    for visits in FIRST:
        if visits > len(rows):
            return
        present = np.arange(VISITS) < visits
        last = rows[visits - 1]
        yield {
            "patient": np.array(f"patient-{last['id']}"),
            "values": values * present[:, None],
            "observed": observed & present[:, None],
            "gaps": np.minimum(gaps / YEARS, 1) * present[:, None],
            "present": present,
            "time": np.array(float(last["years"]) - float(last["year"])),
            "event": np.array(EVENTS[last["status"]]),
        }


def main() -> None:
    """Read the folder and write the files of the sites."""
    parser = argparse.ArgumentParser(description="Make the files of three sites from pbc2.csv.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    asked = parser.parse_args()
    patients = read_patients(asked.folder / "pbc2.csv")
    for site in range(SITES):
        folder = asked.output / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        own = patients[site::SITES]
        tests = own[TEST - 1 :: TEST]
        trained = [rows for place, rows in enumerate(own) if place % TEST != TEST - 1]
        for name, part in (("train", trained), ("test", tests)):
            records = [record for rows in part for record in make_records(rows)]
            np.savez(
                folder / f"{name}.npz", **{key: np.stack([each[key] for each in records]) for key in records[0]}
            )


if __name__ == "__main__":
    main()
