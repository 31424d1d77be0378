"""Turn the diagnoses of intensive care (eICU demonstration extract) into the files of three regions.

    python examples/records/prepare_eicu_regions.py FOLDER OUTPUT

``FOLDER`` holds ``patient.csv.gz``, ``hospital.csv.gz`` and ``diagnosis.csv.gz`` of the extract. ``OUTPUT`` gets
``south``, ``midwest`` and ``elsewhere``, each with ``train.npz`` and ``test.npz``, for ``intensive_diagnoses.yaml``:

============  =====================  ====================================================================
array         shape                  content
============  =====================  ====================================================================
``visits``    (people, 10, 1300)     flags: the diagnoses that were entered at one time, as ICD-9 categories
``present``   (people, 10)           flags: which of the times there are
``patient``   (people,)              the person
============  =====================  ====================================================================

**These are 62 people, too few to learn from with privacy**: the whole extract has 100, in 79 hospitals, of whom the
largest has six. So the sites are regions of the United States, as the extract names them; West, Northeast and hospitals
without a region are one.

Rules:

* what was entered at one time is a visit, in the order of years, hospital stays and minutes; of more than ten the last
  ten are used. People with one are left out;
* a person is at the region of the first visit, which does not know of visits in others;
* a category is the first three digits of a diagnosis's first ICD-9 code, numbered as by
  ``prepare_diabetes130_visits.py``. Diagnoses without one are left out;
* every fourth person of a region, in the order of their names, is for testing.

Source: Pollard et al. 2018, The eICU Collaborative Research Database, a freely available multi-center database for
critical care research, Scientific Data 5:180178.
"""

import argparse
import csv
import gzip
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from prepare_diabetes130_visits import CODES, TEST, VISITS, number_code

ICD9 = re.compile(r"(\d{3}|V\d\d|E[89]\d\d)(\.\d+)?")
SITES = {"South": "south", "Midwest": "midwest"}
ELSEWHERE = "elsewhere"
Time = tuple[int, int, int]
"""The year of discharge, the number of the hospital stay, and minutes from its beginning."""


def read_table(folder: Path, name: str) -> Iterator[dict[str, str]]:
    """Read the rows of a table of the extract."""
    with gzip.open(folder / f"{name}.csv.gz", "rt", newline="") as lines:
        yield from csv.DictReader(lines)


def read_visits(folder: Path) -> dict[str, dict[str, list[set[int]]]]:
    """Return the categories of each visit, in order, by the site and the person."""
    regions = {row["hospitalid"]: row["region"] for row in read_table(folder, "hospital")}
    stays = {row["patientunitstayid"]: row for row in read_table(folder, "patient")}
    entered: dict[str, dict[Time, dict[str, set[int]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
    for row in read_table(folder, "diagnosis"):
        stay, code = stays[row["patientunitstayid"]], row["icd9code"].split(",")[0].strip()
        if not ICD9.fullmatch(code):
            continue
        minutes = int(row["diagnosisoffset"]) - int(stay["hospitaladmitoffset"])
        time = int(stay["hospitaldischargeyear"]), int(stay["patienthealthsystemstayid"]), minutes
        site = SITES.get(regions.get(stay["hospitalid"], ""), ELSEWHERE)
        category = number_code(code)
        assert category is not None
        entered[stay["uniquepid"]][time][site].add(category)
    found: dict[str, dict[str, list[set[int]]]] = defaultdict(dict)
    for person, times in sorted(entered.items()):
        (home,) = times[min(times)]
        visits = [times[time][home] for time in sorted(times) if home in times[time]]
        if len(visits) > 1:
            found[home][person] = visits
    return found


def make_record(person: str, categories: list[set[int]]) -> dict[str, np.ndarray]:
    """Return the tensors of a person's visits, by name."""
    used = categories[-VISITS:]
    visits = np.zeros((VISITS, CODES), bool)
    for place, each in enumerate(used):
        visits[place, list(each)] = True
    return {"patient": np.array(person), "visits": visits, "present": np.arange(VISITS) < len(used)}


def main() -> None:
    """Read the folder and write the files of the regions."""
    parser = argparse.ArgumentParser(
        description="Make the files of three regions from diagnoses of intensive care."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    asked = parser.parse_args()
    for site, people in read_visits(asked.folder).items():
        folder = asked.output / site
        folder.mkdir(parents=True, exist_ok=True)
        records = [make_record(*each) for each in sorted(people.items())]
        tests = records[TEST - 1 :: TEST]
        trained = [record for place, record in enumerate(records) if place % TEST != TEST - 1]
        for name, part in (("train", trained), ("test", tests)):
            np.savez(folder / f"{name}.npz", **{key: np.stack([each[key] for each in part]) for key in part[0]})


if __name__ == "__main__":
    main()
