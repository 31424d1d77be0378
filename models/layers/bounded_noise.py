"""Noise behind a layer of bounded sensitivity, with which an attacker of bounded reach cannot change a prediction.

PixelDP (Lecuyer et al. 2019) and randomised smoothing (Cohen et al. 2019) add the same noise in training and when a
certificate is computed. Whatever follows the noise is post-processing. This is a promise to whoever relies on a
prediction; it protects no patient of the training data.

Rules:

* **Sensitivity.** Behind :class:`BoundedConvolution` two images that differ by a, in the L2 norm, differ by at most a:
  the kernel, as a matrix (filters, what a patch has), is divided by an upper bound of its spectral norm, times
  ceil(size / stride), since a pixel is in at most ceil(size / stride)^2 patches. On the input there is nothing to
  bound;
* the bound of the spectral norm is the Schatten norm (tr (WW')^8)^(1/16). It is at most (filters)^(1/16) times the
  spectral norm, smooth, and made of products of matrices, which every format of an exported model has;
* noise is drawn in training, and inside :func:`draw_noise`. Else the layer passes its input on, so that a prediction
  without a certificate is the same every time.

Sources: Lecuyer, Atlidakis, Geambasu, Hsu and Jana 2019, Certified robustness to adversarial examples with differential
privacy (IEEE S&P, arXiv 1802.03471, sections III.B and III.C); Cohen, Rosenfeld and Kolter 2019 (arXiv 1902.02918).
"""

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional

_LEAST = 1e-30  # a kernel of zeros gives zeros
_MARGIN = 1 + 1e-5  # float32 loses less in the norm and the division


class AddedNoise(nn.Module):
    """Add normal noise of one standard deviation to every value.

    Args:
        deviation: of the noise, over what an attack of L2 size 1 on the input can change before it.
    """

    draws_randomly = True
    drawing = False

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Add noise to ``values`` of any shape, in training and while a certificate is computed."""
        if not (self.training or self.drawing):
            return values
        return values + self.deviation * torch.randn_like(values)


class BoundedConvolution(nn.Module):
    """A convolution with no bias that moves its maps by no more than its input is moved, in the L2 norm."""

    def __init__(self, channels: int, filters: int, size: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(filters, channels, size, size))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self._stride, self._padding = stride, (size - stride + 1) // 2
        self._patches = math.ceil(size / stride)  # in one direction, that a pixel is in

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Convolve ``images`` (records, channels, height, width); (records, filters, height / stride, ...)."""
        return functional.conv2d(images, self.compute_kernel(), stride=self._stride, padding=self._padding)

    def compute_kernel(self) -> torch.Tensor:
        """Return the weight divided by the bound of its norm; (filters, channels, size, size)."""
        return self.weight / (self._patches * _MARGIN * bound_spectral_norm(self.weight.flatten(1)))


def bound_spectral_norm(matrix: torch.Tensor) -> torch.Tensor:
    """Bound the spectral norm of ``matrix`` (rows, columns) from above, by its Schatten norm of order 16."""
    gram = matrix @ matrix.T
    trace = gram.diagonal().sum().clamp_min(_LEAST)
    power = gram / trace  # its largest eigenvalue is between 1 / rows and 1: powers neither overflow nor vanish
    for _ in range(3):
        power = power @ power
    eighth: torch.Tensor = power.diagonal().sum().clamp_min(_LEAST)
    return trace.sqrt() * eighth ** (1 / 16)


def compute_deviation(attack: float, epsilon: float, delta: float) -> float:
    """Return the noise that makes a prediction (epsilon, delta)-DP against L2 attacks of size ``attack``.

    The classic Gaussian mechanism, which PixelDP uses: attack * sqrt(2 ln(1.25 / delta)) / epsilon, for an epsilon up
    to 1.

    >>> round(compute_deviation(attack=0.1, epsilon=1.0, delta=0.05), 6)
    0.253727
    """
    return attack * math.sqrt(2 * math.log(1.25 / delta)) / epsilon


def find_noise(module: nn.Module) -> AddedNoise | None:
    """Find the layer of ``module`` that adds the noise; None if it has none."""
    return next((layer for layer in module.modules() if isinstance(layer, AddedNoise)), None)


@contextlib.contextmanager
def draw_noise(noise: AddedNoise) -> Iterator[None]:
    """Draw the noise inside the block, out of training too."""
    noise.drawing = True
    try:
        yield
    finally:
        noise.drawing = False
