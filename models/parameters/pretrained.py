"""Load public weights into a model before it is trained.

Rules:

* names and shapes are those of the catalogue's plain model; a file with a further tensor or another shape is
  refused;
* weights of another library (torchvision, timm) have other names: with a map from layers of the model to layers of the
  file, the named layers are taken from there, whole, and other tensors of the file are ignored;
* a parameter that the file lacks must be trained, as a new head is; it begins at random values;
* every frozen parameter must be in the file; a buffer that the file lacks keeps the value from building the model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.errors import ModelError
from models.parameters.lora import list_plain_buffers, list_plain_names
from models.parameters.weights_file import open_weights, read_weights_shapes, require_digest


def load_public_weights(
    module: nn.Module, path: Path, digest: str, names: Mapping[str, str] | None = None
) -> frozenset[str]:
    """Load the weights file with the SHA-256 ``digest`` into ``module``; return the names of the parameters it set.

    Args:
        module: the model after :func:`models.parameters.trainable.apply_layer_choice`.
        path: the weights file.
        digest: what the terms name, in lower-case hexadecimal.
        names: for layers of the model, the layers of the file; empty where they are the model's own.

    Raises:
        ModelError: it is another file, or does not fit the model.
    """
    require_digest(path, digest)
    own = dict(module.named_parameters())
    parameters = {plain: (name, own[name]) for name, plain in list_plain_names(module).items()}
    buffers = list_plain_buffers(module)
    wanted = {plain: (name, tuple(value.shape)) for plain, (name, value) in parameters.items()}
    wanted |= {plain: (plain, tuple(value.shape)) for plain, value in buffers.items()}
    sources = _find_sources(path, wanted, names) if names else {plain: plain for plain in read_weights_shapes(path)}
    found = _match_tensor_names(path, wanted, sources)
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
                tensor: torch.Tensor = file.get_tensor(sources[plain])
                if not torch.isfinite(tensor).all():
                    raise ModelError(f"tensor '{plain}' has entries that are not finite numbers")
                target.copy_(tensor)
    return given


def _find_sources(path: Path, wanted: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    """Find for each tensor of a named layer of the model the tensor of the file, by the last part of its name."""
    there, sources = read_weights_shapes(path), dict[str, str]()
    for layer, source in names.items():
        tensors = [plain for plain in wanted if plain.startswith(f"{layer}.")]
        if not tensors:
            raise ModelError(f"model.weight_names: the model has no layer '{layer}' with tensors")
        for plain in tensors:
            sources[plain] = f"{source}.{plain.removeprefix(f'{layer}.')}"
            if sources[plain] not in there:
                raise ModelError(f"has no tensor '{sources[plain]}', which model.weight_names takes for '{plain}'")
    return sources


def _match_tensor_names(
    path: Path, wanted: Mapping[str, tuple[str, tuple[int, ...]]], sources: Mapping[str, str]
) -> frozenset[str]:
    """Check the file's tensors against ``wanted``; return the module's own names of the parameters they set."""
    given, shapes = set(), read_weights_shapes(path)
    for plain, source in sources.items():
        shape = shapes[source]
        if plain not in wanted:
            raise ModelError(
                f"has a tensor '{plain}', the model has none; the model's tensors: {', '.join(sorted(wanted))}"
            )
        name, expected = wanted[plain]
        if shape != expected:
            raise ModelError(f"tensor '{source}' has shape {shape}, the model's has {expected}")
        given.add(name)
    return frozenset(given)
