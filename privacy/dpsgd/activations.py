"""What a layer is given and what comes back to it: one forward and one backward pass, without parameter gradients.

Rules:

* parameters do not ask for gradients during the passes, so that backward computes only what flows between layers;
* of each call of a layer its inputs and the gradient of its output are kept, by hooks;
* which axis of a tensor counts the records is not assumed but seen: :func:`find_record_axes` calls the module on
  two and on three records, and the axis that grows is it. A layer whose tensors do not grow with the records is
  refused by name;
* an axis may count a fixed number of rows for each record (crops, time steps), the rows of a record side by side;
* an input changed in place after the layer saw it is refused by name.
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
        layer: as error messages call it.
        inputs: positional arguments; tensors are detached.
        keywords: keyword arguments, likewise.
        versions: how often each input tensor had been changed in place by then.
        gradient: of the loss with respect to the output, None while it is not known or when there is none.
        axes: for each positional argument the axis that counts records, None where there is none.
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
        """The first input with the records first."""
        axis = self.axes[0]
        assert axis is not None
        first: torch.Tensor = self.inputs[0]
        return first.movedim(axis, 0)

    @property
    def output_gradient(self) -> torch.Tensor:
        """The gradient with the records first."""
        assert self.gradient is not None
        return self.gradient.movedim(self.output_axis, 0)


class _Root(torch.autograd.Function):
    """Makes a tensor ask for its gradient, in place and without a copy; nothing flows further back."""

    @staticmethod
    def forward(ctx: Any, output: torch.Tensor, anchor: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(output)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[None, None]:
        return None, None


class Capture:
    """Keeps the calls of ``layers`` while it is entered.

    Args:
        module: the whole model.
        layers: whose calls are kept, by name.
        seen: where they have their records.

    Raises:
        TermsError: a layer is called otherwise than in the survey.
    """

    def __init__(self, module: nn.Module, layers: Mapping[str, nn.Module], seen: RecordAxes) -> None:
        self._module = module
        self._layers = layers
        self._survey = seen
        self.calls: dict[str, list[Call]] = {name: [] for name in layers}

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """The passes happen inside."""
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
            tapped: torch.Tensor = output
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
