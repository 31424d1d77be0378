"""Describe an exported model beside it: what it takes, what it gives, and where it is from.

The same text is ``exported.json`` of a folder, the extra file of an archive, and the entry ``consilium`` in the
metadata of an ONNX file. ``contract`` is the release's own contract.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from client.prediction.export.exported_model import ExportedInput
from client.prediction.prediction_file import name_places
from client.prediction.release_contract import ReleaseContract
from privacy.document import Document

DESCRIPTION_FILE = "exported.json"


class ExportedOutput(Document):
    """An output of an exported model; ``places`` names the values of its second axis, if they have names."""

    name: str
    dtype: Literal["float32", "int64"]
    shape: tuple[int, ...]
    places: tuple[str, ...]


class ExportDescription(Document):
    """The contents of ``exported.json``. Every shape is of one record; the axis of the records stands before it."""

    exported: Literal[1] = 1
    study: str
    purpose: str
    task: str
    threshold: float | None
    inputs: tuple[ExportedInput, ...]
    outputs: tuple[ExportedOutput, ...]
    personal: tuple[str, ...]
    contract: ReleaseContract
    notice: str = "Research output: not a medical device, no advice about any patient."


def describe_export(
    contract: ReleaseContract, inputs: Sequence[ExportedInput], scores: Mapping[str, torch.Tensor]
) -> ExportDescription:
    """Describe an exported model by what it takes and by the scores of some records."""
    return ExportDescription(
        study=contract.study,
        purpose=contract.purpose,
        task=contract.task.kind,
        threshold=None if contract.threshold is None else contract.threshold.value,
        inputs=tuple(inputs),
        outputs=tuple(_describe_output(contract, name, values) for name, values in scores.items()),
        personal=contract.model.personal,
        contract=contract,
    )


def _describe_output(contract: ReleaseContract, name: str, values: torch.Tensor) -> ExportedOutput:
    return ExportedOutput(
        name=name,
        dtype="int64" if values.dtype == torch.int64 else "float32",
        shape=tuple(values.shape[1:]),
        places=tuple(name_places(contract, values.shape[1])) if values.ndim == 2 else (),
    )
