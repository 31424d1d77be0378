"""Autoencoders whose units are seldom active: the loss of one record, without any other.

The paper's penalty compares with rho the mean activation of a unit over all patches of all patients. Here it is the
mean over what one record has: its patches for each unit, or its units.

Source: Ng 2011, Sparse autoencoder, CS294A lecture notes, Stanford.
"""

from typing import Final

import torch

_EDGE: Final = 1e-4  # a mean activation nearer to 0 or 1 counts as this


def compute_sparse_losses(
    values: torch.Tensor, restored: torch.Tensor, means: torch.Tensor, target: float, weight: float
) -> torch.Tensor:
    """Compute half the mean squared error of a restoration, plus the penalty of activations that are not sparse.

    The penalty is ``weight`` times the mean over the units of ``KL(target || mean activation)``, of coins with these
    probabilities.

    Args:
        values: what was encoded, (records, ...).
        restored: from the code, (records, ...).
        means: mean activations in (0, 1), (records, units).
        target: rho, how active a unit should be.
        weight: of the penalty.
    """
    errors = (restored - values).square().flatten(1).mean(1) / 2
    return errors + weight * compute_penalties(means, target)


def compute_penalties(means: torch.Tensor, target: float) -> torch.Tensor:
    """Compute the mean over the units of ``KL(target || mean activation)``; (records, units) -> (records,)."""
    inside = means.clamp(_EDGE, 1 - _EDGE)
    rates = torch.tensor(target, dtype=means.dtype, device=means.device)
    divergences = rates * (rates / inside).log() + (1 - rates) * ((1 - rates) / (1 - inside)).log()
    return divergences.mean(1)
