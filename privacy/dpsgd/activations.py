"""Capture the inputs and the output gradients of layers during one forward and one backward pass.

Rules:

* Parameters do not require gradients during the passes, so backward computes only the gradients between layers.
* Hooks keep the inputs and the output gradient of each call of a layer. As soon as the gradients of all its calls have
  arrived, the layer is handed over, while backward goes on: what its parameters need is still in the processor's
  cache, and inputs and output gradients of few layers are held at a time.
* A call through which no gradient flows adds nothing. A layer with such a call is handed over at the end.
* Only the gradients of the backward pass count, and each arrives once. Those that a module computes itself in its
  forward pass do not; a second one for the same call is refused by name.
* Which axis counts the records is known from :mod:`privacy.dpsgd.record_axes`. A layer that is called otherwise
  than it was there is refused by name.
* An axis may count a fixed number of rows for each record (crops, time steps). The rows of one record are
  neighbours.
* An input that is changed in place after the layer has used it is refused by name.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from privacy.dpsgd.record_axes import Axes, RecordAxes, describe_layer
from privacy.errors import TermsError


@dataclass(slots=True)
class Call:
    """One call of a layer.

    Attributes:
        layer: its name for error messages.
        inputs: positional arguments; tensors are detached.
        keywords: keyword arguments, likewise.
        versions: how often each input tensor had been changed in place before the call, and at last the gradient
            when it arrived.
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
        return first if axis == 0 else first.movedim(axis, 0)

    @property
    def output_gradient(self) -> torch.Tensor:
        """The output gradient, with the records on the first axis."""
        assert self.gradient is not None
        return self.gradient if self.output_axis == 0 else self.gradient.movedim(self.output_axis, 0)

    def require_unchanged(self) -> None:
        """Refuse a call whose input or output gradient was changed in place since.

        Raises:
            TermsError: it was.
        """
        if _read_versions((*self.inputs, self.gradient)) != self.versions:
            raise TermsError(
                f"the input of {self.layer} is changed in place afterwards, or its output gradient, "
                "which would falsify its gradient; use an operation that is not in place"
            )


class _Root(torch.autograd.Function):
    """Let a tensor require its gradient, in place and without a copy, and take it. It flows no further back."""

    @staticmethod
    def forward(
        ctx: Any, output: torch.Tensor, anchor: torch.Tensor, take: Callable[[torch.Tensor], None]
    ) -> torch.Tensor:
        ctx.mark_dirty(output)
        ctx.set_materialize_grads(False)
        ctx.take = take
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor | None) -> tuple[None, None, None]:
        if gradient is not None:
            ctx.take(gradient)
        return None, None, None


HandOver = Callable[[str, list[Call]], None]
"""Takes the name of a layer and those of its calls that have an output gradient, in their order."""


