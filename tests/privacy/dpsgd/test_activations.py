"""Networks whose norms would be wrong without a word if a layer were taken too early, too late, or not as it was.

Oracle: the loop over patients, and for what is refused the layer's name.
"""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from privacy.dpsgd import DpSgd, Example, Mechanism, Spec, run_self_test
from privacy.dpsgd.activations import Call
from privacy.dpsgd.ghost_clipping import _BatchGradients
from privacy.errors import TermsError
from privacy.randomness import KeyStream
from tests.privacy.dpsgd.models import Around, Mean, Scale
from tests.privacy.dpsgd.oracle import KEY, Table, assert_as_the_loop, everybody, loop_sum, loss, of_sizes

SIZES = torch.tensor([2, 1, 3, 1])


def step_of(module: nn.Module, norm: float = 0.3, batch_bytes: int = 1 << 30) -> DpSgd:
    return DpSgd(module, loss, Mechanism(1.0, 10, norm, 1.0), KeyStream(KEY), "book-keeping", batch_bytes)


def assert_sum_is_the_loops(module: nn.Module, records: Table, norm: float = 0.3) -> None:
    got = step_of(module, norm).sum_lot(records, everybody(records))
    assert_as_the_loop(module, got, loop_sum(module, records, everybody(records), norm))


class Layers(nn.Module):
    """Two layers in a function."""

    def __init__(self, run: Callable[[nn.Module, nn.Module, torch.Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 3)
        self._run = run

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._run(self.first, self.second, features).flatten(1).sum(1)
        return found


def fed_back(first: nn.Module, second: nn.Module, x: torch.Tensor) -> Any:
    for _ in range(3):  # its own output is its input: the gradients arrive in the opposite order
        x = torch.tanh(first(x))
    return second(x)


def half_unused(first: nn.Module, second: nn.Module, x: torch.Tensor) -> Any:
    first(x * 5)  # no gradient comes back
    return second(torch.tanh(first(x)))


def sampled_before(first: nn.Module, second: nn.Module, x: torch.Tensor) -> Any:
    with torch.no_grad():
        seen = torch.tanh(first(x))
    return second(torch.tanh(first(seen)))


def detached_between(first: nn.Module, second: nn.Module, x: torch.Tensor) -> Any:
    return second(torch.tanh(first(x)).detach()) + first(x)[:, :3]


def overwritten_in_part(first: nn.Module, second: nn.Module, x: torch.Tensor) -> Any:
    seen = first(x)
    seen[:, 2:4] = 0.5  # their gradient ends here
    seen[:, :2] *= 3
    return second(torch.tanh(seen))


def own_gradient(first: nn.Module, second: nn.Module, x: torch.Tensor) -> Any:
    with torch.enable_grad():
        given = x.detach().requires_grad_()
        seen = torch.tanh(first(given))
        (slope,) = torch.autograd.grad(seen.sum(), given, retain_graph=True)  # passes the layer's output
    return second(seen * slope.detach())


def second_derivative(first: nn.Module, second: nn.Module, x: torch.Tensor) -> Any:
    given = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(torch.tanh(first(given)).sum(), given, create_graph=True)
    return second(slope)


def transposed(first: nn.Module, second: nn.Module, x: torch.Tensor) -> Any:
    wide = x[:, None, :].expand(-1, 4, -1) * torch.arange(1.0, 5.0, dtype=x.dtype)[:, None]
    seen = first(wide.transpose(1, 2).contiguous().transpose(1, 2))
    return second(torch.tanh(seen.transpose(0, 1)).transpose(0, 1))


def expanded(first: nn.Module, second: nn.Module, x: torch.Tensor) -> Any:
    return second(first(x[:, :1].expand(-1, 6)).mean(1, keepdim=True).expand(-1, 6))


def used_for_a_mask(first: nn.Module, second: nn.Module, x: torch.Tensor) -> Any:
    seen = first(x)
    return second(x * (seen > 0))  # no gradient of the first one at all


SILENT = [
    fed_back,
    half_unused,
    sampled_before,
    detached_between,
    overwritten_in_part,
    own_gradient,
    transposed,
    expanded,
    used_for_a_mask,
]


@pytest.mark.parametrize("run", SILENT, ids=lambda run: run.__name__)
def test_layers_used_in_a_way_of_their_own_equal_the_loop(run: Any) -> None:
    assert_sum_is_the_loops(Layers(run), of_sizes(SIZES, (6,)))


def test_layer_differentiated_twice_is_seen_or_refused() -> None:
    """A second derivative of a layer does not pass its output: never a wrong sum without a word."""
    with pytest.raises((TermsError, RuntimeError)):
        run_self_test(Layers(second_derivative), loss, Example(Spec((6,))))


@pytest.mark.parametrize("frozen", ["weight", "bias", "both"])
@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: nn.Linear(5, 4), (5,)),
        (lambda: nn.Linear(5, 4), (7, 5)),
        (lambda: nn.Conv1d(5, 4, 3), (5, 7)),
        (lambda: nn.ConvTranspose2d(4, 6, 2, groups=2), (4, 3, 3)),
        (lambda: nn.GroupNorm(2, 4), (4, 5)),
        (lambda: nn.LayerNorm(5), (3, 5)),
        (lambda: nn.InstanceNorm2d(3, affine=True), (3, 4, 4)),
    ],
)
def test_layer_with_a_part_that_is_frozen_equals_the_loop(build: Any, shape: tuple[int, ...], frozen: str) -> None:
    torch.manual_seed(1)
    layer, before = build(), Scale(shape[-1])
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(frozen not in (name, "both"))
    assert_sum_is_the_loops(nn.Sequential(before, layer, nn.Tanh(), Mean()), of_sizes(SIZES, shape))


