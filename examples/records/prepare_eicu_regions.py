"""Turn the diagnoses of intensive care (eICU demonstration extract) into the files of three regions.

    python examples/records/prepare_eicu_regions.py FOLDER OUTPUT
    python examples/records/prepare_eicu_regions.py FOLDER OUTPUT --long-stays

``FOLDER`` holds ``patient.csv.gz``, ``hospital.csv.gz`` and ``diagnosis.csv.gz`` of the extract, and with
``--long-stays`` ``treatment.csv.gz``. ``OUTPUT`` gets ``south``, ``midwest`` and ``elsewhere``, each with ``train.npz``
and ``test.npz``. Without the option they are for ``intensive_diagnoses.yaml``, ``intensive_diagnosis_vectors.yaml`` and
``intensive_code_vectors.yaml``:

============  =====================  ====================================================================
array         shape                  content
============  =====================  ====================================================================
``visits``    (people, 10, 1300)     flags: the diagnoses that were entered at one time, as ICD-9 categories
``present``   (people, 10)           flags: which of the times there are
``patient``   (people,)              the person
============  =====================  ====================================================================

With ``--long-stays`` they are for ``long_stays.yaml`` and its neighbours ``long_stays_motifs.yaml``,
``long_stays_attention.yaml`` and ``long_stays_memory.yaml``, and a record is a stay:

=================  =================  ====================================================================
array              shape              content
=================  =================  ====================================================================
``label``          (stays,)           1 if the stay in intensive care was longer than two days
``visits``         (stays, 5, 1328)   flags: the diagnoses, and then the treatments, entered at one time
``present``        (stays, 5)         flags: which of the times there are
``words``          (stays, 60)        all of it as a sentence, with where the person came from, and gaps
``events``         (stays, 5, 40)     the same words, without gaps, of each time
``demographics``   (stays, 2)         age / 100, and male
``diagnoses``      (stays, 5, 20)     1 + the category of each diagnosis of each time; 0 is none
``interventions``  (stays, 5, 20)     1 + the place in ``TREATMENTS`` of each treatment of each time
``gaps``           (stays, 5)         hours since the time before, four at most
``planned``        (stays, 5)         flags: came from an operation, or was admitted directly
``patient``        (stays,)           the person, who may have several stays
=================  =================  ====================================================================

**These are 62 people, or 82 with the option, too few to learn from with privacy**: the whole extract has 100, in 79
hospitals, of whom the largest has six. So the sites are regions of the United States, as the extract names them; West,
Northeast and hospitals without a region are one.

Rules:

* what was entered at one time is a visit, in the order of years, hospital stays and minutes; of more than ten the last
  ten are used. People with one are left out;
* a person is at the region of the first visit, which does not know of visits in others;
* a category is the first three digits of a diagnosis's first ICD-9 code, numbered as by
  ``prepare_diabetes130_visits.py``. Diagnoses without one are left out;
* every fourth person of a region, in the order of their names, is for testing;
* with ``--long-stays`` the first stay in intensive care of each hospital stay counts if it was longer than twelve hours
  and something was entered in these. Two days divide the stays nearly evenly (46 % are longer); death would not: six
  people died. Nothing after the twelfth hour is in the record, and nothing of other stays, whose order within a year
  the extract does not tell. So most records have one time only;
* a treatment is what its path in the extract contains: ``TREATMENTS``, written down after a look at all paths, those of
  people for testing too.

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
from prepare_diabetes130_visits import CODES, TEST, VISITS, number_code, pad

ICD9 = re.compile(r"(\d{3}|V\d\d|E[89]\d\d)(\.\d+)?")
SITES = {"South": "south", "Midwest": "midwest"}
ELSEWHERE = "elsewhere"
Time = tuple[int, int, int]
"""The year of discharge, the number of the hospital stay, and minutes from its beginning."""
Record = dict[str, np.ndarray]
People = dict[str, dict[str, list[Record]]]
"""The records of each person, by site and person."""

SEEN_H, LONG_H = 12, 48
MINUTES = 60
LONGEST_GAP_H = 4
ENTRIES, EACH = 5, 20  # times of a stay, and diagnoses or treatments of each, at most
WORDS = 60  # of a sentence
TREATMENTS = (
    "mechanical ventilation", "non-invasive ventilation", "oxygen therapy", "bronchodilator", "chest x-ray",
    "vasopressors", "inotropic", "antiarrhythmics", "anticoagulant", "antiplatelet", "beta blocker", "diuretic",
    "intravenous fluid", "blood product", "electrolyte", "dialysis", "insulin", "glucocorticoid", "antibacterials",
    "culture", "sedative", "analgesic", "surgery", "catheter", "nutrition", "stress ulcer prophylaxis",
    "vte prophylaxis", "consultation",
)  # fmt: skip
EXTRA_WORDS = {
    word: 1 + CODES + len(TREATMENTS) + place
    for place, word in enumerate(("emergency", "operation", "elsewhere", "within an hour", "later"))
}
FROM_EMERGENCY, FROM_OPERATION = ("Emergency Department",), ("Operating Room", "Recovery Room", "PACU")
DIRECT = "Direct Admit"


def read_table(folder: Path, name: str) -> Iterator[dict[str, str]]:
    """Read the rows of a table of the extract."""
    with gzip.open(folder / f"{name}.csv.gz", "rt", newline="") as lines:
        yield from csv.DictReader(lines)


def read_stays(folder: Path) -> dict[str, dict[str, str]]:
    """Return the stays in intensive care by their number, each with its ``site``."""
    regions = {row["hospitalid"]: row["region"] for row in read_table(folder, "hospital")}
    return {
        row["patientunitstayid"]: row | {"site": SITES.get(regions.get(row["hospitalid"], ""), ELSEWHERE)}
        for row in read_table(folder, "patient")
    }


def find_category(row: dict[str, str]) -> int | None:
    """Return the number of a diagnosis's category, None where it has no ICD-9 code."""
    code = row["icd9code"].split(",")[0].strip()
    return number_code(code) if ICD9.fullmatch(code) else None


