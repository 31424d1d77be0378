"""Translate an exported program to the bytes of an ONNX file, with its description in the metadata.

Torch's exporter writes the operators; two that it does not know are in ``onnx_operators.py``.
"""

import json
from typing import Final

import torch
from torch.export import ExportedProgram

from client.prediction.export.description import ExportDescription
from client.prediction.export.onnx_operators import list_translations
from client.prediction.export.quiet import hush
from privacy.errors import ReleaseError

_OPSET: Final = 18


def make_onnx(program: ExportedProgram, description: ExportDescription) -> bytes:
    """Translate a program to ONNX, with the description in its metadata.

    Raises:
        ReleaseError: the package is missing, or ONNX has no operator for a step of the model.
    """
    try:
        import onnxscript  # noqa: F401 - torch's exporter needs it
        from torch.onnx import OnnxExporterError
    except ImportError:
        raise ReleaseError("--format onnx needs the extra 'export': pip install 'consilium[export]'") from None
    try:
        with hush():
            found = torch.onnx.export(
                program,
                input_names=[each.name for each in description.inputs],
                output_names=[each.name for each in description.outputs],
                opset_version=_OPSET,
                custom_translation_table=list_translations(),
                verbose=False,
            )
    except OnnxExporterError as cause:
        step = _find_step(cause)
        raise ReleaseError(
            f"the model cannot be written as ONNX: the format has no operator for its step {step}; use --format archive"
        ) from None
    assert found is not None, "a program of ONNX is returned where no file is named"
    proto = found.model_proto
    for key, value in (
        ("consilium", json.dumps(description.model_dump(mode="json"))),
        ("notice", description.notice),
    ):
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    data: bytes = proto.SerializeToString()
    return data


def _find_step(cause: BaseException) -> str:
    """Return the name of the step that torch's exporter did not know."""
    text = ""
    seen: BaseException | None = cause
    while seen is not None:
        text, seen = text + str(seen), seen.__cause__
    return next(
        (word.strip("'<>(),:") for word in text.split() if word.startswith(("aten.", "'aten.", "op='aten."))), "?"
    )
