"""Wrap a released model as one module of plain tensors: from the contract's units to scores, nothing left outside.

====================  =======================================================================================
data                  what the exported model takes
====================  =======================================================================================
column of numbers     (records,) float64 in the contract's unit; NaN where missing
column of dates       (records,) float64: days since 1970-01-01, or a share of the year; NaN where missing
column of words       (records,) int64, the word's place in the contract's list; -1 where missing
column of texts       (records, places) bool, and whether it is missing, (records,) bool
tensor of numbers     (records, *shape) float32 in the contract's unit
tensor of ids         (records, *shape) int64
tensor of flags       (records, *shape) bool
====================  =======================================================================================

Tables have columns; images have columns beside their tensors, and all other data tensors alone. A model that does not
take ``features``, the tensor that the columns are, takes no column.

Clipping, scaling, one-hot words and indicators of missing values are in the module, as ``client/data/encoding.py`` and
``client/data/scaling.py`` do them; so is what the task says of the outputs (``scores.py``).
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn

from client.prediction.columns import FEATURES, list_columns
from client.prediction.export.scores import make_scorer
from client.prediction.release_contract import ReleaseContract
from models.outputs import read_outputs
from privacy.document import Document
from privacy.errors import ReleaseError
from privacy.study import Category, Date, Number, TableContract, Text
from privacy.study.data.contract import DataContract
from privacy.study.data.images import ImagesContract
from privacy.study.data.tensors import Flags, Ids, Numbers

Dtype = Literal["float64", "float32", "int64", "bool"]


class ExportedInput(Document):
    """An input of an exported model, in the order in which it takes them."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    meaning: str


