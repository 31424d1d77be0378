"""Show explanations: as rows, as arrays, and what the model looks at on average over patients.

Rules:

* numbers and indicators of one column of a table are one row: the column, what the record has there, their sum;
* of other data a row is a place: the numbers of its axes, from 0. Flags and ids that are not there have no row;
* the average is over patients, of the mean over a patient's records: of the size of each attribution, and of it with
  its sign. It says what the model uses in these patients, not what matters in medicine.
"""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from client.prediction.columns import FEATURES, describe_value, list_columns
from client.prediction.explanation.attributions import Explanation, Values
from client.prediction.explanation.letters import BASES, Motif
from client.prediction.release_contract import ReleaseContract
from models.catalogue import find_model

HEADINGS: Final = ("record", "input", "place", "value", "attribution", "method")
MOTIF_HEADINGS: Final = ("place", "letter", "share")
SUMMARY_HEADINGS: Final = ("input", "place", "mean size", "mean", "method")
ATTENTION: Final = "attention"
MEASURE: Final = "measure"


class Row(NamedTuple):
    """What one input adds to the score of one record."""

    record: int
    input: str
    place: str
    value: str
    attribution: float
    method: str


class SummaryRow(NamedTuple):
    """What one input adds on average over patients."""

    input: str
    place: str
    mean_size: float
    mean: float
    method: str


def list_rows(
    contract: ReleaseContract, record: int, inputs: Mapping[str, torch.Tensor], explanation: Explanation
) -> list[Row]:
    """List what every input adds to a record's score, the largest first, what the model attends to, and measures."""
    rows = list[Row]()
    types = {each.name: each.type for each in find_model(contract.model.name).inputs}
    for name, values in explanation.attributions.items():
        method, found = explanation.methods[name], inputs[name][0].numpy()
        if is_of_columns(contract, name):
            rows += [Row(record, *column, method) for column in _read_columns(contract, found, values)]
            continue
        for place in np.ndindex(values.shape):
            if types[name] == "number" or found[place]:
                word = f"{found[place]:g}" if types[name] == "number" else str(int(found[place]))
                rows.append(Row(record, name, _name_place(place), word, float(values[place]), method))
    rows.sort(key=lambda row: -abs(row.attribution))
    attended = [
        Row(record, name, _name_place(place), "", float(weights[place]), ATTENTION)
        for name, weights in explanation.attention.items()
        for place in np.ndindex(weights.shape)
        if weights[place]
    ]
    measured = [
        Row(record, name, _name_place(place), "", float(values[place]), MEASURE)
        for name, values in explanation.measures.items()
        for place in np.ndindex(values.shape)
    ]
    return [*rows, *sorted(attended, key=lambda row: (row.input, -row.attribution)), *measured]


def format_rows(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format rows as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows([_format(cell) for cell in row] for row in rows)
    return out.getvalue()


def list_motif(motif: Motif) -> list[tuple[int, str, float]]:
    """List the share of every letter of a motif, place after place: the place, the letter, its share."""
    return [
        (place, base, float(motif.shares[row, place]))
        for place in range(motif.shares.shape[1])
        for row, base in enumerate(BASES)
    ]


def format_explanation_arrays(explanations: Sequence[Explanation]) -> bytes:
    """Format explanations of records as ``.npz``: an array of attributions or attention each, records first."""
    arrays: dict[str, NDArray[Any]] = {"value": np.array([each.value for each in explanations])}
    for name in explanations[0].attributions:
        arrays[name] = np.stack([each.attributions[name] for each in explanations])
    for name in explanations[0].attention:
        arrays[f"{ATTENTION}_{name}"] = np.stack([each.attention[name] for each in explanations])
    for name in explanations[0].measures:
        arrays[f"{MEASURE}_{name}"] = np.stack([each.measures[name] for each in explanations])
    return _format_arrays(arrays)


def format_motif_array(motif: Motif) -> bytes:
    """Format a motif as ``.npz``: the array ``share``, (4, length)."""
    return _format_arrays({"share": motif.shares})


def _format_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)
    return out.getvalue()


class Average:
    """The mean explanation over patients, of whom only sums are kept."""

    def __init__(self, contract: ReleaseContract) -> None:
        self._contract = contract
        self._sizes: dict[tuple[str, str], Values] = {}
        self._sums: dict[tuple[str, str], Values] = {}
        self.patients = 0

    def add(self, explanations: Sequence[Explanation]) -> None:
        """Add the explanations of a patient's records."""
        self.patients += 1
        for explanation in explanations:
            share = 1 / len(explanations)
            for key, values in self._gather(explanation):
                self._sums[key] = self._sums.get(key, 0) + share * values
                self._sizes[key] = self._sizes.get(key, 0) + share * np.abs(values)

    def list_rows(self) -> list[SummaryRow]:
        """List what the model uses, the largest first, then what it attends to."""
        rows = [
            SummaryRow(*self._name(key, place), float(sizes[place]) / self.patients, self._mean(key, place), key[1])
            for key, sizes in self._sizes.items()
            for place in np.ndindex(sizes.shape)
        ]
        return sorted(rows, key=lambda row: (row.method == ATTENTION, -row.mean_size))

    def _mean(self, key: tuple[str, str], place: tuple[int, ...]) -> float:
        return float(self._sums[key][place]) / self.patients

    def _gather(self, explanation: Explanation) -> Iterator[tuple[tuple[str, str], Values]]:
        for name, values in explanation.attributions.items():
            whole = sum_columns(self._contract, values) if is_of_columns(self._contract, name) else values
            yield (name, explanation.methods[name]), whole
        for name, weights in explanation.attention.items():
            yield (name, ATTENTION), weights

    def _name(self, key: tuple[str, str], place: tuple[int, ...]) -> tuple[str, str]:
        if key[1] != ATTENTION and is_of_columns(self._contract, key[0]):
            return list_columns(self._contract.data)[place[0]].feature.name, ""
        return key[0], _name_place(place)


def is_of_columns(contract: ReleaseContract, name: str) -> bool:
    """Return whether an input of the model is the numbers of the contract's columns."""
    return contract.model.inputs.get(name) == FEATURES and bool(list_columns(contract.data))


def sum_columns(contract: ReleaseContract, values: Values) -> Values:
    """Sum what the numbers of each column add; (width,) -> (columns,)."""
    starts = [column.numbers.start for column in list_columns(contract.data)]
    sums: Values = np.add.reduceat(values, starts)
    return sums


def _read_columns(
    contract: ReleaseContract, features: NDArray[Any], values: Values
) -> Iterator[tuple[str, str, str, float]]:
    """Yield each column, no place, what the record has there, and what it adds."""
    columns = list_columns(contract.data)
    for column, added in zip(columns, sum_columns(contract, values).tolist(), strict=True):
        yield column.feature.name, "", describe_value(contract.data, column, features), added


def _name_place(place: tuple[int, ...]) -> str:
    return " ".join(str(each) for each in place)


def _format(cell: object) -> str:
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)
