"""Load public weights into a model before it is trained.

Rules:

* names and shapes are those of the catalogue's plain model; a file with a further tensor or another shape is
  refused;
* a parameter that the file lacks must be trained, as a new head is; it begins at random values;
* every frozen parameter must be in the file; a buffer that the file lacks keeps the value from building the model.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from models.errors import ModelError
from models.parameters.lora import list_plain_buffers, list_plain_names
from models.parameters.weights_file import open_weights, read_weights_shapes, require_digest


def load_public_weights(module: nn.Module, path: Path, digest: str) -> frozenset[str]:
    """Load the weights file with the SHA-256 ``digest`` into ``module``; return the names of the parameters it set.

    Args:
        module: the model after :func:`models.parameters.trainable.apply_layer_choice`.
        path: the weights file.
        digest: what the terms name, in lower-case hexadecimal.

    Raises:
        ModelError: it is another file, or does not fit the model.
    """
    require_digest(path, digest)
    own = dict(module.named_parameters())
    parameters = {plain: (name, own[name]) for name, plain in list_plain_names(module).items()}
    buffers = list_plain_buffers(module)
    wanted = {plain: (name, tuple(value.shape)) for plain, (name, value) in parameters.items()}
    wanted |= {plain: (plain, tuple(value.shape)) for plain, value in buffers.items()}
    found = _match_tensor_names(path, wanted)
    given = found - set(buffers)
    lacking = sorted(
        plain for plain, (name, value) in parameters.items() if not value.requires_grad and name not in given
    )
    if lacking:
        raise ModelError(
            f"has no tensor '{lacking[0]}', which is frozen; what the file does not have must be trained "
            "(model.trained)"
        )
    with open_weights(path, "pt") as file, torch.no_grad():
        targets = {plain: (name, parameter.data) for plain, (name, parameter) in parameters.items()}
        targets |= {plain: (plain, buffer) for plain, buffer in buffers.items()}
        for plain, (name, target) in targets.items():
            if name in found:
                tensor: torch.Tensor = file.get_tensor(plain)
                if not torch.isfinite(tensor).all():
                    raise ModelError(f"tensor '{plain}' has entries that are not finite numbers")
                target.copy_(tensor)
    return given


def _match_tensor_names(path: Path, wanted: Mapping[str, tuple[str, tuple[int, ...]]]) -> frozenset[str]:
    """Check the file's tensors against ``wanted``; return the module's own names of the parameters they set."""
    given = set()
    for plain, shape in read_weights_shapes(path).items():
        if plain not in wanted:
            raise ModelError(
                f"has a tensor '{plain}', the model has none; the model's tensors: {', '.join(sorted(wanted))}"
            )
        name, expected = wanted[plain]
        if shape != expected:
            raise ModelError(f"tensor '{plain}' has shape {shape}, the model's has {expected}")
        given.add(name)
    return frozenset(given)
