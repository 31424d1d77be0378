import pytest
import torch
from torch.nn import functional

from models.errors import ModelError
from models.layers.denoising import OBJECTIVES, DenoisingAutoencoder, DenoisingStack


@pytest.fixture
def stack() -> DenoisingStack:
    torch.manual_seed(0)
    return DenoisingStack(9, (6, 5, 4), 0.05, ())


@pytest.fixture
def values() -> torch.Tensor:
    return torch.rand(7, 9, generator=torch.Generator().manual_seed(1))


def read_loss(stack: DenoisingStack, values: torch.Tensor) -> torch.Tensor:
    returned = stack.compute(values)
    assert not isinstance(returned, torch.Tensor)
    assert list(returned) == ["own_loss"]
    loss: torch.Tensor = returned["own_loss"]
    return loss


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_loss_of_a_layer_is_the_cross_entropy_of_what_the_layers_below_give(
    stack: DenoisingStack, values: torch.Tensor, layer: int
) -> None:
    stack.eval()
    stack.objective = f"layer-{layer}"
    given = values
    stages = [each for each in stack.autoencoders if isinstance(each, DenoisingAutoencoder)]
    for below in stages[: layer - 1]:
        given = torch.sigmoid(below.encoder(given))
    this = stages[layer - 1]
    restored = torch.sigmoid(this.decoder(torch.sigmoid(this.encoder(given))))
    want = functional.binary_cross_entropy(restored, given, reduction="none").mean(1)
    torch.testing.assert_close(read_loss(stack, values), want)


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_layer_is_trained_alone(stack: DenoisingStack, values: torch.Tensor, layer: int) -> None:
    stack.objective = f"layer-{layer}"
    torch.autograd.backward(read_loss(stack, values).sum())
    moved = {name for name, parameter in stack.named_parameters() if parameter.grad is not None}
    (part,) = OBJECTIVES[stack.objective]
    assert moved == {name for name, _ in stack.named_parameters() if name.startswith(f"{part}.")}
    assert len(moved) == 4


def test_task_trains_every_encoder_and_the_head_and_no_decoder(stack: DenoisingStack, values: torch.Tensor) -> None:
    outputs = stack.compute(values)
    assert isinstance(outputs, torch.Tensor)
    torch.autograd.backward(outputs.sum())
    still = {name for name, parameter in stack.named_parameters() if parameter.grad is None}
    assert still == {name for name, _ in stack.named_parameters() if ".decoder." in name}


def test_corruption_sets_the_asked_part_to_zero_in_training_only() -> None:
    autoencoder = DenoisingAutoencoder(2000, 3, corruption=0.3)
    seen: list[torch.Tensor] = []
    autoencoder.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    values = torch.rand(5, 2000) + 0.1
    torch.manual_seed(4)
    autoencoder.compute_losses(values)
    autoencoder.eval()
    autoencoder.compute_losses(values)
    corrupted, whole = seen
    torch.testing.assert_close(whole, values)
    zero = corrupted == 0
    torch.testing.assert_close(corrupted[~zero], values[~zero])
    # 10,000 draws: three standard deviations of their mean are 0.014
    assert float(zero.double().mean()) == pytest.approx(0.3, abs=0.014)
    assert not torch.equal(zero[0], zero[1])


def test_corruption_is_the_same_from_the_same_seed(stack: DenoisingStack, values: torch.Tensor) -> None:
    stack.objective = "layer-1"
    losses = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        losses.append(read_loss(stack, values))
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


def test_objective_of_a_layer_that_is_not_there_is_refused(values: torch.Tensor) -> None:
    stack = DenoisingStack(9, (6,), 0.05, ())
    stack.objective = "layer-2"
    with pytest.raises(ModelError, match="objective layer-2: the model has 1 layers"):
        stack.compute(values)
