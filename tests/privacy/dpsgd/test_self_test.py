"""What the self-test lets through, and the mistakes it names."""

import contextlib
import logging

import pytest
import torch
from torch import nn
from torch.nn import functional

from privacy.dpsgd import Example, Spec, run_self_test
from privacy.errors import TermsError
from tests.privacy.dpsgd.models import MODELS, Mean, built
from tests.privacy.dpsgd.named_models import Boltzmann, own_loss
from tests.privacy.dpsgd.oracle import loss, network

HONEST = [name for name in MODELS if not name.startswith("embedding")]  # words are made of whole numbers below


@pytest.mark.parametrize("name", HONEST)
def test_self_test_of_an_honest_model_passes(name: str) -> None:
    run_self_test(built(name), loss, Example(Spec(MODELS[name][1])))


def test_self_test_of_whole_numbers_and_classes_passes() -> None:
    module = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 3))
    example = Example(Spec((3,), torch.int64, 0, 4), Spec((), torch.int64, 0, 2))
    run_self_test(
        module, lambda outputs, labels: functional.cross_entropy(outputs, labels, reduction="none"), example
    )


def test_self_test_of_a_large_model_passes() -> None:
    """Norms over millions of numbers, where a norm in float32 would be off by more than the tolerance."""
    module = nn.Sequential(nn.Linear(30, 2500), nn.Tanh(), nn.Linear(2500, 2500), nn.Tanh(), Mean())
    run_self_test(module, loss, Example(Spec((30,))))


def test_self_test_with_the_reference_passes() -> None:
    run_self_test(network(), loss, Example(Spec((6,))), method="opacus")


class Borrowing(nn.Module):
    """Uses the weight of a layer outside the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.second(torch.tanh(self.first(features)))
        return functional.linear(found, self.first.weight).sum(1)


class Unseen(nn.Module):
    """Calls a layer's forward and not the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.second(torch.tanh(self.first.forward(features)))
        return found.squeeze(1)


class Centred(nn.Module):
    """Hand-written: subtracts the mean over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.tanh(self.layer(features)).squeeze(1)
        return found - found.mean() if self.training else found


class TimeFirst(nn.Module):
    """Rows of all records at the first time, then at the second: not a record's side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        rows = features.transpose(0, 1).reshape(-1, 3)
        found: torch.Tensor = torch.tanh(self.layer(rows))
        return found.view(features.shape[1], features.shape[0], 2).sum((0, 2))


@pytest.mark.parametrize(
    ("module", "shape", "parameter"),
    [
        (Borrowing(), (6,), "first.weight"),
        (Unseen(), (6,), "first.weight"),
        (Centred(), (6,), "layer.weight"),
        (TimeFirst(), (4, 3), "layer.weight"),
    ],
)
def test_self_test_of_a_gradient_that_would_be_wrong_names_the_parameter(
    module: nn.Module, shape: tuple[int, ...], parameter: str
) -> None:
    torch.manual_seed(0)
    for own in module.parameters():
        nn.init.normal_(own)
    with pytest.raises(
        TermsError, match=rf"parameter '{parameter}' has another gradient than the one that is clipped"
    ):
        run_self_test(module, loss, Example(Spec(shape)))


def test_self_test_of_a_loss_that_looks_at_the_batch_is_refused() -> None:
    def weighted(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return loss(logits, labels) * (1 + labels.mean())  # class weights from the batch

    with pytest.raises(TermsError, match="has another gradient than the one that is clipped"):
        run_self_test(network(), weighted, Example(Spec((6,))))


def test_self_test_of_a_layer_that_mixes_records_is_refused_by_name() -> None:
    with pytest.raises(TermsError, match=r"layer '1' \(BatchNorm1d\) mixes records"):
        run_self_test(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), Mean()), loss, Example(Spec((6,))))


@pytest.mark.parametrize("functional_too", [False, True])
def test_self_test_of_a_model_with_dropout_passes_and_leaves_it_training(functional_too: bool) -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(6, 5), nn.Dropout(), nn.Linear(5, 1), nn.Flatten(0))

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.inner(
                functional.dropout(features, training=self.training and functional_too)
            )
            return found

    module = Dropping()
    module.inner[0].eval()
    state = torch.get_rng_state()
    run_self_test(module, loss, Example(Spec((6,))))
    assert module.training
    assert module.inner[1].training
    assert not module.inner[0].training
    assert torch.equal(torch.get_rng_state(), state)