def read_visits(folder: Path) -> dict[str, dict[str, list[set[int]]]]:
    """Return the categories of each visit, in order, by the site and the person."""
    stays = read_stays(folder)
    entered: dict[str, dict[Time, dict[str, set[int]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
    for row in read_table(folder, "diagnosis"):
        stay, category = stays[row["patientunitstayid"]], find_category(row)
        if category is None:
            continue
        minutes = int(row["diagnosisoffset"]) - int(stay["hospitaladmitoffset"])
        time = int(stay["hospitaldischargeyear"]), int(stay["patienthealthsystemstayid"]), minutes
        entered[stay["uniquepid"]][time][stay["site"]].add(category)
    found: dict[str, dict[str, list[set[int]]]] = defaultdict(dict)
    for person, times in sorted(entered.items()):
        (home,) = times[min(times)]
        visits = [times[time][home] for time in sorted(times) if home in times[time]]
        if len(visits) > 1:
            found[home][person] = visits
    return found


def make_record(person: str, categories: list[set[int]]) -> Record:
    """Return the tensors of a person's visits, by name."""
    used = categories[-VISITS:]
    visits = np.zeros((VISITS, CODES), bool)
    for place, each in enumerate(used):
        visits[place, list(each)] = True
    return {"patient": np.array(person), "visits": visits, "present": np.arange(VISITS) < len(used)}


def make_people(folder: Path) -> People:
    """Make a record of each person's visits."""
    return {
        site: {person: [make_record(person, visits)] for person, visits in people.items()}
        for site, people in read_visits(folder).items()
    }


def read_entries(folder: Path) -> dict[str, dict[int, set[int]]]:
    """Return what was entered in the first hours of each stay: categories, and CODES + places of treatments.

    By the number of the stay and minutes since its beginning.
    """
    entries: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for row in read_table(folder, "diagnosis"):
        minute, category = int(row["diagnosisoffset"]), find_category(row)
        if minute <= SEEN_H * MINUTES and category is not None:
            entries[row["patientunitstayid"]][minute].add(category)
    for row in read_table(folder, "treatment"):
        minute, path = int(row["treatmentoffset"]), row["treatmentstring"].lower()
        found = {CODES + place for place, each in enumerate(TREATMENTS) if each in path}
        if minute <= SEEN_H * MINUTES and found:
            entries[row["patientunitstayid"]][minute] |= found
    return entries


def make_stays(folder: Path) -> People:
    """Make a record of the first hours of each stay."""
    entries, homes = read_entries(folder), dict[str, str]()
    found: People = defaultdict(lambda: defaultdict(list))
    stays = read_stays(folder).values()
    for row in sorted(
        stays, key=lambda each: (each["hospitaldischargeyear"], int(each["patienthealthsystemstayid"]))
    ):
        person, times = row["uniquepid"], entries.get(row["patientunitstayid"])
        home = homes.setdefault(person, row["site"])
        longer = int(row["unitdischargeoffset"]) > SEEN_H * MINUTES
        if times and longer and row["unitvisitnumber"] == "1" and row["site"] == home:
            found[home][person].append(make_stay(row, times))
    return found


def make_stay(row: dict[str, str], times: dict[int, set[int]]) -> Record:
    """Return the tensors of what was entered in a stay's first hours, by name."""
    minutes = sorted(times)[-ENTRIES:]
    visits = np.zeros((ENTRIES, CODES + len(TREATMENTS)), bool)
    diagnoses, interventions = np.zeros((ENTRIES, EACH), np.int64), np.zeros((ENTRIES, EACH), np.int64)
    events, gaps = np.zeros((ENTRIES, 2 * EACH), np.int64), np.zeros(ENTRIES, np.float32)
    sentence = [EXTRA_WORDS[find_origin(row)]]
    for place, minute in enumerate(minutes):
        numbers = sorted(times[minute])
        visits[place, numbers] = True
        diagnoses[place] = pad([1 + each for each in numbers if each < CODES][:EACH], EACH)
        interventions[place] = pad([1 + each - CODES for each in numbers if each >= CODES][:EACH], EACH)
        words = [1 + each for each in numbers]
        first = [] if place else sentence[:1]
        events[place] = pad([*first, *words][: 2 * EACH], 2 * EACH)
        if place:
            hours = (minute - minutes[place - 1]) / MINUTES
            gaps[place] = min(hours, LONGEST_GAP_H)
            sentence.append(EXTRA_WORDS["within an hour" if hours <= 1 else "later"])
        sentence += words
    planned = find_origin(row) == "operation" or row["unitadmitsource"] == DIRECT
    return {
        "patient": np.array(row["uniquepid"]),
        "label": np.array(int(int(row["unitdischargeoffset"]) > LONG_H * MINUTES)),
        "visits": visits,
        "present": np.arange(ENTRIES) < len(minutes),
        "words": pad(sentence[:WORDS], WORDS),
        "events": events,
        "demographics": np.array([int(row["age"].strip("> ")) / 100, row["gender"] == "Male"], np.float32),
        "diagnoses": diagnoses,
        "interventions": interventions,
        "gaps": gaps,
        "planned": np.full(ENTRIES, planned),
    }


def find_origin(row: dict[str, str]) -> str:
    """Say where a person came from, as one of ``EXTRA_WORDS``."""
    if row["unitadmitsource"] in FROM_EMERGENCY:
        return "emergency"
    return "operation" if row["unitadmitsource"] in FROM_OPERATION else "elsewhere"


def main() -> None:
    """Read the folder and write the files of the regions."""
    parser = argparse.ArgumentParser(
        description="Make the files of three regions from diagnoses of intensive care."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--long-stays", action="store_true", help="predict from the first hours if a stay is longer than two days"
    )
    asked = parser.parse_args()
    found = make_stays(asked.folder) if asked.long_stays else make_people(asked.folder)
    for site, people in found.items():
        folder = asked.output / site
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(people)
        tests = names[TEST - 1 :: TEST]
        trained = [name for place, name in enumerate(names) if place % TEST != TEST - 1]
        for name, part in (("train", trained), ("test", tests)):
            records = [record for person in part for record in people[person]]
            np.savez(
                folder / f"{name}.npz", **{key: np.stack([each[key] for each in records]) for key in records[0]}
            )


if __name__ == "__main__":
    main()
