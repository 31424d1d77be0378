import itertools

import pytest
import torch

from models.tabular.rbm import Rbm, RbmOptions, build
from models.tasks.reconstruction import ReconstructionTask


@pytest.fixture
def model() -> Rbm:
    torch.manual_seed(0)
    return build(RbmOptions(hidden=4), {"features": 6}, (6,))


def test_only_the_divergence_trains(model: Rbm) -> None:
    """The task's loss is counted, but its gradient is zero: outputs are restored without one."""
    features = torch.rand(7, 6)
    returned = model({"features": features})
    assert not returned["outputs"].requires_grad
    losses = ReconstructionTask(loss="cross-entropy").compute_losses(returned["outputs"], {"features": features})
    both = torch.autograd.grad((losses + returned["own_loss"]).sum(), list(model.parameters()), retain_graph=True)
    alone = torch.autograd.grad(returned["own_loss"].sum(), list(model.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(both, alone, strict=True))


@torch.no_grad()
def test_outputs_are_logits_given_the_mean_of_all_hidden_states(model: Rbm) -> None:
    """The hidden states are summed over, each with the probability that its energy gives it."""
    features = torch.rand(3, 6)
    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))  # (16, hidden)
    weight, bias = model.machine.hidden.weight, model.machine.hidden.bias
    chances = ((features @ weight.T + bias) @ states.T).softmax(1)  # (records, 16)
    want = chances @ states @ weight + model.machine.visible.weight
    torch.testing.assert_close(model({"features": features})["outputs"], want)


def test_divergence_trains_it_to_restore_what_it_was_shown(model: Rbm) -> None:
    """Two patterns: from a squared error of 0.25, of an output that says nothing, to below 0.05."""
    patterns = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]).repeat(20, 1)
    steps = torch.optim.SGD(model.parameters(), lr=0.5)
    torch.manual_seed(2)
    for _ in range(200):
        steps.zero_grad()
        torch.autograd.backward(model({"features": patterns})["own_loss"].mean())
        steps.step()
    restored = model.eval()({"features": patterns})["outputs"].sigmoid()
    assert float((restored - patterns).square().mean()) < 0.05
