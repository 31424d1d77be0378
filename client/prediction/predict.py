"""Predict with a released model: what it says of every record, without a site, a label or a budget.

Rules:

* the release folder is all that is needed. Its contract says what the data must be; its model file must be the one
  that the contract names;
* a record becomes numbers exactly as in training; every record of the file gets one prediction, in the file's order;
* a label is read where it is asked for, to judge or to calibrate the predictions, and for nothing else;
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

from client.data.contents import Contents
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
        sha256: of the file's bytes, hexadecimal.
        raw: the model's outputs before the task describes them, (records, ...); empty if they were not asked for.
        targets: what the task predicts, as models see it, (records, ...) each; likewise.
    """

    patients: tuple[str, ...] = field(repr=False)
    outputs: Mapping[str, NDArray[Any]] = field(repr=False)
    counts: tuple[ColumnCounts, ...]
    suspicions: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    sha256: str
    raw: torch.Tensor = field(repr=False)
    targets: Mapping[str, NDArray[Any]] = field(repr=False)


def load_model(folder: Path, contract: ReleaseContract) -> nn.Module:
    """Build the released model of ``folder``.

    Raises:
        ReleaseError: its file is missing, is another one, or does not fit the model; or this program has the model in
            another version.
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
        terms = Model(name=model.name, version=model.version, options=model.options, inputs=model.inputs)
        module = build_module(terms, contract.data, contract.task)
        module.load_state_dict(load(data))
    except ModelError as cause:
        raise ReleaseError(f"{folder}: this program cannot build the model: {cause}") from None
    except (SafetensorError, RuntimeError) as cause:
        first = str(cause).splitlines()[0]
        raise ReleaseError(f"{path}: not the weights of a '{contract.model.name}': {first}") from None
    set_objective(module, TASK_OBJECTIVE)
    return module.eval()


def predict(
    contract: ReleaseContract, module: nn.Module, path: Path, *, keep_raw: bool = False, with_targets: bool = False
) -> Predictions:
    """Predict every record of the file ``path``, which is what the contract's kind of data is: CSV, or ``.npz``.

    Args:
        contract: what the data must be.
        module: the released model.
        path: the file.
        keep_raw: whether to keep the model's outputs as they are, beside what the task says of them.
        with_targets: whether to read the label too, and keep both.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it has nothing of what the contract asks for.
        ReleaseError: the model does not give a number for every record.
    """
    contents = read_contents(contract.data, path, with_targets=with_targets)
    return predict_contents(contract, module, contents, keep_raw=keep_raw, with_targets=with_targets)


def predict_contents(
    contract: ReleaseContract,
    module: nn.Module,
    contents: Contents,
    *,
    keep_raw: bool = False,
    with_targets: bool = False,
) -> Predictions:
    """Predict every record that was read; arguments and errors are those of :func:`predict`."""
    suspicions = tuple(contents.find_warnings())
    if contents.mistakes:
        nothing = torch.empty(0)
        return Predictions((), {}, contents.counts, suspicions, contents.mistakes, contents.sha256, nothing, {})
    outputs, raw = _compute_outputs(
        contract, module, select_inputs(contract, contents), keep_raw=keep_raw or with_targets
    )
    unusable = np.zeros(len(contents.ids), dtype=bool)
    for values in outputs.values():
        unusable |= ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if unusable.any():
        raise ReleaseError(
            f"the model gives no number for {int(unusable.sum())} records; its training has diverged"
        )
    targets = _select_targets(contract, contents) if with_targets else {}
    return Predictions(tuple(contents.ids), outputs, contents.counts, suspicions, (), contents.sha256, raw, targets)


def select_inputs(contract: ReleaseContract, contents: Contents) -> dict[str, Array]:
    """Return what the model takes, by the names of its inputs; (records, ...) each."""
    return {name: contents.inputs[tensor] for name, tensor in contract.model.inputs.items()}


def read_batch(inputs: Mapping[str, Array], rows: slice | NDArray[np.int64]) -> dict[str, torch.Tensor]:
    """Read some records of all inputs as tensors."""
    return {name: torch.from_numpy(np.ascontiguousarray(array[rows])) for name, array in inputs.items()}


def count_records_at_once(inputs: Mapping[str, Array]) -> int:
    """Return how many records are computed at a time, so that memory stays small."""
    each = sum(math.prod(array.shape[1:]) for array in inputs.values())
    return max(1, min(_BATCH, _BATCH_VALUES // max(1, each)))


def _select_targets(contract: ReleaseContract, contents: Contents) -> dict[str, NDArray[Any]]:
    """Return the tensors that the task predicts; some tasks predict inputs."""
    known = {**contents.inputs, **contents.targets}
    return {name: np.asarray(known[name][:]) for name in contract.task.list_targets()}


def _compute_outputs(
    contract: ReleaseContract, module: nn.Module, inputs: Mapping[str, Array], *, keep_raw: bool
) -> tuple[dict[str, NDArray[Any]], torch.Tensor]:
    """Compute what the task calls the model's outputs, and these if they are kept, a few records at a time."""
    task = make_task(contract.task, contract.data)
    records, step = len(next(iter(inputs.values()))), count_records_at_once(inputs)
    parts, raw = list[Mapping[str, NDArray[Any]]](), list[torch.Tensor]()
    with torch.no_grad():
        for start in range(0, records, step):
            outputs = read_outputs(module(read_batch(inputs, slice(start, start + step))))
            parts.append({name: _shrink(values) for name, values in task.describe_outputs(outputs).items()})
            if keep_raw:
                raw.append(outputs)
    said = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return said, torch.cat(raw) if raw else torch.empty(0)


def _shrink(values: NDArray[np.float64]) -> NDArray[Any]:
    """Keep a volume in half the memory; a number of a table as it is."""
    return values.astype(np.float32) if values.ndim > 2 else values
