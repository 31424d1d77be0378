"""Write predictions: as CSV, a row for each record, or as the arrays of a ``.npz`` file.

In CSV the first column is the patient. A column for each class or label is named by its word in the contract, or by its
number. Predictions that are images or series are arrays only.
"""

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from client.prediction.columns import find_label
from client.prediction.release_contract import ReleaseContract
from privacy.errors import ReleaseError
from privacy.study import BinaryLabel
from privacy.study.data.labels import ClassLabel, SeveralLabels

if TYPE_CHECKING:
    from client.prediction.predict import Predictions

CALIBRATED: Final = "calibrated"
CERTIFIED: Final = ("certified class", "radius", "radius by differential privacy")
"""The columns of a certificate (``certify.py``)."""
_MOST_COLUMNS: Final = 1000  # of one output in a CSV file


def is_table(found: "Predictions") -> bool:
    """Return whether the predictions of a record fit into a row of a CSV file."""
    return all(_fits_into_row(values) for values in found.outputs.values())


def format_csv(contract: ReleaseContract, found: "Predictions") -> str:
    """Format the predictions as CSV, one row a record.

    Raises:
        ReleaseError: a record has more values than a row can have.
    """
    columns = dict(_list_columns(contract, found.outputs))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([contract.data.patient, *columns])
    writer.writerows(zip(found.patients, *columns.values(), strict=True))
    return out.getvalue()


def format_arrays(found: "Predictions") -> bytes:
    """Format the predictions as ``.npz``: the ``patient`` of each record, and what the task calls the outputs."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, values in {"patient": np.array(found.patients, dtype=np.str_), **found.outputs}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)
    return out.getvalue()


def name_class(contract: ReleaseContract, place: int) -> str:
    """Return the first word of a class of the contract's label; its number where it has no words."""
    match find_label(contract.data):
        case BinaryLabel(positive=positive, negative=negative):
            return (negative, positive)[place][0]
        case ClassLabel(classes=classes):
            return classes[place][0]
    return str(place)


def name_places(contract: ReleaseContract, count: int) -> list[str]:
    """Name the values of a record: by the classes or labels of the contract, or from 0 where it has no words."""
    match find_label(contract.data):
        case ClassLabel(classes=classes) if len(classes) == count:
            return [words[0] for words in classes]
        case SeveralLabels(columns=columns) if len(columns) == count:
            return [column.name for column in columns]
    return [str(place) for place in range(count)]


def _fits_into_row(values: NDArray[Any]) -> bool:
    return values.ndim == 1 or (values.ndim == 2 and values.shape[1] <= _MOST_COLUMNS)


def _list_columns(
    contract: ReleaseContract, outputs: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the name and the words of each column."""
    for name, values in outputs.items():
        if not _fits_into_row(values):
            raise ReleaseError(
                f"the model gives '{name}' of shape {values.shape[1:]} for each record, which is no row of a table; "
                "name a file of arrays: --out FILE.npz"
            )
        if values.ndim == 2:
            for place, word in enumerate(name_places(contract, values.shape[1])):
                yield f"{name} {word}", [f"{value:.6g}" for value in values[:, place].tolist()]
        elif name in ("class", CERTIFIED[0]):
            yield name, [name_class(contract, int(value)) for value in values.tolist()]
        else:
            yield name, [f"{value:.6f}" for value in values.tolist()]
    if contract.threshold is not None and "class" not in outputs:
        # of the released score, calibrated or not: the threshold is the study's
        (scores,) = (values for name, values in outputs.items() if name not in (CALIBRATED, *CERTIFIED))
        yield "class", [name_class(contract, int(score >= contract.threshold.value)) for score in scores.tolist()]
