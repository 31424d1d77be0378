"""The code of a variational autoencoder: normal distributions, and how far they are from the standard one.

Weights move by noise too, and an exponential of theirs could overflow: so the logarithm of a variance stays
between -8 and 8, smoothly.
"""

from typing import Final

import torch

_WIDEST: Final = 8.0
"""Of the logarithm of a variance, both ways."""


def bound_log_variance(values: torch.Tensor) -> torch.Tensor:
    """Return ``values`` bent smoothly into (-8, 8); the same shape."""
    return _WIDEST * torch.tanh(values / _WIDEST)


def draw_code(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Draw a code from its distribution, so that gradients reach both; (records, code) all."""
    return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)


def compute_divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Compute the divergence of normal distributions from the standard one, summed over the code; (records,).

    It is that of Kullback and Leibler; mean and logarithm of the variance are (records, code).
    """
    return 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance).sum(1)
