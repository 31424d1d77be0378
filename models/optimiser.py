"""What a federated optimiser does on the server, done alike by every site on the opened mean update.

====================  ==========================================================================================
rule                  x: model, d: mean update, eta: rate, m and v: moments, all element by element
====================  ==========================================================================================
average               x + eta d                                              (FedAvg, McMahan et al. 2017)
momentum              m <- beta1 m + d;  x + eta m                           (FedAvgM, Hsu et al. 2019)
adam                  m <- beta1 m + (1-beta1) d;  v <- beta2 v + (1-beta2) d^2;  x + eta m / (sqrt(v) + tau)
yogi                  as adam, with v <- v - (1-beta2) d^2 sign(v - d^2)     (both Reddi et al. 2021, algorithm 2)
====================  ==========================================================================================

Moments begin at 0, v at tau^2 (Reddi et al.). No bias correction, as in the paper.

Rules:

* plain numpy float64, one operation after the other, addition, multiplication, division and square root only, which
  IEEE 754 rounds correctly: the same bits on every machine;
* moments are part of what is shared: they are digested with the model, and stored with it.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from models.vector import Vector, advance


class Rule(StrEnum):
    """How the shared model follows the mean update."""

    AVERAGE = "average"
    MOMENTUM = "momentum"
    ADAM = "adam"
    YOGI = "yogi"


_MOMENTS = {Rule.AVERAGE: 0, Rule.MOMENTUM: 1, Rule.ADAM: 2, Rule.YOGI: 2}


@dataclass(frozen=True)
class Optimiser:
    """A rule with its constants, from the terms."""

    rule: Rule = Rule.AVERAGE
    rate: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def start(self, model: Vector) -> Vector:
        """What is shared before the first round: the model and the first moments; (P * (1 + moments),)."""
        parts = [model]
        if _MOMENTS[self.rule] >= 1:
            parts.append(np.zeros_like(model))
        if _MOMENTS[self.rule] == 2:
            parts.append(np.full_like(model, np.float64(self.tau) * np.float64(self.tau)))
        return np.concatenate(parts)

    def model_of(self, shared: Vector) -> Vector:
        """The model; (P,)."""
        return shared[: shared.size // (1 + _MOMENTS[self.rule])]

    def advance(self, shared: Vector, mean_update: Vector) -> Vector:
        """What is shared after a round whose mean update was opened.

        Raises:
            ValueError: the update is not of the model's length.
        """
        model, *moments = np.split(shared, 1 + _MOMENTS[self.rule])
        if self.rule is Rule.AVERAGE:
            return advance(model, mean_update, self.rate)
        if model.shape != mean_update.shape:
            raise ValueError(f"expected an update of {model.size} values, got {mean_update.size}")
        if self.rule is Rule.MOMENTUM:
            momentum = moments[0] * np.float64(self.beta1) + mean_update
            return np.concatenate([advance(model, momentum, self.rate), momentum])
        first = moments[0] * np.float64(self.beta1) + mean_update * np.float64(1.0 - self.beta1)
        square = mean_update * mean_update
        if self.rule is Rule.ADAM:
            second = moments[1] * np.float64(self.beta2) + square * np.float64(1.0 - self.beta2)
        else:
            second = moments[1] - square * np.float64(1.0 - self.beta2) * np.sign(moments[1] - square)
        direction = first / (np.sqrt(second) + np.float64(self.tau))
        return np.concatenate([advance(model, direction, self.rate), first, second])
