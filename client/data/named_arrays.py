"""Read a ``.npz`` file against a contract: its tensors, and everything that is wrong.

Files of a contract of kind ``arrays`` are such files; so are snapshots of every kind (``client/data/conversion/``).

Rules:

* the file holds one array for each tensor, (records, *shape), and one that tells each record's patient; other arrays in
  it are not looked at (``client/data/adapters/arrays.py``);
* numbers may be of any integer or float type, ids of any integer type, flags bool or integers 0 and 1. A patient is
  text or a whole number;
* a number that is not finite, an id outside its vocabulary and a flag that is neither 0 nor 1 are mistakes; a number
  beyond its range is clipped, and counted;
* every value is looked at, a few at a time; places are numbers of records, from 0, as ``array[record]`` has them.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.arrays import ArrayFile, StoredArray, read_arrays
from client.data.contents import Contents
from client.data.encoding import ColumnCounts
from client.data.examples import Array
from client.data.identifiers import is_usable, normalise
from client.data.lazy_array import LazyArray, Tensor
from client.data.mistakes import MAX_PLACES, Mistake, Place
from privacy.errors import DataError
from privacy.study.data.contract import DataContract
from privacy.study.data.tensors import Flags, Ids, Numbers

_BLOCK: Final = 1 << 20  # values looked at at a time
_MOST_COUNTED: Final = 1000  # ids or flags of one target that are counted each
_CORNER: Final = 0.02  # share of the range, at one end, that holds every number of an array in other units
_KINDS: Final = {"number": "iufb", "id": "iu", "flag": "biu"}
Values = StoredArray | NDArray[Any]
_EXPECTED: Final = {
    "number": "numbers (a float or integer type)",
    "id": "whole numbers of a vocabulary (an integer type)",
    "flag": "flags (bool, or integers 0 and 1)",
}


def read_arrays_contents(contract: DataContract, path: Path, *, with_targets: bool = True) -> Contents:
    """Read the ``.npz`` file ``path``, with the arrays of the targets or without.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it is no such file, or has none of the arrays.
    """
    targets = contract.list_targets() if with_targets else ()
    tensors = (*contract.list_inputs(), *targets)
    file = read_arrays(path, [contract.patient, *(tensor.name for tensor in tensors)])
    mistakes = list(file.mistakes)
    ids = _name_patients(contract, file, mistakes)
    records = _count_records(contract, file, tensors)
    if records == 0:
        raise DataError(f"{path}: has no records")
    lazy, counts, warnings = dict[str, Array](), list[ColumnCounts](), list[str]()
    for tensor in tensors:
        if tensor.name not in file.arrays or not _has_form(tensor, file.arrays[tensor.name], records, mistakes):
            continue
        values = file.arrays[tensor.name]
        scanned = _scan(tensor, values, is_target=tensor in targets)
        mistakes += scanned.list_mistakes()
        warnings += scanned.list_warnings()
        counts.append(scanned.count())
        lazy[tensor.name] = LazyArray(values, tensor)
    names = {tensor.name for tensor in targets}
    return Contents(
        ids=ids,
        inputs={name: array for name, array in lazy.items() if name not in names},
        targets={name: array for name, array in lazy.items() if name in names},
        counts=tuple(counts),
        target_counts=(),
        mistakes=tuple(mistakes),
        notes=tuple(_list_notes(file)),
        sha256=file.sha256,
        find_warnings=lambda: warnings,
    )


def _name_patients(contract: DataContract, file: ArrayFile, mistakes: list[Mistake]) -> list[str]:
    """Return the normal form of each record's patient, (records,); a record that names no patient is a mistake."""
    name = contract.patient
    if name not in file.arrays:
        return []
    values = file.arrays[name]
    if values.dtype.kind not in "USiu" or len(values.shape) != 1:
        sentence = (
            f"array '{name}': expected text or whole numbers, one for each record, got {values.dtype.name} of shape "
            f"{values.shape}"
        )
        mistakes.append(Mistake(sentence, name))
        return []
    stored = values[:]
    if stored.dtype.kind == "U" and (stored.view(f"{stored.dtype.byteorder}u4") > sys.maxunicode).any():
        mistakes.append(Mistake(f"array '{name}': is no text: it holds what is no character", name))
        return []
    words = [_read_word(each) for each in stored.tolist()]
    ids = [normalise(word) if word else "" for word in words]
    for what, wrong in (
        ("without a patient", [row for row, each in enumerate(ids) if not each]),
        ("have a character in the patient that is none of a text", [
            row for row, each in enumerate(ids) if each and not is_usable(each)
        ]),
    ):  # fmt: skip
        if wrong:
            places = tuple(Place(row, words[row]) for row in wrong[:MAX_PLACES])
            mistakes.append(Mistake(f"array '{name}': {len(wrong)} records {what}", name, places, unit="record"))
    return ids


