"""A small model for every kind of layer, each giving one logit a record."""

from collections.abc import Callable
from typing import Any

import torch
from opacus.layers import DPGRU, DPLSTM, DPRNN, DPMultiheadAttention
from torch import nn
from torch.nn import functional


class Mean(nn.Module):
    """Mean over all axes but the first two, then the sum over the second: one number a record."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.flatten(2).mean(2).sum(1) if features.dim() > 2 else features.sum(1)


class Words(nn.Module):
    """Whole numbers 0..6 from features."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (features.abs() * 3).long() % 7


class Around(nn.Module):
    """A layer inside a function."""

    def __init__(self, layer: nn.Module, call: Callable[[Any, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self._call = call

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self._call(self.layer, features)


class Scale(nn.Module):
    """Raw parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(width))
        self.shift = nn.Parameter(torch.randn(width))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.tanh(features * self.scale + self.shift) * self.scale


class Token(nn.Module):
    """A raw parameter beside layers: a learned token in front of a sequence, as in vision transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.inner = nn.Linear(4, 4)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        together = torch.cat([self.token.expand(len(features), -1, -1), features], dim=1)
        seen: torch.Tensor = self.inner(together)
        return torch.tanh(seen).sum(1)


class MaskedLinear(nn.Linear):
    """A subclass that computes something else than its parent."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        mask = torch.tensor([1.0, 0.0] * (self.in_features // 2), dtype=features.dtype)
        return functional.linear(features, self.weight * mask, self.bias)


class Twice(nn.Module):
    """A branch used on both halves of a record."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        left, right = features[:, :4], features[:, 4:]
        both: torch.Tensor = self.branch(left) * self.branch(right)
        return both.sum(1)


class Sizes(nn.Module):
    """One convolution on two sizes of image."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 4, 3)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        large, small = self.convolution(features), self.convolution(features[:, :, ::2, ::2])
        return torch.tanh(large).mean((1, 2, 3)) + torch.tanh(small).sum((1, 2, 3))


class Crops(nn.Module):
    """Several images a record, each through the same layers."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Tanh())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.image(features.flatten(0, 1))  # (records * crops, 4, ...)
        return found.view(*features.shape[:2], *found.shape[1:]).mean((1, 3, 4)).sum(1)


def attention(time_first: bool, **options: Any) -> nn.Module:
    def call(layer: Any, features: torch.Tensor) -> torch.Tensor:
        given = features.transpose(0, 1) if time_first else features
        attended = layer(given, given, given)[0]
        return torch.tanh(attended.transpose(0, 1) if time_first else attended).sum((1, 2))

    return Around(DPMultiheadAttention(4, 2, batch_first=not time_first, **options), call)


def recurrent(layer: nn.Module) -> nn.Module:
    return Around(layer, lambda inner, features: torch.tanh(inner(features)[0]).sum((1, 2)))


def _image(layers: Callable[[], list[nn.Module]]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*layers(), nn.Tanh(), Mean())


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0)), (8,)),
    "linear without bias": (lambda: nn.Sequential(nn.Linear(8, 5, bias=False), nn.Tanh(), Mean()), (8,)),
    "linear on short sequences": (lambda: nn.Sequential(nn.Linear(40, 30), nn.Tanh(), Mean()), (3, 40)),
    "linear on long sequences": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), Mean()), (9, 4)),
    "linear on grids": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), Mean()), (3, 2, 4)),
    "linear before relu in place": (
        lambda: nn.Sequential(
            nn.Linear(8, 5), nn.ReLU(inplace=True), nn.Linear(5, 4), nn.ReLU(inplace=True), Mean()
        ),
        (8,),
    ),
    "embedding": (lambda: nn.Sequential(Words(), nn.Embedding(7, 4), nn.Tanh(), Mean()), (5,)),
    "embedding of one word": (
        lambda: nn.Sequential(Words(), nn.Flatten(0), nn.Embedding(7, 4), nn.Tanh(), Mean()),
        (1,),
    ),
    "embedding with padding": (lambda: nn.Sequential(Words(), nn.Embedding(7, 4, 0), nn.Tanh(), Mean()), (3, 2)),
    "conv1d": (_image(lambda: [nn.Conv1d(2, 4, 3, stride=2, padding=1)]), (2, 9)),
    "conv2d": (_image(lambda: [nn.Conv2d(2, 4, 3)]), (2, 7, 6)),
    "conv2d, many channels": (_image(lambda: [nn.Conv2d(20, 24, 3, padding=1)]), (20, 3, 3)),
    "conv2d, grouped, many channels": (_image(lambda: [nn.Conv2d(20, 24, 3, padding=1, groups=2)]), (20, 2, 3)),
    "conv2d, large": (_image(lambda: [nn.Conv2d(16, 16, 3, padding=1)]), (16, 32, 32)),
    "conv2d, large, grouped": (
        _image(lambda: [nn.Conv2d(32, 32, 3, padding=2, dilation=2, groups=2)]),
        (32, 24, 24),
    ),
    "conv2d, grouped": (
        _image(lambda: [nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(2, 1), groups=2)]),
        (4, 7, 6),
    ),
    "conv2d, dilated": (_image(lambda: [nn.Conv2d(2, 4, 3, stride=2, dilation=2, padding=3)]), (2, 9, 8)),
    "conv2d, same": (_image(lambda: [nn.Conv2d(2, 4, (3, 5), padding="same")]), (2, 5, 6)),
    "conv2d, circular": (_image(lambda: [nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular")]), (2, 5, 6)),
    "conv2d without bias": (_image(lambda: [nn.Conv2d(2, 4, 3, bias=False)]), (2, 5, 6)),
    "conv3d": (_image(lambda: [nn.Conv3d(2, 4, (2, 3, 2), stride=(1, 2, 1), padding=1)]), (2, 4, 5, 4)),
    "transposed conv1d": (
        _image(lambda: [nn.ConvTranspose1d(2, 4, 3, stride=2, padding=1, output_padding=1)]),
        (2, 6),
    ),
    "transposed conv2d": (_image(lambda: [nn.ConvTranspose2d(4, 6, 3, stride=2, dilation=2, groups=2)]), (4, 5, 4)),
    "transposed conv2d, many channels": (_image(lambda: [nn.ConvTranspose2d(24, 20, 2, stride=2)]), (24, 2, 3)),
    "transposed conv2d, long output": (
        _image(lambda: [nn.ConvTranspose2d(4, 4, 3, stride=2, dilation=3, output_padding=2)]),
        (4, 3, 3),
    ),
    "transposed conv2d, large": (
        _image(lambda: [nn.ConvTranspose2d(16, 16, 3, stride=2, padding=1)]),
        (16, 24, 24),
    ),
    "transposed conv3d": (_image(lambda: [nn.ConvTranspose3d(2, 3, 2, stride=2)]), (2, 3, 2, 3)),
    "group norm": (_image(lambda: [nn.Conv2d(2, 6, 3), nn.GroupNorm(3, 6)]), (2, 6, 5)),
    "group norm of vectors": (_image(lambda: [nn.Linear(6, 6), nn.GroupNorm(2, 6)]), (6,)),
    "layer norm": (lambda: nn.Sequential(nn.LayerNorm(6), nn.Tanh(), Mean()), (6,)),
    "layer norm on sequences": (lambda: nn.Sequential(nn.LayerNorm((3, 4)), nn.Tanh(), Mean()), (5, 3, 4)),
    "instance norm": (_image(lambda: [nn.InstanceNorm2d(3, affine=True)]), (3, 5, 4)),
    "instance norm 1d": (_image(lambda: [nn.InstanceNorm1d(3, affine=True)]), (3, 5)),
    "lstm": (lambda: recurrent(DPLSTM(4, 3, batch_first=True)), (5, 4)),
    "lstm, two layers, two directions": (
        lambda: recurrent(DPLSTM(4, 3, num_layers=2, bidirectional=True, batch_first=True)),
        (4, 4),
    ),
    "gru": (lambda: recurrent(DPGRU(4, 3, batch_first=True)), (5, 4)),
    "rnn": (lambda: recurrent(DPRNN(4, 3, batch_first=True)), (5, 4)),
    "attention": (lambda: attention(time_first=False), (5, 4)),
    "attention, time first": (lambda: attention(time_first=True), (5, 4)),
    "attention with learned keys": (lambda: attention(time_first=True, add_bias_kv=True), (5, 4)),
    "raw parameters": (lambda: nn.Sequential(nn.Linear(6, 4), Scale(4), nn.Linear(4, 3), Mean()), (6,)),
    "raw parameters beside layers": (lambda: nn.Sequential(nn.Linear(3, 4), Token(), Mean()), (5, 3)),
    "two inputs": (lambda: Around(nn.Bilinear(4, 4, 3), lambda layer, x: layer(x[:, :4], x[:, 4:]).sum(1)), (8,)),
    "prelu": (lambda: nn.Sequential(nn.Linear(6, 4), nn.PReLU(4), Mean()), (6,)),
    "rms norm": (lambda: nn.Sequential(nn.Linear(6, 4), nn.RMSNorm(4), nn.Tanh(), Mean()), (6,)),
    "a subclass that computes something else": (lambda: nn.Sequential(MaskedLinear(6, 4), nn.Tanh(), Mean()), (6,)),
    "a branch used twice": (Twice, (8,)),
    "a convolution on two sizes": (Sizes, (2, 9, 8)),
    "several images a record": (Crops, (3, 2, 6, 5)),
    "dropout in evaluation": (
        lambda: nn.Sequential(nn.Linear(6, 4), nn.Dropout(), nn.Linear(4, 3), Mean()).eval(),
        (6,),
    ),
}


def built(name: str) -> nn.Module:
    """The model ``name``, with the same parameters each time."""
    torch.manual_seed(3)
    return MODELS[name][0]()
