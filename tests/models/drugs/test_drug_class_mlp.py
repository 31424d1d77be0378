from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.drugs.drug_class_mlp import MODEL, DrugClassMlpOptions, build
from models.entry import Count
from tests.models.counting import count_parameters


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: f"{count.preset}-{count.sizes['features']}")
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


@pytest.mark.parametrize("features", [977, 271])
def test_parameters_of_the_paper_follow_its_layers(features: int) -> None:
    counted = {count.sizes["features"]: count.parameters for count in MODEL.counts if count.preset == "paper"}
    assert counted[features] == 201 * 200 * 2 + (features + 1) * 200 + 201 * 12


def test_outputs_are_those_of_rectifiers_written_out() -> None:
    torch.manual_seed(0)
    module = build(DrugClassMlpOptions(hidden=(7, 5)), {"features": 6}, (3,)).eval()
    values = torch.randn(4, 6)
    weights = [value.detach() for value in module.parameters()]
    first = functional.relu(values @ weights[0].T + weights[1])
    second = functional.relu(first @ weights[2].T + weights[3])
    torch.testing.assert_close(module({"features": values}), second @ weights[4].T + weights[5])


def test_dropout_is_of_training_alone_and_after_every_hidden_layer() -> None:
    torch.manual_seed(0)
    module = build(DrugClassMlpOptions(), {"features": 6}, (12,))
    assert [layer.p for layer in module.layers if isinstance(layer, torch.nn.Dropout)] == [0.2] * 3
    values = {"features": torch.randn(4, 6)}
    assert not torch.equal(module(values), module(values))
    module.eval()
    assert torch.equal(module(values), module(values))


def test_replicates_of_a_hairpin_are_recognised_without_biology(repository: Path) -> None:
    """The nearest well names the hairpin, of which each gene has one: such a score says nothing of drugs."""
    file = repository.parent / "shared/data/l1000/kd_plate.npz"
    if not file.exists():
        pytest.skip("shared/data/l1000 is not here")
    with np.load(file) as arrays:
        names, values = arrays["pert_id"], arrays["signature"]
    kinds, place, counts = np.unique(names, return_inverse=True, return_counts=True)
    chosen = counts[place] == 4  # the wells of one hairpin
    values, place = values[chosen], place[chosen]
    assert len(kinds) > 80
    distances = np.square(values[:, None] - values[None]).sum(2)
    np.fill_diagonal(distances, np.inf)
    assert float((place[distances.argmin(1)] == place).mean()) > 0.9