def _read_word(value: Any) -> str:
    """Return an identifier as text; a byte that is no UTF-8 becomes a surrogate, which names no patient."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _count_records(contract: DataContract, file: ArrayFile, tensors: tuple[Tensor, ...]) -> int | None:
    """Return the number of records: that of the patients, else that of the first array; None if there is none."""
    lengths = [
        len(file.arrays[name])
        for name in (contract.patient, *(tensor.name for tensor in tensors))
        if name in file.arrays and file.arrays[name].shape
    ]
    return lengths[0] if lengths else None


def _has_form(tensor: Tensor, values: Values, records: int | None, mistakes: list[Mistake]) -> bool:
    """Return whether an array has type and shape of the tensor; add a mistake if not."""
    wrong = list[str]()
    if values.dtype.kind not in _KINDS[tensor.type]:
        wrong.append(f"expected {_EXPECTED[tensor.type]}, got {values.dtype.name}")
    if values.shape != (records, *tensor.shape):
        rest = "".join(f", {length}" for length in tensor.shape) or ","
        wrong.append(f"expected the shape (records{rest}) with {records} records, got {values.shape}")
    mistakes += [Mistake(f"array '{tensor.name}': {each}", tensor.name) for each in wrong]
    return not wrong


def _list_notes(file: ArrayFile) -> Iterator[str]:
    for name, reason in file.loaded.items():
        if name in file.arrays:
            size = math.prod(file.arrays[name].shape) * file.arrays[name].dtype.itemsize
            yield (
                f"array '{name}' is {reason}: it takes {size / (1 << 20):.3g} MiB of memory; in C order and saved with "
                "numpy.savez it would be read in parts"
            )


@dataclass(eq=False)
class _Scan:
    """What the values of an array are, gathered block by block.

    Attributes:
        wrong: (records,) whether the record has a value that is a mistake.
        places: the first wrong value of the first few such records.
        occurring: (ids,) how often each id of a target occurs; empty if they are not counted.
        varying: for flags of a target, how many of a record's are the same everywhere, and of how many.
    """

    tensor: Tensor
    is_target: bool
    size: int
    wrong: NDArray[np.bool_]
    places: dict[int, str] = field(default_factory=dict)
    mistaken: int = 0
    below: int = 0
    above: int = 0
    lowest: float = math.inf
    highest: float = -math.inf
    occurring: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    same: int = 0
    positions: int = 0

    @property
    def constant(self) -> bool:
        return self.lowest == self.highest

    def count(self) -> ColumnCounts:
        low, high = (self.lowest, self.highest) if self.lowest <= self.highest else (None, None)
        return ColumnCounts(self.tensor.name, self.size, 0, self.below, self.above, self.constant, low, high)

    def list_mistakes(self) -> Iterator[Mistake]:
        if not self.mistaken:
            return
        match self.tensor:
            case Numbers():
                what = "are no finite number; write a number, and tell missing values by a tensor of flags"
            case Ids(values=values):
                from_1 = self.highest == values and self.lowest >= 1
                what = f"are outside the vocabulary, 0 to {values - 1}" + (
                    "; are they numbered from 1?" if from_1 else ""
                )
            case Flags():
                what = "are neither 0 nor 1"
        sentence = f"array '{self.tensor.name}': {self.mistaken} values in {int(self.wrong.sum())} records {what}"
        places = tuple(Place(record, word) for record, word in sorted(self.places.items()))
        yield Mistake(sentence, self.tensor.name, places, unit="record")

    def list_warnings(self) -> Iterator[str]:
        name, clipped = self.tensor.name, self.below + self.above
        if isinstance(self.tensor, Numbers) and self.lowest <= self.highest:
            width = self.tensor.high - self.tensor.low
            if clipped:
                yield f"array '{name}': {clipped} of {self.size} numbers beyond the range, clipped"
            elif not self.constant and (
                self.highest <= self.tensor.low + _CORNER * width
                or self.lowest >= self.tensor.high - _CORNER * width
            ):
                yield (
                    f"array '{name}': all {self.size} numbers lie within {_CORNER:.0%} of the range "
                    f"{self.tensor.low:g} to {self.tensor.high:g}: other units?"
                )
        if self.is_target and self.constant and not self.mistaken:
            yield f"array '{name}': the target is the same in all {len(self.wrong)} records: nothing can be learnt"
        elif len(self.occurring) and (nobody := int((self.occurring == 0).sum())):
            yield f"array '{name}': {nobody} of {len(self.occurring)} classes occur in no record"
        elif self.same:
            yield f"array '{name}': {self.same} of {self.positions} flags are the same in every record"


def _scan(tensor: Tensor, values: Values, *, is_target: bool) -> _Scan:
    """Look at every value of an array."""
    records, each = len(values), math.prod(tensor.shape)
    scan = _Scan(tensor, is_target, values.size, np.zeros(records, dtype=bool))
    if is_target and isinstance(tensor, Ids) and tensor.values <= _MOST_COUNTED:
        scan.occurring = np.zeros(tensor.values, dtype=np.int64)
    in_rows = isinstance(values, StoredArray) or values.flags.c_contiguous
    for start in range(0, values.size, _BLOCK):
        block = _read_values(values, start, start + _BLOCK)
        if block.dtype.kind == "b":
            block = block.view(np.uint8)  # the bytes of a file may be other than 0 and 1
        wrong = _look_at_block(scan, block)
        if wrong.size:
            places = wrong + start
            of = places // each if in_rows else places % records
            scan.mistaken += wrong.size
            scan.wrong[of] = True
            for record, first in zip(*np.unique(of, return_index=True), strict=True):
                if len(scan.places) >= MAX_PLACES:
                    break
                scan.places.setdefault(int(record), str(block[wrong[first]]))
    if is_target and isinstance(tensor, Flags) and 1 < each <= _MOST_COUNTED and not scan.mistaken:
        scan.positions, scan.same = each, _count_constant_flags(values, each)
    return scan


def _read_values(values: Values, start: int, stop: int) -> NDArray[Any]:
    """Return some of all values, in the order in which they lie in memory or in the file; (values,)."""
    if isinstance(values, StoredArray):
        return values.read_values(start, stop)
    in_order = values if values.flags.c_contiguous else values.T  # arrays of files are in C or Fortran order
    return in_order.reshape(-1)[start:stop]


def _look_at_block(scan: _Scan, block: NDArray[Any]) -> NDArray[np.int64]:
    """Add what is in ``block``, (values,), to ``scan``; return the places in it of mistakes."""
    tensor = scan.tensor
    if isinstance(tensor, Numbers):
        with np.errstate(over="ignore"):  # a number too large for 64 bits becomes infinite, and a mistake
            numbers = block.astype(np.float64)
        finite = np.isfinite(numbers)
        wrong = ~finite
        numbers = numbers[finite] if wrong.any() else numbers
        scan.below += int((numbers < tensor.low).sum())
        scan.above += int((numbers > tensor.high).sum())
    else:
        most = tensor.values if isinstance(tensor, Ids) else 2
        numbers = block
        wrong = (block < 0) | (block >= most)
        if len(scan.occurring):
            scan.occurring += np.bincount(block[~wrong].astype(np.int64), minlength=most)
    if numbers.size:
        scan.lowest = min(scan.lowest, float(numbers.min()))
        scan.highest = max(scan.highest, float(numbers.max()))
    return np.flatnonzero(wrong)


def _count_constant_flags(values: Values, each: int) -> int:
    """Count the flags of a record that are the same in all records."""
    yes, step = np.zeros(each, dtype=np.int64), max(1, _BLOCK // each)
    for start in range(0, len(values), step):
        yes += values[start : start + step].reshape(-1, each).sum(axis=0, dtype=np.int64)
    return int(((yes == 0) | (yes == len(values))).sum())
