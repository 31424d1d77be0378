import itertools

import pytest
import torch

from models.entry import Count
from models.errors import ModelError
from models.layers.boltzmann import BoltzmannMachine
from models.records.dbn import MODEL, DbnOptions, DeepBeliefNetwork, build
from tests.models.counting import count_parameters


def make_machine(visible: int, hidden: int, spread: float = 1.0, seed: int = 0) -> BoltzmannMachine:
    machine = BoltzmannMachine(visible, hidden).double()
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.copy_(spread * torch.randn(parameter.shape, generator=random, dtype=torch.float64))
    return machine


def list_states(units: int) -> torch.Tensor:
    """All states of binary units, (2**units, units)."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=units)), dtype=torch.float64)


def compute_energies(machine: BoltzmannMachine, visible: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """E(v, h) of every pair, (visible states, hidden states)."""
    weight, bias, of_visible = machine.hidden.weight, machine.hidden.bias, machine.visible.weight[0]
    return -(visible @ of_visible)[:, None] - (hidden @ bias)[None] - visible @ weight.T @ hidden.T


def compute_exact_loss(machine: BoltzmannMachine, records: torch.Tensor) -> torch.Tensor:
    """-log p(v) of each record, with the partition function summed over all states; (records,)."""
    visible, hidden = list_states(records.shape[1]), list_states(len(machine.hidden.bias))
    of_records = torch.logsumexp(-compute_energies(machine, records, hidden), dim=1)
    return torch.logsumexp(-compute_energies(machine, visible, hidden).flatten(), dim=0) - of_records


def flatten_gradient(machine: BoltzmannMachine, loss: torch.Tensor) -> torch.Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(machine.parameters()))])


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_parameters_of_the_paper_are_those_of_its_classifier_and_three_visible_biases() -> None:
    with torch.device("meta"):
        network = build(DbnOptions(), {"features": 784}, (10,))
    of_visible = sum(value.numel() for name, value in network.named_parameters() if ".visible." in name)
    assert of_visible == 784 + 500 + 500
    assert sum(value.numel() for value in network.parameters()) - of_visible == 1_665_010


def test_free_energy_is_the_sum_over_all_hidden_states() -> None:
    machine, visible, hidden = make_machine(3, 2), list_states(3), list_states(2)
    want = -torch.logsumexp(-compute_energies(machine, visible, hidden), dim=1)
    torch.testing.assert_close(machine(visible), want)


@pytest.mark.parametrize("steps", [1, 3])
def test_gradient_of_a_record_is_the_statistic_of_contrastive_divergence(steps: int) -> None:
    machine = make_machine(5, 4)
    records = (torch.rand(6, 5, generator=torch.Generator().manual_seed(1)) < 0.5).double()
    torch.manual_seed(2)
    ends = machine.run_chain(records, steps)
    torch.manual_seed(2)
    losses = machine.compute_divergences(records, steps)
    assert not torch.equal(ends, records)
    for place in range(len(records)):
        given = torch.autograd.grad(losses[place], list(machine.parameters()), retain_graph=True)
        first, last = records[place], ends[place]
        of_first, of_last = machine.encode(first[None])[0], machine.encode(last[None])[0]
        # descent on the loss moves W by <v h>0 - <v h>k, b by <h>0 - <h>k, a by <v>0 - <v>k
        torch.testing.assert_close(given[0], torch.outer(of_last, last) - torch.outer(of_first, first))
        torch.testing.assert_close(given[1], of_last - of_first)
        torch.testing.assert_close(given[2][0], last - first)


def test_longer_chains_come_nearer_to_the_gradient_of_the_likelihood() -> None:
    """Measured over three seeds: off by 0.49, 0.26, 0.04 and less than 0.01 of the gradient's length."""
    machine = make_machine(4, 3, spread=2.0, seed=5)
    records = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    want = flatten_gradient(machine, compute_exact_loss(machine, records).mean())
    torch.manual_seed(4)
    off = []
    for steps in (1, 2, 5, 20):
        found = flatten_gradient(machine, machine.compute_divergences(records.repeat(20_000, 1), steps).mean())
        off.append(float((found - want).norm() / want.norm()))
    assert off == sorted(off, reverse=True)
    assert off[0] > 0.3
    assert off[3] < 0.03


def test_chains_of_records_do_not_depend_on_each_other() -> None:
    machine = make_machine(5, 4).eval()
    records = torch.rand(6, 5, dtype=torch.float64)
    together = machine.run_chain(records, 3)
    alone = torch.cat([machine.run_chain(records[place : place + 1], 3) for place in range(6)])
    torch.testing.assert_close(together, alone)


def test_chain_that_meets_no_number_keeps_to_its_record() -> None:
    machine = make_machine(5, 4)
    records = torch.rand(3, 5, dtype=torch.float64)
    records[1] = torch.nan
    losses = machine.compute_divergences(records, 2)
    assert torch.isfinite(losses).tolist() == [True, False, True]


@pytest.fixture
def network() -> DeepBeliefNetwork:
    torch.manual_seed(0)
    return build(DbnOptions(hidden=(6, 5, 4), gibbs_steps=2), {"features": 9}, (3,))


def read_loss(network: DeepBeliefNetwork, values: torch.Tensor) -> torch.Tensor:
    returned = network({"features": values})
    assert not isinstance(returned, torch.Tensor)
    assert list(returned) == ["own_loss"]
    loss: torch.Tensor = returned["own_loss"]
    return loss


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_layer_is_trained_alone(network: DeepBeliefNetwork, layer: int) -> None:
    network.objective = f"layer-{layer}"
    torch.autograd.backward(read_loss(network, torch.rand(7, 9)).sum())
    moved = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    (part,) = MODEL.objectives[network.objective]
    assert moved == {f"{part}.hidden.weight", f"{part}.hidden.bias", f"{part}.visible.weight"}


def test_draws_are_the_same_from_the_same_seed_and_none_are_made_in_evaluation(network: DeepBeliefNetwork) -> None:
    network.objective, values = "layer-2", torch.rand(7, 9)
    losses = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        losses.append(read_loss(network, values))
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])
    network.eval()
    assert torch.equal(read_loss(network, values), read_loss(network, values))


def test_number_of_layers_is_an_option() -> None:
    network = build(DbnOptions(hidden=(6, 4)), {"features": 9}, ())
    assert network({"features": torch.rand(2, 9)}).shape == (2,)
    network.objective = "layer-3"
    with pytest.raises(ModelError, match="objective layer-3: the model has 2 layers"):
        network({"features": torch.rand(2, 9)})