class ExportedModel(nn.Module):
    """A released model with all that stands before and after it."""

    def __init__(self, contract: ReleaseContract, module: nn.Module) -> None:
        """Wrap the module of ``contract``.

        Raises:
            ReleaseError: the task's scores are not known (``scores.py``).
        """
        super().__init__()
        self.module = module
        self._contract = contract
        self._score = make_scorer(contract)
        self._names = [each.name for each in list_exported_inputs(contract)]

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the scores by name, (records, ...) each, of the inputs in their order."""
        data, taken = self._contract.data, dict(zip(self._names, inputs, strict=True))
        wanted = set(self._contract.model.inputs.values())
        tensors = {
            name: _prepare(data.find_tensor(name), taken[name]) for name in wanted if not _is_of_columns(data, name)
        }
        if isinstance(data, TableContract | ImagesContract) and _is_of_columns(data, FEATURES):
            tensors |= {FEATURES: encode_columns(data, taken)} if FEATURES in wanted else {}
        bound = {name: tensors[source] for name, source in self._contract.model.inputs.items()}
        return dict(self._score(read_outputs(self.module(bound))))


def list_exported_inputs(contract: ReleaseContract) -> list[ExportedInput]:
    """List what the exported model takes, in order: the tensors that the model takes, each column for itself.

    Raises:
        ReleaseError: a column is called like a tensor or another column's indicator, so that a name is not enough.
    """
    data, inputs = contract.data, list[ExportedInput]()
    for name in dict.fromkeys(contract.model.inputs.values()):
        tensor = data.find_tensor(name)
        if isinstance(data, TableContract | ImagesContract) and _is_of_columns(data, name):
            inputs += _list_columns(data)
        elif tensor is not None:
            inputs.append(_describe_tensor(tensor))
    names = [each.name for each in inputs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ReleaseError(
            f"the model of '{contract.study}' would take two inputs called '{twice}'; use --format safetensors"
        )
    return inputs


def _is_of_columns(contract: DataContract, tensor: str) -> bool:
    """Return whether the columns of the contract become this tensor."""
    return tensor == FEATURES and bool(list_columns(contract))


def encode_columns(contract: TableContract | ImagesContract, columns: dict[str, torch.Tensor]) -> torch.Tensor:
    """Encode the columns, (records, ...) each, as the tensor ``features``; (records, width) float32."""
    parts = list[torch.Tensor]()
    middle = 0.0 if contract.scaled == "signed" else 0.5
    for feature in contract.features:
        values = columns[feature.name]
        match feature:
            case Category():
                absent = values < 0
                encoded = (values[:, None] == torch.arange(len(feature.values))).double()
            case Text():
                absent = columns[name_missing(feature.name)]
                encoded = (values & ~absent[:, None]).double()
            case Number() | Date(taken="days"):
                absent = values.isnan()
                low, high = feature.days if isinstance(feature, Date) else (feature.low, feature.high)
                encoded = _fill(_scale(values, low, high, contract.scaled)[:, None], absent, middle)
            case Date():
                absent = values.isnan()
                waves = torch.stack([torch.sin(2 * math.pi * values), torch.cos(2 * math.pi * values)], dim=1)
                encoded = _fill(waves if contract.scaled == "signed" else (waves + 1.0) / 2.0, absent, middle)
        parts += [encoded, absent[:, None].double()]
    return torch.cat(parts, dim=1).float()


def name_missing(column: str) -> str:
    """Name the input that says whether a text is missing."""
    return f"{column} is missing"


def _fill(numbers: torch.Tensor, absent: torch.Tensor, middle: float) -> torch.Tensor:
    return torch.where(absent[:, None], middle, numbers)


def _list_columns(contract: TableContract | ImagesContract) -> Iterator[ExportedInput]:
    for feature in contract.features:
        name, shape = feature.name, tuple[int, ...]()
        dtype: Dtype = "float64"
        match feature:
            case Number():
                meaning = f"a number, clipped to {feature.low:g} to {feature.high:g}; NaN where missing"
            case Date(taken="days"):
                meaning = (
                    f"days since 1970-01-01, clipped to {feature.earliest} to {feature.latest}; NaN where missing"
                )
            case Date(taken="month"):
                meaning = "the month, from 0 for January, divided by 12; NaN where missing"
            case Date():
                meaning = "the day of the year, from 0, divided by the days of the year; NaN where missing"
            case Category():
                dtype = "int64"
                words = ", ".join(f"{place} {word}" for place, word in enumerate(feature.values))
                meaning = f"{words}; -1 where missing"
            case Text():
                dtype, shape = "bool", (feature.places,)
                meaning = "which words, or buckets of words, the text has, as the contract counts them"
        yield ExportedInput(name=name, dtype=dtype, shape=shape, meaning=meaning)
        if isinstance(feature, Text):
            yield ExportedInput(
                name=name_missing(name), dtype="bool", shape=(), meaning="whether the text is missing"
            )


def _describe_tensor(tensor: Numbers | Ids | Flags) -> ExportedInput:
    match tensor:
        case Numbers():
            meaning = f"numbers, clipped to {tensor.low:g} to {tensor.high:g}"
            return ExportedInput(name=tensor.name, dtype="float32", shape=tensor.shape, meaning=meaning)
        case Ids():
            meaning = f"numbers of words, 0 to {tensor.values - 1}"
            return ExportedInput(name=tensor.name, dtype="int64", shape=tensor.shape, meaning=meaning)
        case Flags():
            return ExportedInput(name=tensor.name, dtype="bool", shape=tensor.shape, meaning="yes or no")


def _prepare(tensor: Numbers | Ids | Flags | None, values: torch.Tensor) -> torch.Tensor:
    if isinstance(tensor, Numbers):
        return _scale(values.double(), tensor.low, tensor.high, tensor.scaled).float()
    return values


def _scale(
    values: torch.Tensor, low: float, high: float, scaled: Literal["unit", "signed", "none"]
) -> torch.Tensor:
    """Clip and scale float64 numbers, as ``client/data/scaling.py``."""
    inside = values.clamp(low, high)
    match scaled:
        case "unit":
            return (inside - low) / (high - low)
        case "signed":
            return 2.0 * (inside - low) / (high - low) - 1.0
        case "none":
            return inside
