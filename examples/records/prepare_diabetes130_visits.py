"""Turn the hospital encounters of diabetics (UCI "Diabetes 130-US hospitals") into the files of three sites.

    python examples/records/prepare_diabetes130_visits.py FOLDER OUTPUT
    python examples/records/prepare_diabetes130_visits.py FOLDER OUTPUT --heart-failure

``FOLDER`` holds ``diabetic_data.csv``, as UCI publishes it, or ``encounters.csv.gz``, the same columns with ``patient``
and ``visit`` in place of ``patient_nbr`` and ``encounter_id``. ``OUTPUT`` gets ``site-1`` to ``site-3``, each with
``train.npz`` and ``test.npz``: without ``--heart-failure`` for ``doctor_ai.yaml`` and ``med2vec.yaml``, with it for
``retain.yaml``.

Rules:

* a visit has up to three diagnoses, as categories of ICD-9: its first three digits, V00 to V99, and E800 to E999. The
  vocabulary is all of them, 1,300, whether a patient has them or not;
* patients with one visit are left out; of more than ten visits the last ten are used;
* with ``--heart-failure`` the last visit is left out, and the label says whether heart failure, ICD-9 category 428, is
  among its diagnoses;
* patients are dealt to the sites in turn, and every fourth one of a site is for testing.

Source: Strack et al. 2014, Impact of HbA1c measurement on hospital readmission rates, BioMed Research International.
"""

import argparse
import csv
import gzip
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

VISITS = 10
CODES = 1300
HEART_FAILURE = 428  # number of the category in the vocabulary
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


def make_record(patient: str, encounters: list[dict[str, str]], heart_failure: bool) -> dict[str, np.ndarray]:
    """Return the tensors of a patient, by name."""
    used = (encounters[:-1] if heart_failure else encounters)[-VISITS:]
    visits = np.zeros((VISITS, CODES), bool)
    for place, row in enumerate(used):
        numbers = [number_code(row[f"diag_{each}"]) for each in (1, 2, 3)]
        visits[place, [number for number in numbers if number is not None]] = True
    record = {
        "patient": np.array(f"patient-{patient}"),
        "visits": visits,
        "present": np.arange(VISITS) < len(used),
    }
    if not heart_failure:
        return record
    last = [number_code(encounters[-1][f"diag_{each}"]) for each in (1, 2, 3)]
    return record | {"label": np.array(int(HEART_FAILURE in last))}


def main() -> None:
    """Read the folder and write the files of the sites."""
    parser = argparse.ArgumentParser(description="Make the files of three sites from encounters of diabetics.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--heart-failure", action="store_true", help="predict heart failure at the last visit from those before"
    )
    asked = parser.parse_args()
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
            records = [make_record(*each, asked.heart_failure) for each in zip(part, rows, strict=True)]
            np.savez(
                folder / f"{name}.npz", **{key: np.stack([each[key] for each in records]) for key in records[0]}
            )


if __name__ == "__main__":
    main()
