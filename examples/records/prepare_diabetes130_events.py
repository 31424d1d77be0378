"""Turn the public table of diabetic patients into care events, for ``care_events.yaml``.

    python examples/records/prepare_diabetes130_events.py FOLDER OUT

FOLDER is as for ``prepare_diabetes130_codes.py``. OUT gets ``site-1`` to ``site-3``, each with ``train.npz`` and
``test.npz``:

=============  =====================  ==================================================================================
array          shape                  content
=============  =====================  ==================================================================================
``values``     (patients, 6, 198)     an event is a visit: its own diagnoses, drugs, procedures and limits, each 0 or 1
``present``    (patients, 6)          which events there are: the first ones
``label``      (patients,)            1 if the visit after them has a diagnosis of heart failure or rhythm (ICD-9 42x)
``patient``    (patients,)            the patient
=============  =====================  ==================================================================================

Rules:

* a patient is one record: the last visit gives the label, and the six before it, or fewer, are the events;
* numbers are those of ``prepare_diabetes130_codes.py``, but diagnoses are of the visit alone;
* the file names no hospital. Patients are dealt to the sites in turn, and every fifth one of a site is a test patient.
"""

import argparse
from pathlib import Path
from typing import Final

import numpy as np
from prepare_diabetes130_codes import (
    GROUPS,
    SITES,
    TEST_EVERY,
    Bits,
    find_diagnoses,
    list_features,
    make_features,
    read_visits,
)

EVENTS: Final = 6
OUTCOME: Final = "42"  # the group of the codes 420 to 429


def make_records(patient: np.ndarray, features: Bits, outcome: np.ndarray) -> dict[str, np.ndarray]:
    """Make the records of patients, whose visits are in order, patient after patient.

    Args:
        patient: of each visit; (visits,).
        features: of each visit; (visits, numbers).
        outcome: whether a visit has it; (visits,).
    """
    starts = np.flatnonzero(np.append(True, patient[1:] != patient[:-1]))
    ends = np.append(starts[1:], len(patient))
    values = np.zeros((len(starts), EVENTS, features.shape[1]), dtype=np.uint8)
    present = np.zeros((len(starts), EVENTS), dtype=bool)
    for record, (start, end) in enumerate(zip(starts, ends, strict=True)):
        events = features[max(start, end - 1 - EVENTS) : end - 1]
        values[record, : len(events)] = events
        present[record, : len(events)] = True
    ids = np.array([f"patient-{number}" for number in patient[starts]])
    return {"values": values, "present": present, "label": outcome[ends - 1].astype(np.uint8), "patient": ids}


def prepare(source: Path, target: Path) -> None:
    """Read the encounters in ``source`` and write the files of all sites under ``target``."""
    visits = read_visits(source)
    diagnoses = find_diagnoses(visits)
    rest = make_features(visits, diagnoses)[:, len(GROUPS) :]
    features = np.concatenate([diagnoses, rest], axis=1)
    assert features.shape[1] == len(list_features())
    patient = visits["patient"].to_numpy()
    held_out = patient // SITES % TEST_EVERY == 0
    for site in range(SITES):
        folder = target / f"site-{site + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        here = patient % SITES == site
        for name, rows in (("train", here & ~held_out), ("test", here & held_out)):
            records = make_records(patient[rows], features[rows], diagnoses[rows, GROUPS.index(OUTCOME)])
            np.savez(folder / f"{name}.npz", **records)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn the public table of diabetic patients into care events.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with diabetic_data.csv, or encounters.csv.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
