"""Capture the inputs and the output gradients of layers during one forward and one backward pass.

Rules:

* Parameters do not require gradients during the passes, so backward computes only the gradients between layers.
* Hooks keep the inputs and the output gradient of each call of a layer.
* Which axis counts the records is known from :mod:`privacy.dpsgd.record_axes`. A layer that is called otherwise
  than it was there is refused by name.
* An axis may count a fixed number of rows for each record (crops, time steps). The rows of one record are
  neighbours.
* An input that is changed in place after the layer has used it is refused by name.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from privacy.dpsgd.record_axes import RecordAxes, describe_layer, remove_at_end
from privacy.errors import TermsError


@dataclass
class Call:
    """One call of a layer.

    Attributes:
        layer: its name for error messages.
        inputs: positional arguments; tensors are detached.
        keywords: keyword arguments, likewise.
        versions: how often each input tensor had been changed in place before the call.
        gradient: of the loss with respect to the output; None before the backward pass, and if there is none.
        axes: for each positional argument the axis that counts records; None where there is none.
        output_axis: the axis of the output that counts records.
    """

    layer: str
    inputs: tuple[Any, ...]
    keywords: dict[str, Any]
    versions: tuple[int, ...]
    gradient: torch.Tensor | None = None
    axes: tuple[int | None, ...] = ()
    output_axis: int = 0

    @property
    def rows(self) -> torch.Tensor:
        """The first input, with the records on the first axis."""
        axis = self.axes[0]
        assert axis is not None
        first: torch.Tensor = self.inputs[0]
        return first.movedim(axis, 0)

    @property
    def output_gradient(self) -> torch.Tensor:
        """The output gradient, with the records on the first axis."""
        assert self.gradient is not None
        return self.gradient.movedim(self.output_axis, 0)


class _Root(torch.autograd.Function):
    """Let a tensor require its gradient, in place and without a copy. No gradient flows further back."""

    @staticmethod
    def forward(ctx: Any, output: torch.Tensor, anchor: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(output)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[None, None]:
        return None, None


class Capture:
    """Capture of the calls of ``layers`` while it is entered.

    Args:
        module: the whole model.
        layers: the layers whose calls are kept, by name.
        seen: which axes of their tensors count records.

    Raises:
        TermsError: a layer is called otherwise than when the axes were found.
    """

    def __init__(self, module: nn.Module, layers: Mapping[str, nn.Module], seen: RecordAxes) -> None:
        self._module = module
        self._layers = layers
        self._survey = seen
        self.calls: dict[str, list[Call]] = {name: [] for name in layers}

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Capture inside the block, where both passes run."""
        asking = [parameter for parameter in self._module.parameters() if parameter.requires_grad]
        self._anchor = torch.zeros((), requires_grad=True, device=asking[0].device)
        with contextlib.ExitStack() as stack:
            for name, layer in self._layers.items():
                hook = layer.register_forward_hook(self._make_hook(name), prepend=True, with_kwargs=True)
                stack.enter_context(remove_at_end(hook))
            for layer in self._module.modules():
                stack.enter_context(remove_at_end(layer.register_forward_pre_hook(_refuse_packed)))
            for parameter in asking:
                parameter.requires_grad_(False)
            try:
                yield
            finally:
                for parameter in asking:
                    parameter.requires_grad_(True)
        self._check_calls()

    def _make_hook(self, name: str) -> Callable[..., torch.Tensor]:
        def keep(layer: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> torch.Tensor:
            places = self._survey.axes[name]
            calls = self.calls[name]
            if len(calls) >= len(places) or not isinstance(output, torch.Tensor):
                raise TermsError(
                    f"{describe_layer(name, layer)} is called more often for some records than for others"
                )
            place = places[len(calls)]
            call = Call(
                describe_layer(name, layer),
                tuple(_detach_tensor(value) for value in args),
                {key: _detach_tensor(value) for key, value in keywords.items()},
                tuple(value._version for value in args if isinstance(value, torch.Tensor)),
                axes=place.inputs,
                output_axis=place.output,
            )
            calls.append(call)
            if not torch.is_grad_enabled():
                return output  # a step of sampling, say, through which no gradient flows
            tapped: torch.Tensor = output
            # parameters do not require gradients, so the first layer's output does not either
            if not output.requires_grad:
                tapped = _Root.apply(output, self._anchor)  # type: ignore[no-untyped-call]
            tapped.register_hook(lambda gradient: _store_gradient(call, gradient))  # type: ignore[no-untyped-call]
            return tapped

        return keep

    def _check_calls(self) -> None:
        for name, calls in self.calls.items():
            for call in calls:
                versions = tuple(value._version for value in call.inputs if isinstance(value, torch.Tensor))
                if versions != call.versions:
                    raise TermsError(
                        f"the input of {describe_layer(name, self._layers[name])} is changed in place afterwards, "
                        "which would falsify its gradient; use an operation that is not in place"
                    )
            # a call whose output does not influence the loss has no gradient and adds nothing
            self.calls[name] = [call for call in calls if call.gradient is not None]


def _store_gradient(call: Call, gradient: torch.Tensor) -> None:
    call.gradient = gradient.detach()


def _detach_tensor(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value


def _refuse_packed(layer: nn.Module, args: tuple[Any, ...]) -> None:
    if any(isinstance(value, PackedSequence) for value in args):
        raise TermsError(
            f"{type(layer).__name__} is given a packed sequence, whose rows do not tell their record; "
            "use padded sequences and a mask"
        )
