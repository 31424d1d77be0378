"""Read a table against its contract: records as numbers, grouped by patient.

Rules:

* everything that is wrong is reported at once, by column and by count; never a value, never a patient;
* a patient is identified by one normal form (``client/data/identifiers.py``);
* patients and records keep the file's order; the first ``records_per_patient`` records of each patient are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.csv import read_words
from client.data.encoding import encode_features, encode_labels, name_patients
from client.data.examples import Patients
from client.data.objections import Objections
from privacy.errors import DataError
from privacy.study import DataContract


@dataclass(frozen=True, eq=False)
class Table:
    """A file that keeps its contract.

    Attributes:
        patients: its records as numbers.
        ids: the patients' identifiers, in the order of ``patients``; they stay at the site.
        clipped: numbers beyond their public range, for the site's own log.
        sha256: of the file's bytes, hexadecimal.
    """

    patients: Patients
    ids: tuple[str, ...] = field(repr=False)
    clipped: int
    sha256: str


def read_table(contract: DataContract, path: Path, objections: Objections | None = None) -> Table:
    """Read the CSV file ``path`` and check it against ``contract``; patients who object are left out.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it lacks columns or breaks the contract; every mistake is named by its column and the number of
            rows.
    """
    words = read_words(path, list_columns(contract))
    mistakes = list(words.mistakes)
    ids, labels = name_patients(contract, words, mistakes), encode_labels(contract, words, mistakes)
    encoded = encode_features(contract, words)
    mistakes += encoded.mistakes
    if mistakes:
        listed = "; ".join(mistake.sentence for mistake in mistakes)
        raise DataError(f"{path}: breaks the contract '{contract.name}': {listed}")
    kept, patient, names = group_records(ids, contract.records_per_patient, objections)
    patients = Patients(encoded.features[kept], labels[kept], patient, len(names))
    clipped = sum(count.below + count.above for count in encoded.counts)
    return Table(patients, names, clipped, words.sha256)


def list_columns(contract: DataContract) -> list[str]:
    """List the columns that training needs: patient, label, features."""
    return [contract.patient, contract.label.name, *(feature.name for feature in contract.features)]


def group_records(
    ids: Sequence[str], limit: int, objections: Objections | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """Group rows by patient: return the rows to keep, the patient of each, and the names by first appearance."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(ids):
        rows.setdefault(name, []).append(row)
    if objections is not None:
        rows = {name: own for name, own in rows.items() if not objections.includes(name)}
        if not rows:
            return np.empty(0, np.int64), np.empty(0, np.int64), ()
    kept = [own[:limit] for own in rows.values()]
    patient = np.repeat(np.arange(len(kept), dtype=np.int64), [len(own) for own in kept])  # (records,)
    return np.concatenate([np.array(own, dtype=np.int64) for own in kept]), patient, tuple(rows)