class Capture:
    """Capture of the calls of layers in one forward and one backward pass.

    Args:
        packable: the layers of the model that :func:`may_pack`.
        parameters: all parameters of the model.
        layers: the layers whose calls are captured, by name.
        seen: which axes of their tensors count records.
        hand_over: takes each layer's calls, in the middle of the backward pass; it computes without gradients. It may
            keep tensors of the calls and must not change them. It may clear the list, so that others are free.
    """

    def __init__(
        self,
        packable: Iterable[nn.Module],
        parameters: Iterable[nn.Parameter],
        layers: Mapping[str, nn.Module],
        seen: RecordAxes,
        hand_over: HandOver,
    ) -> None:
        self._packable, self._parameters = packable, parameters
        self._layers = layers
        self._seen = seen
        self._hand_over = hand_over
        self._begun = dict.fromkeys(layers, 0)  # calls of each layer in the forward pass
        self._calls: dict[str, list[Call]] = {name: [] for name in layers}  # those that may get a gradient
        self._missing = dict.fromkeys(layers, 0)  # how many of these have none yet
        self._running_backward = False

    def run(self, compute_loss: Callable[[], torch.Tensor]) -> None:
        """Run ``compute_loss`` and the backward pass from what it returns.

        Raises:
            TermsError: a layer is called otherwise than when the axes were found, or its input is changed.
        """
        asking = [parameter for parameter in self._parameters if parameter.requires_grad]
        self._anchor = torch.zeros((), requires_grad=True, device=asking[0].device)
        handles = [
            layer.register_forward_hook(self._make_hook(name), prepend=True, with_kwargs=True)
            for name, layer in self._layers.items()
        ]
        handles += [layer.register_forward_pre_hook(_refuse_packed) for layer in self._packable]
        for parameter in asking:
            parameter.requires_grad_(False)
        try:
            total = compute_loss()
            self._running_backward = True
            torch.autograd.backward(total)
        finally:
            for handle in handles:
                handle.remove()
            for parameter in asking:
                parameter.requires_grad_(True)
        for name in self._layers:
            self._finish(name)

    def _make_hook(self, name: str) -> Callable[..., torch.Tensor]:
        described, places, calls = (
            describe_layer(name, self._layers[name]),
            self._seen.axes[name],
            self._calls[name],
        )

        def keep(layer: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> torch.Tensor:
            before = self._begun[name]
            if before >= len(places) or not isinstance(output, torch.Tensor):
                raise TermsError(f"{described} is called more often for some records than for others")
            self._begun[name] += 1
            if not torch.is_grad_enabled():
                return output  # a step of sampling, say, through which no gradient flows
            at = len(calls)
            calls.append(_make_call(described, args, keywords, places[before]))
            self._missing[name] += 1

            def take(gradient: torch.Tensor) -> None:  # lives as long as the loss, and must not keep the call alive
                self._take_gradient(name, at, gradient)

            # parameters do not require gradients, so the first layer's output does not either
            if not output.requires_grad:
                tapped: torch.Tensor = _Root.apply(output, self._anchor, take)  # type: ignore[no-untyped-call]
                return tapped
            output.register_hook(take)  # type: ignore[no-untyped-call]
            return output

        return keep

    def _take_gradient(self, name: str, at: int, gradient: torch.Tensor) -> None:
        if not self._running_backward:
            return  # the module computes a gradient of its own
        calls = self._calls[name]
        if at >= len(calls) or calls[at].gradient is not None:
            raise TermsError(
                f"{describe_layer(name, self._layers[name])} is given its output gradient more than once, so no "
                "patient's gradient is seen there"
            )
        calls[at].gradient = _detach_tensor(gradient)
        calls[at].versions += (gradient._version,)
        self._missing[name] -= 1
        if not self._missing[name]:
            self._finish(name)

    def _finish(self, name: str) -> None:
        """Hand a layer over, once; without calls there is nothing to do."""
        if not self._calls[name]:
            return
        calls = [call for call in self._calls[name] if call.gradient is not None]
        self._calls[name].clear()  # what is not kept by whoever takes it is free; hooks know the same list
        for call in calls:
            call.require_unchanged()
        if calls:
            with torch.no_grad():
                self._hand_over(name, calls)


def _make_call(described: str, args: tuple[Any, ...], keywords: dict[str, Any], axes: Axes) -> Call:
    if (
        len(args) == 1 and isinstance(args[0], torch.Tensor) and not keywords
    ):  # nearly always, and often in a recurrent network
        return Call(
            described, (_detach_tensor(args[0]),), keywords, (args[0]._version,), None, axes.inputs, axes.output
        )
    return Call(
        described,
        tuple(_detach_tensor(value) for value in args),
        {key: _detach_tensor(value) for key, value in keywords.items()} if keywords else keywords,
        _read_versions(args),
        axes=axes.inputs,
        output_axis=axes.output,
    )


def _read_versions(inputs: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(value._version for value in inputs if isinstance(value, torch.Tensor))


def _detach_tensor(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) and value.requires_grad else value


def may_pack(layer: nn.Module) -> bool:
    """Return whether a layer may be given a packed sequence.

    One of torch hands it on to the layers inside, or fails; recurrent ones of torch are refused on sight.
    """
    own = type(layer).forward
    return not own.__module__.startswith("torch.nn.modules.")


def _refuse_packed(layer: nn.Module, args: tuple[Any, ...]) -> None:
    if any(isinstance(value, PackedSequence) for value in args):
        raise TermsError(
            f"{type(layer).__name__} is given a packed sequence, whose rows do not tell their record; "
            "use padded sequences and a mask"
        )
