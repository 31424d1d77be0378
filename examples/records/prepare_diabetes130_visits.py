"""Turn the hospital encounters of diabetics (UCI "Diabetes 130-US hospitals") into the files of three sites.

    python examples/records/prepare_diabetes130_visits.py FOLDER OUTPUT
    python examples/records/prepare_diabetes130_visits.py FOLDER OUTPUT --heart-failure
    python examples/records/prepare_diabetes130_visits.py FOLDER OUTPUT --sentences
    python examples/records/prepare_diabetes130_visits.py FOLDER OUTPUT --admissions

``FOLDER`` holds ``diabetic_data.csv``, as UCI publishes it, or ``encounters.csv.gz``, the same columns with ``patient``
and ``visit`` in place of ``patient_nbr`` and ``encounter_id``. ``OUTPUT`` gets ``site-1`` to ``site-3``, each with
``train.npz`` and ``test.npz``. Without an option they are for ``doctor_ai.yaml``, ``med2vec.yaml`` and
``code_embeddings.yaml``, with ``--heart-failure`` for ``retain.yaml`` and ``phenotyping_cnn.yaml``, with
``--sentences`` for ``deepr.yaml``, and with ``--admissions`` for ``deep_care.yaml`` and ``patient2vec.yaml``.

Rules:

* a visit has up to three diagnoses, as categories of ICD-9: its first three digits, V00 to V99, and E800 to E999. The
  vocabulary is all of them, 1,300, whether a patient has them or not;
* patients with one visit are left out; of more than ten visits the last ten are used;
* with an option the last visit is left out, and the record says what was known before it;
* with ``--heart-failure`` the label says whether heart failure, ICD-9 category 428, is among the last visit's
  diagnoses;
* with ``--sentences`` and ``--admissions`` it says the same. A visit's words are a transfer from elsewhere, its
  diagnoses and its drugs; word 0 is none, a diagnosis is 1 + its category, and after them come ``EXTRA_WORDS``;
* a sentence is the words of all visits, with one for the gap between two visits; the last 100 are kept;
* an admission has its diagnoses (1 + the category), its drugs (1 + the place among the 18), whether it was planned, the
  gap before it, and all its words as ``events``; ``demographics`` are age / 100 and male;
* the table has no dates, but says of each visit whether the next one was within 30 days. So a gap is one of two: up to
  30 days, or more, which is here 15 or 180 days;
* patients are dealt to the sites in turn, and every fourth one of a site is for testing.

Source: Strack et al. 2014, Impact of HbA1c measurement on hospital readmission rates, BioMed Research International.
"""

import argparse
import csv
import gzip
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from prepare_diabetes130_codes import DRUGS

VISITS = 10
CODES = 1300
HEART_FAILURE = 428  # number of the category in the vocabulary
WORDS = 100  # of a sentence
EXTRA_WORDS = {
    word: 1 + CODES + place for place, word in enumerate((*DRUGS, "transfer", "within 30 days", "later"))
}
EVENTS = 1 + 3 + len(DRUGS)  # of a visit, at most
FROM_ELSEWHERE = ("4", "5", "6", "10", "18", "22", "25")  # hospitals, nursing homes and the like, as a source
PLANNED = "3"  # elective, as a type of admission
SOON_D, LATE_D = 15, 180
SITES = 3
TEST = 4  # of so many patients one is for testing


def read_encounters(folder: Path) -> Iterator[dict[str, str]]:
    """Read the rows of the table, whichever of the two files there is."""
    plain, packed = folder / "diabetic_data.csv", folder / "encounters.csv.gz"
    with plain.open(newline="") if plain.exists() else gzip.open(packed, "rt", newline="") as lines:
        for row in csv.DictReader(lines):
            yield row | {
                "patient": row.get("patient") or row["patient_nbr"],
                "visit": row.get("visit") or row["encounter_id"],
            }


def number_code(code: str) -> int | None:
    """Return the number of an ICD-9 category in the vocabulary, None for a missing one: 250.83 -> 250, V58 -> 1058."""
    category = code.split(".")[0]
    if category in ("", "?"):
        return None
    if category[0] == "V":
        return 1000 + int(category[1:])
    if category[0] == "E":
        return 1100 + int(category[1:]) - 800
    return int(category)


def list_codes(row: dict[str, str]) -> list[int]:
    """List the numbers of the categories of a visit's diagnoses, in their order."""
    numbers = [number_code(row[f"diag_{each}"]) for each in (1, 2, 3)]
    return [number for number in numbers if number is not None]


def list_drugs(row: dict[str, str]) -> list[int]:
    """List the places of a visit's drugs among the 18."""
    return [place for place, drug in enumerate(DRUGS) if row[drug] != "No"]


