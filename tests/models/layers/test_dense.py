import numpy as np
import torch
from torch import nn

from models.layers.dense import list_hidden_layers


def test_hidden_layers_follow_the_equations() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*list_hidden_layers((3, 5, 2), 0.5, nn.Tanh)).eval()
    values = torch.randn(4, 3)
    expected = values.numpy()
    for place in (0, 3):
        layer = network[place]
        assert isinstance(layer, nn.Linear)
        expected = np.tanh(expected @ layer.weight.detach().numpy().T + layer.bias.detach().numpy())
    np.testing.assert_allclose(network(values).detach().numpy(), expected, atol=1e-6)
    assert network.train()(values).eq(0).any()
    assert list_hidden_layers((3,), 0.5) == []
