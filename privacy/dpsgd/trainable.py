"""List the parameters of a module that train, and find the layer that owns each of them."""

from collections.abc import Mapping

import torch
from torch import nn

from privacy.dpsgd.record_axes import describe_layer
from privacy.errors import TermsError


class Trainable:
    """The parameters that train, and their positions in a flat vector: the order of ``module.parameters()``.

    Raises:
        TermsError: no parameter trains.
    """

    def __init__(self, module: nn.Module) -> None:
        self.parameters = {name: value for name, value in module.named_parameters() if value.requires_grad}
        if not self.parameters:
            raise TermsError("the model has no parameter that trains")
        self.count = sum(parameter.numel() for parameter in self.parameters.values())
        self.dtype = torch.float32  # never less, whatever the module computes in
        for parameter in self.parameters.values():
            self.dtype = torch.promote_types(self.dtype, parameter.dtype)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.parameters.values())).device

    def make_zeros(self) -> torch.Tensor:
        """Return a flat vector of zeros on the parameters' device; (P,)."""
        return torch.zeros(self.count, dtype=self.dtype, device=self.device)

    def make_views(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return a view of each parameter's part of ``flat`` (P,), in the parameter's shape."""
        sizes = [parameter.numel() for parameter in self.parameters.values()]
        parts = zip(self.parameters.items(), torch.split(flat, sizes), strict=True)
        return {name: part.view(parameter.shape) for (name, parameter), part in parts}


class FlatSum:
    """A sum over all parameters that train, (P,): zeros, which take memory from when the vector is first asked for.

    A batch asks for it at the end of its backward pass, so that the vector and the activations of the first batch are
    not held at once.
    """

    def __init__(self, trainable: Trainable) -> None:
        self._trainable = trainable
        self._vector: torch.Tensor | None = None
        self._views: dict[str, torch.Tensor] | None = None

    @property
    def vector(self) -> torch.Tensor:
        """The sum; (P,), to be changed in place."""
        if self._vector is None:
            self._vector = self._trainable.make_zeros()
        return self._vector

    def take_memory(self) -> None:
        """Take memory for the vector, which may hold anything: whoever asks writes all of it."""
        self._views = None
        self._vector = torch.empty(
            self._trainable.count, dtype=self._trainable.dtype, device=self._trainable.device
        )

    @property
    def views(self) -> dict[str, torch.Tensor]:
        """A view of each parameter's part of the vector, in the parameter's shape."""
        if self._views is None:
            self._views = self._trainable.make_views(self.vector)
        return self._views

    @property
    def takes_memory(self) -> bool:
        """Whether the vector was asked for."""
        return self._vector is not None

    def clear(self) -> None:
        """Let the sum be zero, and its memory be free."""
        self._vector = self._views = None


def find_owners(
    module: nn.Module, parameters: Mapping[str, nn.Parameter], shared: bool = False
) -> dict[str, dict[str, str]]:
    """Find the layer that uses each parameter: layer -> {name within the layer: name in the module}.

    A parameter that is also registered further up (as in DPLSTM) belongs to the innermost layer.

    Args:
        module: the whole model.
        parameters: those of interest, by name.
        shared: whether a parameter may belong to several layers.

    Raises:
        TermsError: a parameter belongs to two layers, neither inside the other, and ``shared`` is false.
    """
    names = {id(parameter): name for name, parameter in parameters.items()}
    holders: dict[str, list[tuple[str, str]]] = {name: [] for name in parameters}
    for layer_name, layer in module.named_modules():
        for local, parameter in layer.named_parameters(recurse=False):
            if id(parameter) in names:
                holders[names[id(parameter)]].append((layer_name, local))
    found: dict[str, dict[str, str]] = {}
    for name, held in holders.items():
        innermost = [one for one in held if not any(_is_inside(other, one[0]) for other, _ in held)]
        if len(innermost) > 1 and not shared:
            both = " and ".join(describe_layer(layer, module.get_submodule(layer)) for layer, _ in innermost[:2])
            raise TermsError(
                f"parameter '{name}' belongs to {both}; give each layer its own, or use one layer twice"
            )
        for layer_name, local in innermost:
            found.setdefault(layer_name, {})[local] = name
    return found


def _is_inside(inner: str, outer: str) -> bool:
    return inner != outer and (outer == "" or inner.startswith(outer + "."))
