"""Build the networks on which :mod:`benchmarks.dpsgd` measures a private step, one of each common kind.

Each takes records of ``shape`` and gives two logits a record. Recurrent and attention cells are those of Opacus, whose
per-sample gradients can be seen, for the plain step too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from opacus.layers import DPGRU, DPMultiheadAttention
from torch import nn


@dataclass(frozen=True)
class Network:
    """A network, the shape of a record, the number of records in a batch, and the bar for a private step.

    ``bar`` is how often the time of a plain step a private one may take.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int
    bar: float


def build_mlp() -> nn.Module:
    """Build 512-1024-512-2."""
    return nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 2))


def build_cnn() -> nn.Module:
    """Build three 3 x 3 convolutions 32-64-128 with GroupNorm, each before 2 x 2 pooling."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (32, 64, 128):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(8, width), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 2))


class _Block(nn.Module):
    """Two 3 x 3 convolutions with GroupNorm beside the identity, or beside a strided 1 x 1 convolution."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False),
            nn.GroupNorm(8, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.GroupNorm(8, width),
        )
        same = channels == width and stride == 1
        self.beside = nn.Identity() if same else nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.inner(images) + self.beside(images))


def build_resnet() -> nn.Module:
    """Build a residual network of three stages of two blocks, 16, 32 and 64 channels wide."""
    blocks, channels = list[nn.Module](), 16
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        blocks += [_Block(channels, width, stride), _Block(width, width, 1)]
        channels = width
    stem = (nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.GroupNorm(8, 16), nn.ReLU())
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 2))


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = DPGRU(32, 64, batch_first=True)
        self.last = nn.Linear(64, 2)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(self.cells(series)[0][:, -1])
        return found


def build_gru() -> nn.Module:
    """Build a GRU of 64 units, and a layer on its last state."""
    return _Recurrent()


class _Encoder(nn.Module):
    """One layer of a transformer, normalised first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = DPMultiheadAttention(width, 4, batch_first=True)
        self.inner = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        normal = self.before(series)
        seen = series + self.attention(normal, normal, normal, need_weights=False)[0]
        found: torch.Tensor = seen + self.inner(self.after(seen))
        return found


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(32, 64), _Encoder(64), _Encoder(64))
        self.last = nn.Linear(64, 2)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(self.layers(series).mean(1))
        return found


def build_attention() -> nn.Module:
    """Build a transformer of two layers, 64 wide with 4 heads, and a layer on the mean over time."""
    return _Attention()


NETWORKS: Final = {
    "mlp": Network(build_mlp, (512,), 128, 1.25),
    "cnn": Network(build_cnn, (3, 64, 64), 64, 1.5),
    "resnet": Network(build_resnet, (3, 32, 32), 32, 1.5),
    "gru": Network(build_gru, (24, 32), 64, 1.5),
    "attention": Network(build_attention, (24, 32), 64, 1.5),
}
