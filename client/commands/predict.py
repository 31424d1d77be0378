"""``consilium-site predict``: apply a released model to a table or to arrays; only the release folder is needed."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from client.data.mistakes import Mistake
from client.data.plausibility import describe_probable_meaning, format_word
from client.prediction.release_contract import ReleaseContract, read_contract
from privacy.command_line import say
from privacy.errors import DataError, ReleaseError
from privacy.study import BinaryLabel, TableContract
from privacy.study.data.labels import ClassLabel, SeveralLabels

if TYPE_CHECKING:
    from client.prediction.predict import Predictions

_MOST_COLUMNS: Final = 1000  # of one output in a CSV file


@click.command()
@click.argument("folder", metavar="RELEASE", type=click.Path(path_type=Path))
@click.argument("path", metavar="DATA", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write to this new file, CSV or .npz by its name, not to stdout."
)
def predict(folder: Path, path: Path, out: Path | None) -> None:
    """Say what the released model in RELEASE predicts for each record of DATA.

    RELEASE is a study's release folder; no site is needed. DATA is a CSV file with the columns of the study, or a .npz
    file with its arrays, and needs no label. Writes CSV: the patient, what the model predicts, and the class at the
    model's threshold, if it has one. Predictions that are images or series are written as .npz. Research output, no
    medical advice.
    """
    contract = read_contract(folder)
    from client.prediction.predict import load_model
    from client.prediction.predict import predict as predicted

    found = predicted(contract, load_model(folder, contract), path)
    for mistake in found.mistakes:
        _report_mistake(contract, mistake)
    if found.mistakes:
        listed = "; ".join(mistake.sentence for mistake in found.mistakes)
        raise DataError(f"{path}: is no data that this model can be used on: {listed}")
    _report_counts(contract, found)
    if out is not None and out.suffix == ".npz":
        _write_new(out, lambda file: _write_arrays(file, found))
    else:
        text = _format_csv(contract, found)
        if out is None:
            click.echo(text, nl=False)
        else:
            _write_new(out, lambda file: file.write(text.encode("utf-8")))
    _report_limits(contract, len(found.patients))


def _report_counts(contract: ReleaseContract, found: Predictions) -> None:
    what = "column" if isinstance(contract.data, TableContract) else "array"
    for suspicion in found.suspicions:
        say(f"warning: {suspicion}")
    for count in found.counts:
        clipped = count.below + count.above
        if clipped or count.missing:
            say(f"{what} '{count.name}': {count.missing} of {count.rows} missing, {clipped} clipped to the range")


def _report_limits(contract: ReleaseContract, records: int) -> None:
    if contract.model.personal:
        say(f"the layers {', '.join(contract.model.personal)} have their first values: each site trained its own")
    weight = getattr(contract.task, "positive_weight", 1)
    if weight != 1:
        say(
            f"trained with a positive_weight of {weight:g}: its probabilities are scores, good for order and threshold "
            "only"
        )
    threshold = contract.threshold
    at = f"; class at the threshold {threshold.value:g} ({threshold.chosen})" if threshold is not None else ""
    say(
        f"{records} records of '{contract.study}'{at}. Research output: not a medical device, no advice about any "
        "patient"
    )


def _write_arrays(file: IO[bytes], found: Predictions) -> None:
    """Write a ``.npz`` file: the ``patient`` of each record, and what the task calls the outputs."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, values in {"patient": np.array(found.patients, dtype=np.str_), **found.outputs}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)


def _format_csv(contract: ReleaseContract, found: Predictions) -> str:
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


def _list_columns(
    contract: ReleaseContract, outputs: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the name and the words of each column."""
    for name, values in outputs.items():
        if values.ndim > 2 or (values.ndim == 2 and values.shape[1] > _MOST_COLUMNS):
            raise ReleaseError(
                f"the model gives '{name}' of shape {values.shape[1:]} for each record, which is no row of a table; "
                "name a file of arrays: --out FILE.npz"
            )
        if values.ndim == 2:
            for place, word in enumerate(_name_places(contract, values.shape[1])):
                yield f"{name} {word}", [f"{value:.6g}" for value in values[:, place].tolist()]
        elif name == "class":
            yield name, [_name_class(contract, int(value)) for value in values.tolist()]
        else:
            yield name, [f"{value:.6f}" for value in values.tolist()]
    if contract.threshold is not None and "class" not in outputs:
        (scores,) = outputs.values()
        yield "class", [_name_class(contract, int(score >= contract.threshold.value)) for score in scores.tolist()]


def _name_class(contract: ReleaseContract, place: int) -> str:
    """Return the first word of a class of a table's label; its number for other data."""
    match contract.data:
        case TableContract(label=BinaryLabel(positive=positive, negative=negative)):
            return (negative, positive)[place][0]
        case TableContract(label=ClassLabel(classes=classes)):
            return classes[place][0]
    return str(place)


def _name_places(contract: ReleaseContract, count: int) -> list[str]:
    """Name the values of a record: by the classes or labels of a table, or from 0 for other data."""
    match contract.data:
        case TableContract(label=ClassLabel(classes=classes)) if len(classes) == count:
            return [words[0] for words in classes]
        case TableContract(label=SeveralLabels(columns=columns)) if len(columns) == count:
            return [column.name for column in columns]
    return [str(place) for place in range(count)]


def _write_new(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    try:
        with path.open("xb") as file:
            write(file)
    except OSError as cause:
        raise ReleaseError(f"{path}: cannot be written: {cause.strerror}; name a new file") from None


def _report_mistake(contract: ReleaseContract, mistake: Mistake) -> None:
    say(f"mistake: {mistake.sentence}")
    for place in mistake.places:
        say(f"    {mistake.unit} {place.number}: {format_word(place.word)}")
    if isinstance(contract.data, TableContract) and mistake.column and mistake.words:
        say(f"    {describe_probable_meaning(contract.data, mistake.column, mistake.words)}")
