import torch
from torch.nn import functional

from models.layers.convolutional_gru import ConvolutionalGatedUnits, MultiDimensionalGatedUnits


def walk_by_hand(units: ConvolutionalGatedUnits, volume: torch.Tensor) -> torch.Tensor:
    """The paper's equations, one gate and one step after the other."""
    width = units.state.weight.shape[1]
    bias = units.input.bias
    assert bias is not None
    into, biases = units.input.weight[:, :, 0].chunk(3), bias.chunk(3)
    from_state, state, found = units.state.weight.chunk(3), torch.zeros(len(volume), width, 5, 6), []
    for step in range(volume.shape[2]):
        z, r, c = (
            functional.conv2d(volume[:, :, step], matrix, own, padding=1)
            for matrix, own in zip(into, biases, strict=True)
        )
        uz, ur, uc = (functional.conv2d(state, matrix, padding=1) for matrix in from_state)
        update, reset = torch.sigmoid(z + 1 + uz), torch.sigmoid(r + 1 + ur)
        state = update * state + (1 - update) * torch.tanh(c + reset * uc)
        found.append(state)
    return torch.stack(found, 2)


def test_walk_follows_the_equations_of_the_paper() -> None:
    units, volume = ConvolutionalGatedUnits(2, 3, 3), torch.rand(2, 2, 4, 5, 6)
    torch.testing.assert_close(units(volume), walk_by_hand(units, volume))


def test_six_walks_go_along_each_axis_and_back() -> None:
    layer, volume = MultiDimensionalGatedUnits(2, 3, 3), torch.rand(2, 2, 4, 5, 6)
    found = []
    for place, (order, back) in enumerate(
        [((0, 1, 2, 3, 4), (0, 1, 2, 3, 4)), ((0, 1, 3, 2, 4), (0, 1, 3, 2, 4)), ((0, 1, 4, 3, 2), (0, 1, 4, 3, 2))]
    ):
        forward, backward = layer.walks[2 * place], layer.walks[2 * place + 1]
        turned = volume.permute(order)
        found += [forward(turned).permute(back), backward(turned.flip(2)).flip(2).permute(back)]
    torch.testing.assert_close(layer(volume), sum(found) / 6)


def test_a_walk_sees_what_is_behind_it_and_nothing_ahead() -> None:
    units, volume = ConvolutionalGatedUnits(1, 2, 3), torch.rand(1, 1, 5, 4, 4)
    other = volume.clone()
    other[:, :, 3] += 1
    changed = (units(volume) != units(other)).flatten(3).any(3)[0].any(0)
    assert changed.tolist() == [False, False, False, True, True]
