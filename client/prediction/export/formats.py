"""Export a released model: ``safetensors``, ``onnx``, ``archive`` or ``monai-bundle``.

================  ====================================================  ==============================================
format            what is written                                       read by
================  ====================================================  ==============================================
``safetensors``   a folder: weights, contract, ``exported.json``        programs that build the model themselves
``onnx``          one file, from units to scores                        onnxruntime; needs the extra ``export`` to write
``archive``       one ``.pt2`` file, from units to scores               ``torch.export.load``, without this program
``monai-bundle``  a folder with ``configs/`` and the archive            MONAI; models of one tensor of numbers
================  ====================================================  ==============================================

Rules:

* any number of records is taken at once; the export is tried on one and on two records before it is written, and must
  give the scores of the released model;
* a model that a format cannot hold is refused with the reason;
* nothing is written over, and nothing is left of an export that failed. Files are 0600, folders 0700: who hands the
  model on decides so.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Final, Literal

import torch
from safetensors.torch import save
from torch import nn
from torch.export import Dim, ExportedProgram, export
from torch.fx.experimental import _config

from client.prediction.export.description import DESCRIPTION_FILE, ExportDescription, describe_export
from client.prediction.export.exported_model import ExportedInput, ExportedModel, list_exported_inputs
from client.prediction.export.monai_bundle import make_bundle_configs, require_one_image
from client.prediction.export.onnx_file import make_onnx
from client.prediction.export.quiet import hush
from client.prediction.release_contract import CONTRACT_FILE, MODEL_FILE, ReleaseContract
from privacy.errors import ReleaseError
from privacy.files import create_folder, replace_file

Format = Literal["safetensors", "onnx", "archive", "monai-bundle"]
FORMATS: Final[tuple[Format, ...]] = ("safetensors", "onnx", "archive", "monai-bundle")
TOLERANCE: Final = 1e-5
_SAMPLE: Final = 3  # records with which a program is traced


def export_model(contract: ReleaseContract, module: nn.Module, format: Format, out: Path) -> ExportDescription:
    """Write the released model to the new file or folder ``out``; return its description.

    Raises:
        ReleaseError: the format cannot hold the model, a package is missing, or ``out`` cannot be written.
    """
    if out.exists():
        raise ReleaseError(f"{out}: exists already; name a new {'file' if format in _FILES else 'folder'}")
    inputs = list_exported_inputs(contract)
    whole = ExportedModel(contract, module).eval()
    with torch.no_grad():
        description = describe_export(contract, inputs, whole(*make_sample(inputs, 1)))
    match format:
        case "safetensors":
            files = {MODEL_FILE: save(dict(module.state_dict()))}
        case "archive":
            return _write_file(out, _make_archive(_trace(whole, inputs), description), description)
        case "onnx":
            return _write_file(out, make_onnx(_trace(whole, inputs), description), description)
        case "monai-bundle":
            require_one_image(contract, description)
            score = _OneScore(whole)
            files = {
                "models/model.pt2": _make_archive(_trace(score, inputs), description),
                **make_bundle_configs(contract, description),
            }
    files |= {
        CONTRACT_FILE: contract.to_bytes(),
        DESCRIPTION_FILE: json.dumps(description.model_dump(mode="json"), indent=1).encode(),
    }
    with create_folder(out, ReleaseError) as folder:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            replace_file(path, data, ReleaseError)
    return description


def make_sample(inputs: list[ExportedInput], records: int) -> tuple[torch.Tensor, ...]:
    """Make records of zeros, ``records`` of them, as an exported model takes them."""
    return tuple(torch.zeros((records, *each.shape), dtype=getattr(torch, each.dtype)) for each in inputs)


class _OneScore(nn.Module):
    """The same with one tensor of scores, which is what MONAI's programs take a network to give."""

    def __init__(self, whole: ExportedModel) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the scores that are not a class."""
        found: dict[str, torch.Tensor] = self.whole(*inputs)
        (scores,) = (values for name, values in found.items() if name != "class")
        return scores


class _OneMore(nn.Module):
    """The same of one record more, which is dropped: no operator ever sees a single record."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Return the scores of the records."""
        found = self.whole(*(torch.cat([each, each[:1]]) for each in inputs))
        return {name: values[:-1] for name, values in found.items()} if isinstance(found, dict) else found[:-1]


def _trace(whole: nn.Module, inputs: list[ExportedInput]) -> ExportedProgram:
    """Trace a module as a program for any number of records.

    Raises:
        ReleaseError: its steps depend on the number of records, or on what is in them.
    """
    records = {0: Dim("records", min=1)}
    sample, reason = make_sample(inputs, _SAMPLE), ""
    for module, strict in ((whole, False), (whole, True), (_OneMore(whole), False)):
        try:
            # without this, a batch of one record would be another program
            with _config.patch(backed_size_oblivious=True), hush():  # type: ignore[attr-defined]
                program = export(module, sample, dynamic_shapes=((records,) * len(inputs),), strict=strict)
            _compare(whole, program, inputs)
        except (RuntimeError, ValueError, TypeError, AssertionError) as cause:
            reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        else:
            return program
    raise ReleaseError(
        f"the model cannot be written as a program of fixed steps: {reason}; use --format safetensors"
    )


def _compare(whole: nn.Module, program: ExportedProgram, inputs: list[ExportedInput]) -> None:
    """Refuse a program that does not give the scores of the module, for one record and for two."""
    run = program.module()
    for records in (1, 2):
        sample = make_sample(inputs, records)
        with torch.no_grad():
            torch.testing.assert_close(run(*sample), whole(*sample), rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def _make_archive(program: ExportedProgram, description: ExportDescription) -> bytes:
    out = io.BytesIO()
    text = json.dumps(description.model_dump(mode="json"), indent=1)
    torch.export.save(program, out, extra_files={DESCRIPTION_FILE: text})
    return out.getvalue()


def _write_file(out: Path, data: bytes, description: ExportDescription) -> ExportDescription:
    replace_file(out, data, ReleaseError)
    return description


_FILES: Final = ("onnx", "archive")
