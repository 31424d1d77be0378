"""Turn the noised gradients of a round's local steps into directions: plain, or as Adam does.

=========  ===========================================================================================================
rule       g: a step's gradient, n: which step of the round, from 1; element by element
=========  ===========================================================================================================
plain      g                                                                   (stochastic gradient descent)
adam       m <- beta1 m + (1-beta1) g;  v <- beta2 v + (1-beta2) g^2
           (m / (1-beta1^n)) / (sqrt(max(v / (1-beta2^n) - s^2, floor s^2)) + 1e-8)
                                          (Kingma and Ba 2015; with noise Tang, Shpilevskiy and Lecuyer 2024)
=========  ===========================================================================================================

s is the standard deviation of the noise in each coordinate of g: a public number. Noise alone would make v at least
s^2, for every coordinate alike, and Adam would be plain steps of another rate. Without noise s is 0.

*Guarantee*: that of the gradients. A direction is computed from noised gradients and public numbers, so it costs
nothing more (post-processing).

Rules:

* moments begin at zero in every round. A site keeps none between rounds, so that a round that is asked again repeats
  the same steps, and a site that was away begins like the others;
* noise is taken off where it was added to every gradient. With the site as unit, or noise that sites share, local
  steps have none, and s is 0.

Sources: Kingma and Ba 2015, Adam: a method for stochastic optimization; Tang, Shpilevskiy and Lecuyer 2024, DP-AdamBC:
your DP-Adam is actually DP-SGD (unless you apply bias correction), AAAI 38(14).
"""

from __future__ import annotations

import math
from typing import Final

import torch

from privacy.dpsgd import Mechanism
from privacy.study import Step, StepRule, Training

_TAU: Final = 1e-8
"""Keeps a coordinate whose gradients were all zero from dividing by zero; torch.optim.Adam has the same."""


class AdamDirections:
    """The moments of one round's steps.

    Args:
        step: betas and floor.
        noise: s, the standard deviation of the noise in each coordinate of a gradient; 0 without noise.
    """

    def __init__(self, step: Step, noise: float) -> None:
        self._step, self._variance = step, noise * noise
        self._first: torch.Tensor | None = None  # (P,)
        self._second: torch.Tensor | None = None  # (P,)
        self._steps = 0

    def direct(self, gradient: torch.Tensor) -> torch.Tensor:
        """Take in the next gradient, (P,), and return the direction of its step, (P,)."""
        if self._first is None or self._second is None:
            self._first, self._second = torch.zeros_like(gradient), torch.zeros_like(gradient)
        self._steps += 1
        beta1, beta2 = self._step.beta1, self._step.beta2
        self._first.mul_(beta1).add_(gradient, alpha=1 - beta1)
        self._second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        second = self._second / (1 - beta2**self._steps)
        second.sub_(self._variance).clamp_(min=self._step.floor * self._variance)
        return (self._first / (1 - beta1**self._steps)).div_(second.sqrt_().add_(_TAU))


class PlainDirections:
    """Every direction is the gradient itself."""

    def direct(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return ``gradient``, (P,)."""
        return gradient


def make_directions(training: Training, mechanism: Mechanism) -> AdamDirections | PlainDirections:
    """Make the rule of ``training`` for the steps of one round."""
    if training.step.rule is StepRule.PLAIN:
        return PlainDirections()
    return AdamDirections(training.step, _compute_noise(training, mechanism))


def _compute_noise(training: Training, mechanism: Mechanism) -> float:
    """Compute the standard deviation of the noise in each coordinate of a step's gradient."""
    if mechanism.noise_multiplier is None or mechanism.clipping_norm is None:
        return 0.0
    each = mechanism.noise_multiplier * mechanism.clipping_norm / mechanism.expected_lot
    return each / math.sqrt(training.accumulate)
