"""Predict with a released model: what it says of every record, without a site, a label or a budget.

Rules:

* the release folder is all that is needed. Its contract says what the data must be; its model file must be the one
  that the contract names;
* a record becomes numbers exactly as in training; every record of the file gets one prediction, in the file's order;
* what is predicted is research output. The model was trained on other patients than those of this file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load

from client.data.encoding import ColumnCounts
from client.data.examples import Array
from client.data.mistakes import Mistake
from client.data.site_data import read_contents
from client.prediction.release_contract import ReleaseContract
from models.errors import ModelError
from models.fit import build_module, set_objective
from models.outputs import read_outputs
from models.tasks.registry import make_task
from privacy.canonical import compute_sha256
from privacy.errors import ReleaseError
from privacy.study import Model
from privacy.study.stage import TASK_OBJECTIVE

if TYPE_CHECKING:
    from torch import nn

_BATCH: Final = 8192  # records at a time, at most
_BATCH_VALUES: Final = 1 << 22  # input values of these


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the model says of the records of a file.

    Attributes:
        patients: each record's patient, in normal form; (records,).
        outputs: by what the task calls them, (records, ...) each: float64, or float32 of more than two axes.
        counts: of every feature's column, or of every array.
        suspicions: what in the file is probably not meant.
        mistakes: what breaks the contract; then there are no predictions.
    """

    patients: tuple[str, ...] = field(repr=False)
    outputs: Mapping[str, NDArray[Any]] = field(repr=False)
    counts: tuple[ColumnCounts, ...]
    suspicions: tuple[str, ...]
    mistakes: tuple[Mistake, ...]


def load_model(folder: Path, contract: ReleaseContract) -> nn.Module:
    """Build the released model of ``folder``.

    Raises:
        ReleaseError: its file is missing, is another one, or does not fit the model.
    """
    path = folder / contract.model.file
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise ReleaseError(f"{path}: cannot be read: {cause.strerror}") from None
    if (found := compute_sha256(data)) != contract.model.sha256:
        raise ReleaseError(f"{path}: expected the file of SHA-256 {contract.model.sha256}, got {found}")
    model = contract.model
    try:
        terms = Model(name=model.name, options=model.options, inputs=model.inputs)
        module = build_module(terms, contract.data, contract.task)
        module.load_state_dict(load(data))
    except (ModelError, SafetensorError, RuntimeError) as cause:
        first = str(cause).splitlines()[0]
        raise ReleaseError(f"{path}: not the weights of a '{contract.model.name}': {first}") from None
    set_objective(module, TASK_OBJECTIVE)
    return module.eval()


def predict(contract: ReleaseContract, module: nn.Module, path: Path) -> Predictions:
    """Predict every record of the file ``path``, which is what the contract's kind of data is: CSV, or ``.npz``.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it has nothing of what the contract asks for.
        ReleaseError: the model does not give a number for every record.
    """
    contents = read_contents(contract.data, path, with_targets=False)
    suspicions = tuple(contents.find_warnings())
    if contents.mistakes:
        return Predictions((), {}, contents.counts, suspicions, contents.mistakes)
    inputs = {name: contents.inputs[tensor] for name, tensor in contract.model.inputs.items()}
    outputs = _compute_outputs(contract, module, inputs, len(contents.ids))
    unusable = np.zeros(len(contents.ids), dtype=bool)
    for values in outputs.values():
        unusable |= ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if unusable.any():
        raise ReleaseError(
            f"the model gives no number for {int(unusable.sum())} records; its training has diverged"
        )
    return Predictions(tuple(contents.ids), outputs, contents.counts, suspicions, ())


def _compute_outputs(
    contract: ReleaseContract, module: nn.Module, inputs: Mapping[str, Array], records: int
) -> dict[str, NDArray[Any]]:
    """Compute what the task calls the model's outputs, a few records at a time."""
    task = make_task(contract.task, contract.data)
    each = sum(math.prod(array.shape[1:]) for array in inputs.values())
    step = max(1, min(_BATCH, _BATCH_VALUES // max(1, each)))
    parts = list[Mapping[str, NDArray[Any]]]()
    with torch.no_grad():
        for start in range(0, records, step):
            batch = {
                name: torch.from_numpy(np.ascontiguousarray(array[start : start + step]))
                for name, array in inputs.items()
            }
            said = task.describe_outputs(read_outputs(module(batch)))
            parts.append({name: _shrink(values) for name, values in said.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _shrink(values: NDArray[np.float64]) -> NDArray[Any]:
    """Keep a volume in half the memory; a number of a table as it is."""
    return values.astype(np.float32) if values.ndim > 2 else values
