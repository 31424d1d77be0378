"""Predict with a released model: a probability for every record, without a site, a label or a budget.

Rules:

* the release folder is all that is needed. Its contract says what the columns mean; its model file must be the one
  that the contract names;
* a record becomes numbers exactly as in training; every row of the table gets one prediction, in the table's order;
* what is predicted is research output. The model was trained on other patients than those of this table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load

from client.data.adapters.csv import Mistake, read_words
from client.data.encoding import ColumnCounts, encode_features, name_patients
from client.data.plausibility import find_suspicions
from client.prediction.release_contract import ReleaseContract
from models.catalogue import build
from models.errors import ModelError
from privacy.canonical import compute_sha256
from privacy.errors import ReleaseError

if TYPE_CHECKING:
    from torch import nn

_BATCH: Final = 8192  # records at a time


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the model predicts for a table.

    Attributes:
        patients: each row's patient, in normal form; (rows,).
        probabilities: of a positive label; (rows,) float64.
        counts: of every feature's column.
        suspicions: what in the table is probably not meant.
        mistakes: what breaks the contract; then there are no predictions.
    """

    patients: tuple[str, ...] = field(repr=False)
    probabilities: NDArray[np.float64] = field(repr=False)
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
    try:
        module = build(contract.model.name, contract.model.options, contract.data.inputs)
        module.load_state_dict(load(data))
    except (ModelError, SafetensorError, RuntimeError) as cause:
        first = str(cause).splitlines()[0]
        raise ReleaseError(f"{path}: not the weights of a '{contract.model.name}': {first}") from None
    return module.eval()


def predict(contract: ReleaseContract, module: nn.Module, table: Path) -> Predictions:
    """Predict every row of the CSV file ``table``.

    Raises:
        DataUnavailableError: the table cannot be read now.
        DataError: it is no table with any of the contract's columns.
        ReleaseError: the model does not give a number for every record.
    """
    data = contract.data
    words = read_words(table, [data.patient, *(feature.name for feature in data.features)])
    mistakes = list(words.mistakes)
    patients, encoded = name_patients(data, words, mistakes), encode_features(data, words)
    mistakes += encoded.mistakes
    suspicions = tuple(find_suspicions(data, words, encoded.counts))
    if mistakes:
        return Predictions((), np.empty(0), encoded.counts, suspicions, tuple(mistakes))
    with torch.no_grad():
        logits = [module(part).double() for part in torch.split(torch.from_numpy(encoded.features), _BATCH)]
    probabilities: NDArray[np.float64] = torch.sigmoid(torch.cat(logits)).numpy()
    if unusable := int((~np.isfinite(probabilities)).sum()):
        raise ReleaseError(f"the model gives no number for {unusable} records; its training has diverged")
    return Predictions(tuple(patients), probabilities, encoded.counts, suspicions, ())
