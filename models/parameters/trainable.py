"""Apply the terms' choice of layers: which are trained, which are frozen, and which are personal.

Rules:

* a name means a layer as the model names it (``layers.2``), a part of the model with all its layers (``layers``),
  or ``head``, the last layer with parameters;
* by default every layer is trained that ``frozen`` does not name;
* with ``trained``, only the layers that it names are trained; with adapters, the adapters and these layers;
* personal layers are always trained, and never sent;
* at least one parameter must be trained and shared: else sites would train nothing together.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import nn

from models.errors import ModelError
from models.parameters.flatten import (
    Personal,
    count_personal_parameters,
    count_shared_parameters,
    list_shared_parameters,
)
from models.parameters.lora import add_adapter, takes_adapter
from privacy.study import Adapters, Model


class ParameterCounts(NamedTuple):
    """How many parameters are trained and shared, trained and personal, and frozen."""

    shared: int
    personal: int
    frozen: int


def apply_layer_choice(module: nn.Module, asked: Model) -> None:
    """Freeze layers of a plain ``module``, add adapters and mark personal layers, as ``asked``.

    Raises:
        ModelError: a name is not in the model, names contradict each other, or nothing is left to train together.
    """
    every = list_layers(module)
    personal = _find_named_layers(module, "personal", asked.personal)
    trained = _find_trained_layers(module, asked, every) | personal
    if both := personal & _find_named_layers(module, "frozen", asked.frozen):
        raise ModelError(f"model.personal: layer '{min(both)}' is frozen as well; a personal layer is trained")
    for name in every:
        for parameter in module.get_submodule(name).parameters(recurse=False):
            parameter.requires_grad_(name in trained)
    for name in personal:
        layer = module.get_submodule(name)
        for local, parameter in list(layer.named_parameters(recurse=False)):
            setattr(layer, local, Personal(parameter.detach()))
    if asked.adapters is not None:
        for name in _find_adapted_layers(module, asked.adapters, trained, every):
            add_adapter(module, name, asked.adapters.rank, asked.adapters.scale)
    if not count_shared_parameters(module):
        lost = "every layer is frozen" if not personal else "every layer that is trained is personal"
        raise ModelError(f"model: {lost}, so there is nothing to train together; leave one out")


def find_stage_layers(module: nn.Module, where: str, names: Iterable[str]) -> frozenset[str]:
    """Find the layers with trained parameters that ``names`` mean, for a stage of the terms' key ``where``.

    Raises:
        ModelError: a name is not in the model, or nothing of what is named is trained.
    """
    found = _find_named_layers(module, where, names)
    trained = {name.rpartition(".")[0] for name, value in module.named_parameters() if value.requires_grad}
    layers = {layer for layer in trained if layer in found or any(layer.startswith(f"{each}.") for each in found)}
    if not layers:
        raise ModelError(f"model.{where}: none of these layers is trained in this study: {', '.join(names)}")
    return frozenset(layers)


@contextmanager
def train_only(module: nn.Module, layers: Collection[str] | None) -> Iterator[None]:
    """Freeze inside the block what is trained outside of ``layers``; None freezes nothing."""
    held = [
        value
        for name, value in module.named_parameters()
        if layers is not None and value.requires_grad and name.rpartition(".")[0] not in layers
    ]
    for value in held:
        value.requires_grad_(False)
    try:
        yield
    finally:
        for value in held:
            value.requires_grad_(True)


def list_shared_ranges(module: nn.Module, layers: Collection[str]) -> tuple[tuple[int, int], ...]:
    """List where the parameters of ``layers`` are in the shared vector: starts and ends, in rising order."""
    ranges: list[tuple[int, int]] = []
    start = 0
    for name, value in list_shared_parameters(module).items():
        end = start + value.numel()
        if name.rpartition(".")[0] in layers:
            if ranges and ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], end)
            else:
                ranges.append((start, end))
        start = end
    return tuple(ranges)


def count_by_kind(module: nn.Module) -> ParameterCounts:
    """Count the shared, personal and frozen parameters, after :func:`apply_layer_choice`."""
    shared, own = count_shared_parameters(module), count_personal_parameters(module)
    return ParameterCounts(shared, own, sum(parameter.numel() for parameter in module.parameters()) - shared - own)


def _find_trained_layers(module: nn.Module, asked: Model, every: list[str]) -> set[str]:
    """Find the layers that are trained whole: those that ``trained`` names, or all that are not frozen."""
    if asked.trained or asked.adapters is not None:
        return _find_named_layers(module, "trained", asked.trained)
    return set(every) - _find_named_layers(module, "frozen", asked.frozen)


def _find_adapted_layers(module: nn.Module, adapters: Adapters, trained: set[str], every: list[str]) -> list[str]:
    if not adapters.layers:
        found = [name for name in every if name not in trained and takes_adapter(module.get_submodule(name))]
        if not found:
            raise ModelError("model.adapters: no frozen layer is left that takes an adapter")
        return found
    wanted = _find_named_layers(module, "adapters.layers", adapters.layers)
    if both := wanted & trained:
        raise ModelError(
            f"model.adapters: layer '{min(both)}' is trained whole; an adapter stands beside a frozen layer"
        )
    return sorted(wanted)


def _find_named_layers(module: nn.Module, where: str, names: Iterable[str]) -> set[str]:
    """Find the layers with parameters that ``names`` mean; ``where`` is the terms' key, for the message."""
    every = list_layers(module)
    found: set[str] = set()
    for name in names:
        wanted = every[-1] if name == "head" else name
        inside = {layer for layer in every if layer == wanted or layer.startswith(f"{wanted}.")}
        if not inside:
            known = ", ".join(f"{layer} ({type(module.get_submodule(layer)).__name__})" for layer in every)
            raise ModelError(
                f"model.{where}: the model has no layer '{name}' with parameters; its layers: {known}; head is "
                f"{every[-1]}"
            )
        found |= inside
    return found


def list_layers(module: nn.Module) -> list[str]:
    """List the layers that own parameters, in the model's order."""
    return [
        name for name, layer in module.named_modules() if next(layer.parameters(recurse=False), None) is not None
    ]
