"""Explain the records of one patient, or of all patients on average, from a file that keeps the release's contract.

The file is read as for predictions; it needs no label.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from client.data.contents import Contents
from client.data.examples import Array
from client.data.identifiers import normalise
from client.data.site_data import read_contents
from client.prediction.explanation.attributions import Explanation, explain_record
from client.prediction.explanation.explanation_file import Average
from client.prediction.explanation.letters import Chance, Method, explain_letters
from client.prediction.predict import read_batch, select_inputs
from client.prediction.release_contract import ReleaseContract
from privacy.errors import DataError

if TYPE_CHECKING:
    from torch import nn

_SAY_EVERY = 50  # patients


@dataclass(frozen=True)
class Asked:
    """What is asked of every record.

    Attributes:
        place: which class, label, cause or code; None for the one that is predicted, or the first one.
        method: of models of letters; None for the usual methods, one for each kind of input.
        chance: what ``max-entropy`` draws with.
    """

    place: int | None = None
    method: Method | None = None
    chance: Chance = field(default_factory=Chance)


@dataclass(frozen=True, eq=False)
class Explained:
    """The explanations of a patient's records: the number of each in the file, its inputs, and why."""

    records: tuple[int, ...]
    inputs: tuple[Mapping[str, torch.Tensor], ...]
    explanations: tuple[Explanation, ...]


def read_explained_data(contract: ReleaseContract, path: Path) -> Contents:
    """Read the file ``path`` without its labels; it may have mistakes.

    Raises:
        DataUnavailableError, DataError: as :func:`~client.data.site_data.read_contents`.
    """
    return read_contents(contract.data, path, with_targets=False)


def explain_patient(
    contract: ReleaseContract, module: "nn.Module", contents: Contents, patient: str, asked: Asked
) -> Explained:
    """Explain every record of ``patient``, whose identifier is compared in its normal form.

    Raises:
        DataError: the file has no such patient. The message does not repeat the identifier.
        ReleaseError: the model has no score to explain, or a package is missing.
    """
    wanted = normalise(patient)
    rows = [row for row, name in enumerate(contents.ids) if name == wanted]
    if not rows:
        raise DataError(
            "the file has no record of the patient that --patient names; compare the spelling with the file"
        )
    return _explain_rows(contract, module, select_inputs(contract, contents), rows, asked)


def explain_all(
    contract: ReleaseContract,
    module: "nn.Module",
    contents: Contents,
    asked: Asked,
    report_progress: Callable[[str], None],
) -> Average:
    """Explain every record, and average over patients.

    Raises:
        ReleaseError: as :func:`explain_patient`.
    """
    inputs, average = select_inputs(contract, contents), Average(contract)
    patients = list(_group(contents))
    for rows in patients:
        average.add(_explain_rows(contract, module, inputs, rows, asked).explanations)
        if average.patients % _SAY_EVERY == 0:
            report_progress(f"{average.patients} of {len(patients)} patients explained")
    return average


def _group(contents: Contents) -> Iterator[list[int]]:
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(contents.ids):
        rows.setdefault(name, []).append(row)
    yield from rows.values()


def _explain_rows(
    contract: ReleaseContract,
    module: "nn.Module",
    inputs: Mapping[str, Array],
    rows: list[int],
    asked: Asked,
) -> Explained:
    each = [read_batch(inputs, np.array([row], dtype=np.int64)) for row in rows]
    return Explained(tuple(rows), tuple(each), tuple(_explain(contract, module, one, asked) for one in each))


def _explain(
    contract: ReleaseContract, module: "nn.Module", inputs: Mapping[str, torch.Tensor], asked: Asked
) -> Explanation:
    if asked.method is None:
        return explain_record(contract, module, inputs, asked.place)
    return explain_letters(contract, module, inputs, asked.place, asked.method, asked.chance)
