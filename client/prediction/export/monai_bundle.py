"""The files of a MONAI bundle around an exported program, so that MONAI runs it without this program.

::

    configs/metadata.json    what the network takes and gives, in MONAI's words
    configs/inference.json   ``network_def`` and ``inferer``
    models/model.pt2         the program (``formats.py``)
    docs/                    README.md: what it is

A bundle's network takes one tensor of numbers and gives one tensor of scores. A model of a table, of several inputs, of
ids or of flags is refused.

Source: MONAI Bundle specification, https://docs.monai.io/en/stable/mb_specification.html
"""

import importlib.metadata
import json
from typing import Any, Final

from client.prediction.export.description import ExportDescription
from client.prediction.release_contract import ReleaseContract
from privacy.errors import ReleaseError
from privacy.study.data.tensors import Numbers

_MONAI: Final = "1.5.0"
_DOCS: Final = "docs"
_SPACES: Final = (2, 3)  # axes of an image after its channels


def require_one_image(contract: ReleaseContract, description: ExportDescription) -> None:
    """Refuse a model that is not called with one tensor of numbers, or gives several.

    Raises:
        ReleaseError: saying what it takes or gives.
    """
    scores = [each.name for each in description.outputs if each.name != "class"]
    numbers = [contract.data.find_tensor(each.name) for each in description.inputs]
    if len(numbers) != 1 or not isinstance(numbers[0], Numbers):
        taken = ", ".join(f"{each.name} ({each.dtype})" for each in description.inputs[:5])
        more = ", ..." if len(description.inputs) > 5 else ""
        raise ReleaseError(
            f"a MONAI bundle's network takes one tensor of numbers; this model takes {len(description.inputs)}: "
            f"{taken}{more}; use --format archive or onnx"
        )
    if len(scores) != 1:
        raise ReleaseError(
            f"a MONAI bundle's network gives one tensor of scores; this model gives {', '.join(scores)}; use --format "
            "archive or onnx"
        )


def make_bundle_configs(contract: ReleaseContract, description: ExportDescription) -> dict[str, bytes]:
    """Make the bundle's files, by their path in it."""
    return {
        "configs/metadata.json": _to_json(_make_metadata(contract, description)),
        "configs/inference.json": _to_json(_make_inference()),
        f"{_DOCS}/README.md": _make_readme(contract).encode(),
    }


def _make_metadata(contract: ReleaseContract, description: ExportDescription) -> dict[str, Any]:
    image = contract.data.find_tensor(description.inputs[0].name)
    assert isinstance(image, Numbers), "require_one_image has looked"
    (scores,) = (each for each in description.outputs if each.name != "class")
    return {
        "version": "0.1.0",
        "changelog": {"0.1.0": f"released by the study {contract.study}"},
        "monai_version": _MONAI,
        "pytorch_version": _read_version("torch"),
        "numpy_version": _read_version("numpy"),
        "task": contract.purpose,
        "description": f"{contract.model.name}, released by {contract.study}. {description.notice}",
        "authors": "the sites of the study",
        "copyright": "the sites of the study",
        "data_type": "numpy",
        "intended_use": description.notice,
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    **_describe_space(image.shape),
                    "dtype": "float32",
                    "value_range": [image.low, image.high],
                    "is_patch_data": False,
                    "channel_def": {str(each): "image" for each in range(_count_channels(image.shape))},
                }
            },
            "outputs": {
                "pred": {
                    "type": "probabilities",
                    "format": scores.name,
                    **_describe_space(scores.shape),
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {str(place): name for place, name in enumerate(scores.places)},
                }
            },
        },
    }


def _make_inference() -> dict[str, Any]:
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "network_def": "$torch.export.load(@bundle_root + '/models/model.pt2').module()",
        "inferer": {"_target_": "SimpleInferer"},
    }


def _make_readme(contract: ReleaseContract) -> str:
    return (
        f"# {contract.study}\n\n{contract.purpose}\n\nThe network takes images in the unit of the contract "
        "(contract.json) and gives scores; clipping and scaling are inside. SHA-256 of the released weights: "
        f"`{contract.model.sha256}`.\n\nResearch output: not a medical device, no advice about any patient.\n"
    )


def _describe_space(shape: tuple[int, ...]) -> dict[str, Any]:
    return {"num_channels": _count_channels(shape), "spatial_shape": list(_take_space(shape))}


def _count_channels(shape: tuple[int, ...]) -> int:
    return shape[0] if len(shape) - 1 in _SPACES else 1


def _take_space(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:] if len(shape) - 1 in _SPACES else shape


def _read_version(package: str) -> str:
    return importlib.metadata.version(package).split("+")[0]


def _to_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"
