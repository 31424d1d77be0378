"""Which layers of a model are trained, which stay frozen, which stay at the site: as a study's terms name them.

Rules:

* a name is a layer as the model names it, or a part of the model that holds layers (``layers.2``, ``layers``), or
  ``head``, the last layer with parameters;
* trained is everything but what is frozen; or only what ``trained`` names; or, with adapters, the adapters and what
  ``trained`` names. Personal layers are trained in any case, and never sent;
* something must be left that is trained and shared: otherwise there is nothing to learn together.
"""

from collections.abc import Iterable
from typing import NamedTuple

from torch import nn

from models.errors import ModelError
from models.parameters.flatten import Personal, count_personal_parameters, count_shared_parameters
from models.parameters.lora import add_adapter, takes_adapter
from privacy.study import Adapters, Model


class Counts(NamedTuple):
    """Numbers of a model: trained and shared, trained and kept by each site, frozen."""

    shared: int
    personal: int
    frozen: int


def apply_layer_choice(module: nn.Module, asked: Model) -> None:
    """Freeze, adapt and set apart the layers of a plain ``module`` as ``asked``.

    Raises:
        ModelError: a name the model does not have, names that contradict each other, or nothing left to train.
    """
    every = _list_layers_with_parameters(module)
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


def count_by_kind(module: nn.Module) -> Counts:
    """What of an arranged ``module`` is shared, personal and frozen."""
    shared, own = count_shared_parameters(module), count_personal_parameters(module)
    return Counts(shared, own, sum(parameter.numel() for parameter in module.parameters()) - shared - own)


def _find_trained_layers(module: nn.Module, asked: Model, every: list[str]) -> set[str]:
    """Layers that are trained whole and named so, or not named at all."""
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
    """The layers with parameters that ``names`` stand for."""
    every = _list_layers_with_parameters(module)
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


def _list_layers_with_parameters(module: nn.Module) -> list[str]:
    """Layers that own parameters, in the model's order."""
    return [
        name for name, layer in module.named_modules() if next(layer.parameters(recurse=False), None) is not None
    ]