def test_parameter_that_is_frozen_later_counts_no_longer() -> None:
    module, records = Layers(fed_back), of_sizes(SIZES, (6,))
    step = step_of(module, norm=10.0)
    whole = step.sum_lot(records, everybody(records))
    module.first.weight.requires_grad_(False)
    rest = step.sum_lot(records, everybody(records))
    assert rest.shape == whole.shape
    assert not rest[:36].any()
    torch.testing.assert_close(rest[36:], whole[36:])
    assert not module.first.weight.requires_grad


def test_images_in_channels_last_memory_equal_the_loop() -> None:
    torch.manual_seed(1)
    inner = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.GroupNorm(3, 6), nn.Conv2d(6, 5, 3, stride=2))
    module = Around(
        inner, lambda layers, x: torch.tanh(layers(x.to(memory_format=torch.channels_last))).sum((1, 2, 3))
    )
    for sizes in (SIZES, torch.ones(4, dtype=torch.long)):
        assert_sum_is_the_loops(module, of_sizes(sizes, (4, 6, 7)))


def test_patients_without_records_add_nothing() -> None:
    module, records = Layers(fed_back), of_sizes(torch.tensor([2, 0, 3, 0]), (6,))
    got = step_of(module).sum_lot(records, everybody(records))
    assert_as_the_loop(module, got, loop_sum(module, records, np.array([0, 2]), 0.3))
    assert not step_of(module).sum_lot(records, np.array([1, 3])).any()


def test_tied_layers_that_are_one_module_equal_the_loop() -> None:
    torch.manual_seed(1)
    tied = nn.Linear(6, 6)
    module = nn.Sequential(tied, nn.Tanh(), tied, nn.Tanh(), nn.LayerNorm(6), tied, Mean())
    assert_sum_is_the_loops(module, of_sizes(SIZES, (6,)))


class InPlaceBackward(torch.autograd.Function):
    """Writes to the gradient that it is given, which others hold as well."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.mul_(1e6)


@pytest.mark.parametrize("kind", ["linear", "convolution", "built at the end", "raw"])
def test_gradient_changed_in_place_after_it_was_taken_is_refused(kind: str) -> None:
    layers: dict[str, Callable[[], nn.Module]] = {
        "linear": lambda: nn.Linear(600, 600),
        "convolution": lambda: nn.Conv1d(600, 600, 1),
        "built at the end": lambda: nn.Conv1d(
            24, 24, 3, padding=1
        ),  # on 25 places: more numbers than in both images
        "raw": lambda: Scale(600),
    }

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.layer = nn.Linear(6, 600), layers[kind]()

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            seen = self.before(features)
            beside: torch.Tensor = InPlaceBackward.apply(seen)  # type: ignore[no-untyped-call]
            shapes = {"convolution": (600, 1), "built at the end": (24, 25)}
            given = seen.unflatten(1, shapes[kind]) if kind in shapes else seen
            found: torch.Tensor = self.layer(given).flatten(1)
            # both summands get one and the same gradient; what ran last is differentiated first
            return torch.tanh(beside + found).sum(1)

    torch.manual_seed(1)
    with pytest.raises(TermsError, match="changed in place"):
        step_of(Shared()).sum_lot(of_sizes(SIZES, (6,)), np.array([1, 3]))  # one record each


@pytest.mark.parametrize("reentrant", [False, True])
def test_layer_run_again_in_the_backward_pass_is_refused(reentrant: bool) -> None:
    def again(first: nn.Module, second: nn.Module, x: torch.Tensor) -> Any:
        def run(features: torch.Tensor) -> torch.Tensor:
            return torch.tanh(first(features))

        found: torch.Tensor = second(checkpoint(run, x.requires_grad_(), use_reentrant=reentrant))
        return found

    with pytest.raises(TermsError, match=r"layer 'first' \(Linear\)"):
        step_of(Layers(again)).sum_lot(of_sizes(SIZES, (6,)), np.array([0, 1]))


def test_failure_in_the_backward_pass_leaves_the_module_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    module, records = Layers(fed_back), of_sizes(SIZES, (6,))
    take, failed = _BatchGradients.take, list[str]()

    def fail_once(self: _BatchGradients, name: str, calls: list[Call]) -> None:
        if name == "first" and not failed:
            failed.append(name)
            raise RuntimeError("out of memory")
        take(self, name, calls)

    monkeypatch.setattr(_BatchGradients, "take", fail_once)
    got = step_of(module).sum_lot(records, everybody(records))
    assert failed == ["first"]
    assert_as_the_loop(module, got, loop_sum(module, records, everybody(records), 0.3))
    assert all(parameter.requires_grad and parameter.grad is None for parameter in module.parameters())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in module.modules())


def test_inputs_and_gradients_are_let_go_while_backward_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where gradients are built, a layer that backward has passed holds neither its input nor its output gradient."""
    torch.manual_seed(1)
    module = nn.Sequential(
        *(layer for _ in range(4) for layer in (nn.Conv1d(3, 3, 3, padding=1), nn.Tanh())), Mean()
    )
    take, held, most = _BatchGradients.take, list[weakref.ref[torch.Tensor]](), list[int]()

    def watch(self: _BatchGradients, name: str, calls: list[Call]) -> None:
        gc.collect()
        most.append(sum(one() is not None for one in held))
        for call in calls:
            assert call.gradient is not None
            held.extend((weakref.ref(call.inputs[0]), weakref.ref(call.gradient)))
        take(self, name, calls)

    monkeypatch.setattr(_BatchGradients, "take", watch)
    step_of(module).sum_lot(of_sizes(SIZES, (3, 20)), np.array([0, 1, 2]))
    assert most == [0] * 4
