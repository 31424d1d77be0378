"""Turn the public table of diabetic patients into bags of codes for ``deep_patient.yaml`` and ``dbn.yaml``.

    python examples/records/prepare_diabetes130_codes.py FOLDER OUT

FOLDER has ``diabetic_data.csv``, the hospital encounters of patients with diabetes as UCI publishes them, or
``encounters.csv.gz``, the same with ``patient`` and ``visit`` in place of ``patient_nbr`` and ``encounter_id``.
OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

=============  =================  ========================================================================
array          shape              content
=============  =================  ========================================================================
``features``   (records, 198)     0 or 1: see :func:`list_features`
``label``      (records,)         1 if the patient was in hospital again within 30 days
``diseases``   (records, 14)      1 if the next visit has a diagnosis of the group: see ``DISEASES``
``patient``    (records,)         a record is a visit; the patient is the unit that privacy protects
=============  =================  ========================================================================

Rules:

* the last visit of a patient has no record: what came after it is not known. Every other visit was followed by
  one, so only *how soon* it was, and for what, can be predicted. How soon is hard: logistic regression without
  privacy reaches an AUROC of 0.56. So the studies predict ``diseases``, with 0.73 on average;
* diagnoses are those of this visit and of all before it, in public groups: the first two characters of an ICD-9
  code (``42`` holds 420 to 429). Everything else is of this visit;
* the file names no hospital. Patients are dealt to the sites in turn, and every fifth one of a site is a test
  patient.

Source: Strack et al. 2014, Impact of HbA1c measurement on hospital readmission rates, BioMed Research
International.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

Bits = np.ndarray[tuple[int, int], np.dtype[np.uint8]]

SITES: Final = 3
TEST_EVERY: Final = 5  # one test patient in so many

GROUPS: Final = tuple(
    [f"{number:02}" for number in range(100)] + [f"V{number}" for number in range(10)] + ["E8", "E9"]
)
DISEASES: Final = {
    "25": "diabetes", "27": "disorders of metabolism and fluids", "28": "blood", "40": "high blood pressure",
    "41": "ischaemic heart disease", "42": "heart failure and rhythm", "43": "stroke", "44": "arteries",
    "48": "pneumonia", "49": "chronic lung disease", "58": "kidney", "59": "urinary tract", "68": "skin infection",
    "78": "symptoms",
}  # fmt: skip
DRUGS: Final = (
    "metformin", "repaglinide", "nateglinide", "chlorpropamide", "glimepiride", "glipizide", "glyburide", "tolbutamide",
    "pioglitazone", "rosiglitazone", "acarbose", "miglitol", "troglitazone", "tolazamide", "insulin",
    "glyburide-metformin", "glipizide-metformin", "glimepiride-pioglitazone",
)  # fmt: skip
WORDS: Final = {
    "gender": ("Female", "Male"),
    "race": ("Caucasian", "AfricanAmerican", "Hispanic", "Asian", "Other"),
    "age": tuple(f"[{low}-{low + 10})" for low in range(0, 100, 10)),
    "A1Cresult": ("Norm", ">7", ">8"),
    "max_glu_serum": ("Norm", ">200", ">300"),
    "change": ("Ch",),
    "admission_type_id": ("1", "2", "3"),  # emergency, urgent, elective
    "discharge_disposition_id": ("1", "3", "6"),  # home, nursing facility, home with care
}
AT_LEAST: Final = {
    "time_in_hospital": (3, 5, 8),
    "num_lab_procedures": (30, 50, 70),
    "num_procedures": (1, 3),
    "num_medications": (10, 20, 30),
    "number_outpatient": (1, 3),
    "number_emergency": (1, 2),
    "number_inpatient": (1, 2, 3),
    "number_diagnoses": (5, 9),
}


def list_features() -> list[str]:
    """List what each column of ``features`` says, in order."""
    return [
        *(f"diagnosis {group}" for group in GROUPS),
        *(f"{drug} given" for drug in DRUGS),
        *(f"{drug} changed" for drug in DRUGS),
        *(f"{column} {word}" for column, words in WORDS.items() for word in words),
        *(f"{column} >= {least}" for column, limits in AT_LEAST.items() for least in limits),
    ]


def find_group(code: str) -> int | None:
    """Find the group of an ICD-9 code, whose leading zeros the file leaves out; None for no code."""
    if not code or code == "?":
        return None
    whole = code.split(".")[0]
    return GROUPS.index((whole if whole[0] in "VE" else whole.zfill(3))[:2])


def find_diagnoses(visits: pd.DataFrame) -> Bits:
    """Find the groups of the diagnoses of each visit; (visits, groups)."""
    diagnoses = np.zeros((len(visits), len(GROUPS)), dtype=np.uint8)
    for column in ("diag_1", "diag_2", "diag_3"):
        groups = visits[column].map(find_group)
        rows = np.flatnonzero(groups.notna())
        diagnoses[rows, groups.iloc[rows].astype(int)] = 1
    return diagnoses


def make_features(visits: pd.DataFrame, diagnoses: Bits) -> Bits:
    """Make the bags of codes; ``visits`` are in order, patient after patient. (visits, features)."""
    so_far, patient = diagnoses.copy(), visits["patient"].to_numpy()
    for row in range(1, len(visits)):  # what was known before is still known
        if patient[row] == patient[row - 1]:
            so_far[row] |= so_far[row - 1]
    parts = [so_far]
    parts += [visits[[drug]].ne("No").to_numpy() for drug in DRUGS]
    parts += [visits[[drug]].isin(["Up", "Down"]).to_numpy() for drug in DRUGS]
    parts += [visits[[column]].eq(word).to_numpy() for column, words in WORDS.items() for word in words]
    parts += [
        visits[[column]].astype(int).ge(least).to_numpy() for column, limits in AT_LEAST.items() for least in limits
    ]
    return np.concatenate(parts, axis=1).astype(np.uint8)


def read_visits(source: Path) -> pd.DataFrame:
    """Read the encounters, whichever of the two files there is; patient after patient, each in order."""
    names = {"patient_nbr": "patient", "encounter_id": "visit"}
    path = source / "diabetic_data.csv"
    path = path if path.exists() else source / "encounters.csv.gz"
    visits = pd.read_csv(path, dtype=str, keep_default_na=False).rename(columns=names)
    return visits.astype({"patient": int, "visit": int}).sort_values(["patient", "visit"], ignore_index=True)


def prepare(source: Path, target: Path) -> None:
    """Read the encounters in ``source`` and write the files of all sites under ``target``."""
    visits = read_visits(source)
    diagnoses = find_diagnoses(visits)
    features = make_features(visits, diagnoses)
    diseases = np.roll(diagnoses, -1, axis=0)[:, [GROUPS.index(group) for group in DISEASES]]  # of the next visit
    patient = visits["patient"].to_numpy()
    followed = np.append(patient[:-1] == patient[1:], False)  # (visits,) whether another visit follows
    label = visits["readmitted"].eq("<30").to_numpy().astype(np.uint8)
    held_out = patient // SITES % TEST_EVERY == 0
    for site in range(SITES):
        folder = target / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        here = followed & (patient % SITES == site)
        for name, rows in (("train", here & ~held_out), ("test", here & held_out)):
            ids = np.array([f"patient-{number}" for number in patient[rows]])
            arrays = {"features": features[rows], "label": label[rows], "diseases": diseases[rows], "patient": ids}
            np.savez(folder / f"{name}.npz", **arrays)
            patients = len(np.unique(ids))
            sys.stdout.write(
                f"{folder / name}.npz: {patients} patients, {rows.sum()} visits, {label[rows].mean():.3f} yes\n"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn the public table of diabetic patients into bags of codes.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with diabetic_data.csv, or encounters.csv.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
