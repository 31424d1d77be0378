import pytest
import torch

from models.drugs.deepsynergy import MODEL, DeepSynergyOptions, build
from models.entry import Count
from tests.models.counting import count_parameters

SIZES = {"drug_features": 3, "cell_features": 2}


def draw_inputs(records: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    widths = {"first_drug": 3, "second_drug": 3, "cell": 2}
    return {name: torch.rand(records, width, generator=random) for name, width in widths.items()}


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


@pytest.mark.parametrize(("first", "parameters"), [(8192, 138_084_353), (8182, 137_915_803)])
def test_parameters_are_those_of_three_layers_over_12758_features(first: int, parameters: int) -> None:
    widths = (12_758, first, 4096, 1)
    assert sum((widths[place] + 1) * widths[place + 1] for place in range(3)) == parameters


def test_outputs_are_the_mean_of_both_orders_of_the_authors_network() -> None:
    torch.manual_seed(0)
    network = build(DeepSynergyOptions(hidden=(5, 4), dropout=(0.0, 0.0)), SIZES, ())
    inputs = draw_inputs(6)
    first, second, cell = inputs["first_drug"], inputs["second_drug"], inputs["cell"]
    orders = [network.layers(torch.cat(order, 1))[:, 0] for order in ((first, second, cell), (second, first, cell))]
    torch.testing.assert_close(network(inputs), (orders[0] + orders[1]) / 2)
    assert not torch.allclose(orders[0], orders[1])


def test_order_of_the_drugs_does_not_matter() -> None:
    network = build(DeepSynergyOptions(hidden=(5, 4), dropout=(0.0, 0.0)), SIZES, ())
    inputs = draw_inputs(6)
    turned = {**inputs, "first_drug": inputs["second_drug"], "second_drug": inputs["first_drug"]}
    torch.testing.assert_close(network(inputs), network(turned))


def test_a_record_is_one_loss_whose_gradient_is_the_mean_of_both_orders() -> None:
    """Two records for a pair, as in the paper, would have a gradient of twice that length."""
    torch.manual_seed(0)
    network = build(DeepSynergyOptions(hidden=(5, 4), dropout=(0.0, 0.0)), SIZES, ())
    inputs = draw_inputs(1)
    parameters = list(network.parameters())
    found = torch.autograd.grad(network(inputs).sum(), parameters)
    row = torch.cat([inputs["first_drug"], inputs["second_drug"], inputs["cell"]], 1)
    turned = torch.cat([inputs["second_drug"], inputs["first_drug"], inputs["cell"]], 1)
    both = [torch.autograd.grad(network.layers(each).sum(), parameters) for each in (row, turned)]
    for mine, one, other in zip(found, *both, strict=True):
        torch.testing.assert_close(mine, (one + other) / 2)