def make_record(patient: str, encounters: list[dict[str, str]], heart_failure: bool) -> dict[str, np.ndarray]:
    """Return the tensors of a patient's visits, by name."""
    used = (encounters[:-1] if heart_failure else encounters)[-VISITS:]
    visits = np.zeros((VISITS, CODES), bool)
    for place, row in enumerate(used):
        visits[place, list_codes(row)] = True
    record = {
        "patient": np.array(f"patient-{patient}"),
        "visits": visits,
        "present": np.arange(VISITS) < len(used),
    }
    return record | {"label": find_heart_failure(encounters[-1])} if heart_failure else record


def find_heart_failure(row: dict[str, str]) -> np.ndarray:
    """Return whether a visit has heart failure among its diagnoses."""
    return np.array(int(HEART_FAILURE in list_codes(row)))


def list_words(row: dict[str, str]) -> list[int]:
    """List the words of a visit: a transfer, its diagnoses, its drugs."""
    transfer = [EXTRA_WORDS["transfer"]] * (row["admission_source_id"] in FROM_ELSEWHERE)
    drugs = [EXTRA_WORDS[DRUGS[drug]] for drug in list_drugs(row)]
    return [*transfer, *(1 + number for number in list_codes(row)), *drugs]


def make_sentence(patient: str, encounters: list[dict[str, str]]) -> dict[str, np.ndarray]:
    """Return the tensors of a patient's visits before the last as a sentence, by name."""
    sentence = []
    for place, row in enumerate(encounters[:-1]):
        if place:
            soon = encounters[place - 1]["readmitted"] == "<30"
            sentence.append(EXTRA_WORDS["within 30 days" if soon else "later"])
        sentence += list_words(row)
    return {
        "patient": np.array(f"patient-{patient}"),
        "words": pad(sentence[-WORDS:], WORDS),
        "label": find_heart_failure(encounters[-1]),
    }


def make_admissions(patient: str, encounters: list[dict[str, str]]) -> dict[str, np.ndarray]:
    """Return the tensors of a patient's admissions before the last, by name."""
    used = encounters[:-1][-VISITS:]
    diagnoses, drugs = np.zeros((VISITS, 3), np.int64), np.zeros((VISITS, len(DRUGS)), np.int64)
    words = np.zeros((VISITS, EVENTS), np.int64)
    days, planned = np.zeros(VISITS, np.float32), np.zeros(VISITS, bool)
    for place, row in enumerate(used):
        diagnoses[place] = pad([1 + number for number in list_codes(row)], 3)
        drugs[place] = pad([1 + drug for drug in list_drugs(row)], len(DRUGS))
        words[place] = pad(list_words(row), EVENTS)
        planned[place] = row["admission_type_id"] == PLANNED
        if place:
            days[place] = SOON_D if used[place - 1]["readmitted"] == "<30" else LATE_D
    age = int(used[-1]["age"].strip("[)").split("-")[0]) + 5  # of ten years
    return {
        "patient": np.array(f"patient-{patient}"),
        "diagnoses": diagnoses,
        "interventions": drugs,
        "gaps": days,
        "planned": planned,
        "present": np.arange(VISITS) < len(used),
        "events": words,
        "demographics": np.array([age / 100, used[-1]["gender"] == "Male"], np.float32),
        "label": find_heart_failure(encounters[-1]),
    }


def pad(numbers: list[int], length: int) -> np.ndarray:
    """Fill up with 0."""
    return np.array([*numbers, *[0] * (length - len(numbers))], np.int64)


def main() -> None:
    """Read the folder and write the files of the sites."""
    parser = argparse.ArgumentParser(description="Make the files of three sites from encounters of diabetics.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument(
        "--heart-failure", action="store_true", help="predict heart failure at the last visit from those before"
    )
    forms.add_argument("--sentences", action="store_true", help="the same, from one sentence of codes and gaps")
    forms.add_argument(
        "--admissions", action="store_true", help="the same, from diagnoses, drugs and gaps of each visit"
    )
    asked = parser.parse_args()
    make = partial(make_record, heart_failure=asked.heart_failure)
    if asked.sentences or asked.admissions:
        make = make_sentence if asked.sentences else make_admissions
    encounters = defaultdict(list)
    for row in read_encounters(asked.folder):
        encounters[row["patient"]].append(row)
    patients = sorted((patient for patient, rows in encounters.items() if len(rows) > 1), key=int)
    for site in range(SITES):
        folder = asked.output / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        own = patients[site::SITES]
        tests = own[TEST - 1 :: TEST]
        trained = [patient for place, patient in enumerate(own) if place % TEST != TEST - 1]
        for name, part in (("train", trained), ("test", tests)):
            rows = [sorted(encounters[patient], key=lambda row: int(row["visit"])) for patient in part]
            records = [make(*each) for each in zip(part, rows, strict=True)]
            np.savez(
                folder / f"{name}.npz", **{key: np.stack([each[key] for each in records]) for key in records[0]}
            )


if __name__ == "__main__":
    main()
