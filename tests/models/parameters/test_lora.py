"""Adapters beside frozen layers: exact gradients, and the plain model that they amount to."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save_file
from torch import nn

from models.parameters.flatten import list_trained_parameters
from models.parameters.lora import Adapted, compute_plain_tensors, list_plain_names
from models.parameters.pretrained import load_public_weights
from models.parameters.weights_file import compute_weights_digest
from privacy.dpsgd import DpSgd, Example, Mechanism, Spec, TensorRecords, run_self_test
from privacy.randomness import KeyStream
from tests.models.choices import arranged, convolutional
from tests.models.tables import build_for_table
from tests.privacy.dpsgd.oracle import (
    KEY,
    Table,
    assert_as_the_loop,
    everybody,
    loop_sum,
    loss,
    of_sizes,
    patient_gradients,
)

CONVOLUTIONS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(7, 4), (3, 7)),
    "linear without bias": (lambda: nn.Linear(7, 4, bias=False), (3, 2, 7)),
    "conv1d": (lambda: nn.Conv1d(3, 4, 3, stride=2, padding=2, dilation=2), (3, 3, 11)),
    "conv2d": (lambda: nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding="valid"), (3, 3, 7, 6)),
    "conv2d same": (lambda: nn.Conv2d(3, 4, 3, padding="same", padding_mode="circular"), (3, 3, 7, 6)),
    "conv3d": (lambda: nn.Conv3d(2, 3, (1, 2, 3), padding=1), (2, 2, 4, 5, 4)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_merged_layer_answers_as_the_adapted_one(name: str) -> None:
    make, shape = CONVOLUTIONS[name]
    torch.manual_seed(1)
    base = make()
    adapted = Adapted(copy.deepcopy(base), rank=2, scale=0.7)
    with torch.no_grad():
        base.get_parameter("weight").copy_(torch.from_numpy(adapted.compute_merged_weight()))
    features = torch.randn(shape)
    torch.testing.assert_close(base(features), adapted(features), rtol=1e-5, atol=1e-5)
    assert not np.allclose(adapted.compute_merged_weight(), adapted.base.get_parameter("weight").detach().numpy())


def test_merged_weight_is_the_same_whatever_computes_it() -> None:
    """Against exact arithmetic: a matrix product of a library may round otherwise on another machine."""
    adapted = Adapted(nn.Linear(40, 30), rank=7, scale=0.3)
    weight, down, up = (
        layer.get_parameter("weight").detach().double().numpy()
        for layer in (adapted.base, adapted.down, adapted.up)
    )
    total = weight.copy()
    for row in range(30):
        for column in range(40):
            for rank in range(7):
                total[row, column] += 0.3 * (up[row, rank] * down[rank, column])
    assert adapted.compute_merged_weight().tobytes() == total.astype(np.float32).tobytes()


def network(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    mlp = build_for_table("mlp", {"hidden": [5, 4], "norm": "layer"}, 6)
    match name:
        case "head only":
            return arranged(mlp, trained=["head"]), (6,)
        case "frozen first layer":
            return arranged(mlp, frozen=["layers.0"]), (6,)
        case "adapters":
            return arranged(mlp, adapters={"rank": 3, "scale": 2.0}, trained=["head"]), (6,)
        case "adapter in the middle":
            return arranged(mlp, adapters={"rank": 2, "layers": ["layers.3"]}), (6,)
        case "personal norms":
            return arranged(mlp, personal=["layers.1", "layers.4"]), (6,)
        case "adapters and a personal head":
            return arranged(mlp, adapters={"rank": 2}, personal=["head"]), (6,)
        case "convolution, head only":
            return arranged(convolutional(), trained=["head"]), (2, 6, 6)
        case "convolution, adapters":
            return arranged(convolutional(), adapters={"rank": 2}, trained=["head"]), (2, 6, 6)
    return arranged(convolutional(), adapters={"rank": 2}, trained=["layers.1"], personal=["head"]), (2, 6, 6)


class OfFeatures(nn.Module):
    """A model of named tensors as the loop calls it: on the features alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model({"features": features})
        return logits


def named(records: Table) -> TensorRecords:
    """The same records as the engine hands them to a model: by name."""
    return TensorRecords({"features": records.features}, records.labels, records.patient, records.patients)


NETWORKS = (
    "head only", "frozen first layer", "adapters", "adapter in the middle", "personal norms",
    "adapters and a personal head", "convolution, head only", "convolution, adapters", "convolution, all at once",
)  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_plain_model_answers_as_the_arranged_one(name: str) -> None:
    module, shape = network(name)
    plain = build_for_table("mlp", {"hidden": [5, 4], "norm": "layer"}, 6) if shape == (6,) else convolutional()
    tensors = {key: torch.from_numpy(value) for key, value in compute_plain_tensors(module).items()}
    plain.load_state_dict(tensors, strict=True)
    inputs = {"features": torch.randn(5, *shape)}
    torch.testing.assert_close(plain(inputs), module(inputs), rtol=1e-5, atol=1e-5)
    assert list(list_plain_names(module).values()) == [key for key, _ in plain.named_parameters()]


@pytest.mark.parametrize("name", NETWORKS)
def test_clipped_sum_is_that_of_a_loop_over_what_is_trained(name: str) -> None:
    """Shared and personal parameters are one gradient: a patient's norm is over both."""
    module, shape = network(name)
    records = of_sizes(torch.tensor([2, 1, 5, 1, 3, 2]), shape)
    norm = median_norm(module, records)
    step = DpSgd(module, loss, Mechanism(1.0, 10, norm, 1.0), KeyStream(KEY), "book-keeping")
    got = step.sum_lot(named(records), everybody(records))
    assert got.numel() == sum(parameter.numel() for parameter in list_trained_parameters(module).values())
    assert_as_the_loop(module, got, loop_sum(OfFeatures(module), records, everybody(records), norm))


@pytest.mark.parametrize("name", NETWORKS)
def test_engine_tests_itself_on_adapted_and_frozen_models(name: str) -> None:
    module, shape = network(name)
    run_self_test(module, loss, Example({"features": Spec(shape)}))


def median_norm(module: nn.Module, records: Table) -> float:
    return float(patient_gradients(OfFeatures(module), records, everybody(records)).norm(dim=1).median()) * 1.01


def test_noise_of_a_frozen_layer_is_not_there() -> None:
    """Nobody is drawn: the step is noise alone, on what is trained and nothing else."""
    module = network("head only")[0]
    records = of_sizes(torch.tensor([1, 1]), (6,))
    step = DpSgd(module, loss, Mechanism(1e-9, 10, 1.0, 1.0), KeyStream(KEY))
    assert step.compute_gradient(named(records)).shape == (4 + 1,)


class Positions(nn.Module):
    """A linear layer beside a fixed table, which is part of what it computes."""

    table: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.register_buffer("table", torch.tensor([0.5, -1.0, 2.0]))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.linear(features + self.table)
        return found.squeeze(1)


def test_buffers_are_released_with_the_parameters_and_come_back(tmp_path: Path) -> None:
    module, other, file = Positions(), Positions(), tmp_path / "released.safetensors"
    with torch.no_grad():
        module.table.mul_(3.0)
    save_file(compute_plain_tensors(module), file)
    given = load_public_weights(other, file, compute_weights_digest(file))
    assert given == {"linear.weight", "linear.bias"}
    features = torch.randn(4, 3)
    torch.testing.assert_close(other(features), module(features))
    assert set(load(file.read_bytes())) == set(module.state_dict())
