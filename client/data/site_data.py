"""Read a site's file against its contract, whatever kind: records as tensors, grouped by patient.

Rules:

* the contract's kind decides how the file is read, here and nowhere else: a table is a CSV file, everything else a
  ``.npz`` file, and so is a snapshot of a table (``client/data/conversion/``);
* everything that is wrong is reported at once, by column or array and by count; never a value, never a patient;
* a patient is identified by one normal form (``client/data/identifiers.py``);
* patients and records keep the file's order; the first ``records_per_patient`` records of each patient are kept;
* small arrays are read into memory, ``MAX_LOADED`` bytes in all; of larger ones the records are read when they are
  used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from client.data.contents import Contents
from client.data.examples import Array, Patients
from client.data.lazy_array import LazyArray
from client.data.named_arrays import read_arrays_contents
from client.data.objections import Objections
from client.data.table import read_table_contents
from privacy.errors import DataError
from privacy.study import AnyContract, TableContract

MAX_LOADED: Final = 256 << 20


@dataclass(frozen=True, eq=False)
class SiteData:
    """A file that keeps its contract.

    Attributes:
        patients: its records as tensors.
        ids: the patients' identifiers, in the order of ``patients``; they stay at the site.
        clipped: numbers beyond their public range, for the site's own log.
        sha256: of the file's bytes, hexadecimal.
    """

    patients: Patients
    ids: tuple[str, ...] = field(repr=False)
    clipped: int
    sha256: str


class LeftOut(Protocol):
    """Says which patients are left out, such as those who object."""

    def includes(self, patient: str) -> bool:
        """Return whether ``patient`` is left out."""
        ...


def read_data(contract: AnyContract, path: Path, objections: Objections | None = None) -> SiteData:
    """Read the file ``path`` and check it against ``contract``; patients who object are left out.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it is not such a file or breaks the contract; every mistake is named by its column or array and a
            count.
    """
    contents = read_contents(contract, path)
    if contents.mistakes:
        listed = "; ".join(mistake.sentence for mistake in contents.mistakes)
        raise DataError(f"{path}: breaks the contract '{contract.name}': {listed}")
    kept, patient, names = group_records(contents.ids, contract.records_per_patient, objections)
    inputs, targets = _select_records(contents.inputs, kept), _select_records(contents.targets, kept)
    _load_small(inputs, targets)
    patients = Patients(inputs, targets, patient, len(names))
    return SiteData(patients, names, contents.clipped, contents.sha256)


def read_contents(contract: AnyContract, path: Path, *, with_targets: bool = True) -> Contents:
    """Read the file ``path`` record by record, with the tensors that tasks predict or without; find its mistakes.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it is not such a file, or has nothing of what the contract asks for.
    """
    if isinstance(contract, TableContract) and path.suffix != ".npz":
        return read_table_contents(contract, path, with_targets=with_targets)
    return read_arrays_contents(contract, path, with_targets=with_targets)


def group_records(
    ids: Sequence[str], limit: int, left_out: LeftOut | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """Group records by patient: return those to keep, the patient of each, and the names by first appearance."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(ids):
        rows.setdefault(name, []).append(row)
    if left_out is not None:
        rows = {name: own for name, own in rows.items() if not left_out.includes(name)}
    if not rows:
        return np.empty(0, np.int64), np.empty(0, np.int64), ()
    kept = [own[:limit] for own in rows.values()]
    patient = np.repeat(np.arange(len(kept), dtype=np.int64), [len(own) for own in kept])  # (records,)
    return np.concatenate([np.array(own, dtype=np.int64) for own in kept]), patient, tuple(rows)


def _select_records(arrays: Mapping[str, Array], kept: NDArray[np.int64]) -> dict[str, Array]:
    """Return the records ``kept``; of what is read from its file in parts, nothing is read."""
    return {
        name: array.select(kept) if isinstance(array, LazyArray) else array[kept] for name, array in arrays.items()
    }


def _load_small(*groups: dict[str, Array]) -> None:
    """Replace the arrays that are read in parts by arrays in memory, the smallest first, as long as there is room."""
    lazy = [
        (array, group, name) for group in groups for name, array in group.items() if isinstance(array, LazyArray)
    ]
    room = MAX_LOADED
    for array, group, name in sorted(lazy, key=lambda each: each[0].nbytes):
        room -= array.nbytes
        if room < 0:
            break
        group[name] = array.load()
