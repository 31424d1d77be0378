"""Patients as a model sees them: features, labels, and the patient of each record."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Patients:
    """Records as numbers, grouped by patient, for training and evaluation.

    Attributes:
        features: (records, inputs) float32.
        labels: (records,) float32, 1 for a positive label and 0 for a negative one.
        patient: (records,) int64, never falling: record i belongs to patient ``patient[i]`` in 0..patients-1.
        patients: the number of patients.
    """

    features: NDArray[np.float32] = field(repr=False)
    labels: NDArray[np.float32] = field(repr=False)
    patient: NDArray[np.int64] = field(repr=False)
    patients: int


def treat_records_as_patients(patients: Patients) -> Patients:
    """Return every record as a patient of its own, for studies that sample and clip records."""
    count = len(patients.labels)
    return Patients(patients.features, patients.labels, np.arange(count, dtype=np.int64), count)