def test_self_test_leaves_the_module_as_it_was() -> None:
    module = network()
    module.register_buffer("calls", torch.zeros(1))
    before = {name: value.clone() for name, value in module.state_dict().items()}

    def count(*_: object) -> None:
        module.get_buffer("calls").add_(1)

    module.register_forward_hook(count)
    run_self_test(module, loss, Example(Spec((6,))))
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())


class Noisy(nn.Module):
    """Corrupts its input in training, or always."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 1)
        self._always = always

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        noise = torch.randn_like(features) if self.training or self._always else 0.0
        found: torch.Tensor = self.layer(features + noise)
        return found.squeeze(1)


@pytest.mark.parametrize("declared", [False, True])
def test_self_test_of_a_model_that_draws_in_training_passes_and_leaves_it_training(declared: bool) -> None:
    module = Noisy(always=False)
    if declared:
        module.__dict__["draws_randomly"] = True
    run_self_test(module, loss, Example(Spec((6,))))
    assert module.training


def test_self_test_of_a_boltzmann_machine_in_training_passes() -> None:
    module = Boltzmann()
    run_self_test(module, own_loss, Example({"codes": Spec((6,), torch.bool)}, {}))
    assert module.training


def test_self_test_of_a_model_that_draws_in_evaluation_is_refused() -> None:
    with pytest.raises(TermsError, match="random in evaluation mode"):
        run_self_test(Noisy(always=True), loss, Example(Spec((6,))))


def test_self_test_of_a_model_that_divides_by_an_empty_mask_is_refused() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
            late = inputs["mask"][:, 1:].float()
            found: torch.Tensor = self.layer(
                (late * inputs["series"][:, 1:]).sum(1, keepdim=True) / late.sum(1)[:, None]
            )
            return found.squeeze(1)

    example = Example({"series": Spec((2,)), "mask": Spec((2,), torch.bool)})
    with pytest.raises(TermsError, match="gradient of an invented record is not a finite number"):
        run_self_test(Pooled(), loss, example)


def test_self_test_of_an_augmentation_that_mixes_records_is_refused() -> None:
    def mixed(
        features: torch.Tensor, labels: torch.Tensor, draws: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return features + 0.1 * features.flip(0), labels

    def mixed_labels(
        features: torch.Tensor, labels: torch.Tensor, draws: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return features, labels + 0.1 * labels.flip(0)

    def shaken(
        features: torch.Tensor, labels: torch.Tensor, draws: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return features + torch.randn(features.shape, generator=draws), labels

    run_self_test(network(), loss, Example(Spec((6,))), augment=shaken)
    for wrong in (mixed, mixed_labels):
        with pytest.raises(TermsError, match="augmentation of a record changes with another record"):
            run_self_test(network(), loss, Example(Spec((6,))), augment=wrong)


def test_self_test_of_a_model_that_keeps_something_between_batches_is_refused() -> None:
    """Right in one batch, and wrong in parts or after memory ran out."""

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 1)
            self.seen = 0

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            self.seen += len(features) == 2  # parts of two records only
            found: torch.Tensor = self.layer(features)
            return found.squeeze(1) * (1 + self.seen // 50)

    module = Counting()
    module.seen = 46
    with pytest.raises(TermsError, match="has another gradient than the one that is clipped"):
        run_self_test(module, loss, Example(Spec((6,))))


class Kinked(nn.Module):
    """Mixes records where the first feature of the first one is one of ``places``, as rounding beside a kink would."""

    def __init__(self, places: list[float]) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 1)
        self._places = places

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.tanh(self.layer(features)).squeeze(1)
        return found - found.mean() if float(features[0, 0]) in self._places else found


@pytest.mark.parametrize(("turns", "refused"), [([0], False), ([0, 1], True), ([0, 2], True), ([1, 2], False)])
def test_self_test_refuses_what_differs_with_more_than_the_first_records(turns: list[int], refused: bool) -> None:
    example = Example(Spec((6,)))
    draws = [example.draw(4, torch.device("cpu"), turn)[0] for turn in turns]
    assert all(isinstance(inputs, torch.Tensor) for inputs in draws)
    module = Kinked([float(inputs[0, 0]) for inputs in draws])  # type: ignore[index]
    with pytest.raises(TermsError, match="has another gradient") if refused else contextlib.nullcontext():
        run_self_test(module, loss, example)


def test_self_test_says_nothing_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run_self_test(network(), loss, Example(Spec((6,))))
    assert not caplog.records
