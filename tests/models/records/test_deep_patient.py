import pytest
import torch
from torch.nn import functional

from models.entry import Count
from models.errors import ModelError
from models.records.deep_patient import MODEL, DeepPatient, DeepPatientOptions, DenoisingAutoencoder, build
from tests.models.counting import count_parameters


@pytest.fixture
def stack() -> DeepPatient:
    torch.manual_seed(0)
    return build(DeepPatientOptions(hidden=(6, 5, 4)), {"features": 9}, ())


@pytest.fixture
def records() -> dict[str, torch.Tensor]:
    return {"features": torch.rand(7, 9, generator=torch.Generator().manual_seed(1))}


def read_loss(stack: DeepPatient, records: dict[str, torch.Tensor]) -> torch.Tensor:
    returned = stack(records)
    assert not isinstance(returned, torch.Tensor)
    assert list(returned) == ["own_loss"]
    loss: torch.Tensor = returned["own_loss"]
    return loss


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_encoders_of_the_paper_have_21_million_parameters() -> None:
    with torch.device("meta"):
        stack = build(DeepPatientOptions(), {"features": 41_072}, (78,))
    parts = {"encoder": 0, "decoder": 0}
    for name, parameter in stack.autoencoders.named_parameters():
        parts[name.split(".")[1]] += parameter.numel()
    assert parts == {"encoder": 21_037_500, "decoder": 21_078_072}


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_loss_of_a_layer_is_the_cross_entropy_of_what_the_layers_below_give(
    stack: DeepPatient, records: dict[str, torch.Tensor], layer: int
) -> None:
    stack.eval()
    stack.objective = f"layer-{layer}"
    values = records["features"]
    stages = [each for each in stack.autoencoders if isinstance(each, DenoisingAutoencoder)]
    for below in stages[: layer - 1]:
        values = torch.sigmoid(below.encoder(values))
    this = stages[layer - 1]
    restored = torch.sigmoid(this.decoder(torch.sigmoid(this.encoder(values))))
    want = functional.binary_cross_entropy(restored, values, reduction="none").mean(1)
    torch.testing.assert_close(read_loss(stack, records), want)


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_layer_is_trained_alone(stack: DeepPatient, records: dict[str, torch.Tensor], layer: int) -> None:
    stack.objective = f"layer-{layer}"
    torch.autograd.backward(read_loss(stack, records).sum())
    moved = {name for name, parameter in stack.named_parameters() if parameter.grad is not None}
    (part,) = MODEL.objectives[stack.objective]
    assert moved == {name for name, _ in stack.named_parameters() if name.startswith(f"{part}.")}
    assert len(moved) == 4


def test_task_trains_every_encoder_and_the_head_and_no_decoder(
    stack: DeepPatient, records: dict[str, torch.Tensor]
) -> None:
    outputs = stack(records)
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


def test_corruption_is_the_same_from_the_same_seed(stack: DeepPatient, records: dict[str, torch.Tensor]) -> None:
    stack.objective = "layer-1"
    losses = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        losses.append(read_loss(stack, records))
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


def test_objective_of_a_layer_that_is_not_there_is_refused(records: dict[str, torch.Tensor]) -> None:
    stack = build(DeepPatientOptions(hidden=(6,)), {"features": 9}, ())
    stack.objective = "layer-2"
    with pytest.raises(ModelError, match="objective layer-2: the model has 1 layers"):
        stack(records)
