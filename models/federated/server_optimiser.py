"""The server-side step of a federated optimiser. Every site computes it alike from the opened mean update.

====================  ==========================================================================================
rule                  x: model, d: mean update, eta: rate, m and v: moments, all element by element
====================  ==========================================================================================
average               x + eta d                                              (FedAvg, McMahan et al. 2017)
momentum              m <- beta1 m + d;  x + eta m                           (FedAvgM, Hsu et al. 2019)
adam                  m <- beta1 m + (1-beta1) d;  v <- beta2 v + (1-beta2) d^2;  x + eta m / (sqrt(v) + tau)
yogi                  as adam, with v <- v - (1-beta2) d^2 sign(v - d^2)     (both Reddi et al. 2021, algorithm 2)
control variate       c <- k c - s (d / r + c), beside any rule              (SCAFFOLD, Karimireddy et al. 2020, II)
moving average        a <- decay a + (1 - decay) x, beside any rule           (Polyak and Juditsky 1992; De et al. 2022)
====================  ==========================================================================================

m begins at 0 and v at tau^2 (Reddi et al.). There is no bias correction, as in the paper.

The control variate c begins at 0. By option II the variate of a site with the update d_i changes by -c - d_i / r,
where r is the reach of its local steps: their number times their rate. The weighted mean of these changes therefore
follows from the mean update, and sites send nothing more for it. s is the weight of the sites that took part over
the weight of all sites; with it, c is always the weighted mean of all sites' own variates. k is 1 unless the weight
of all has grown.

Rules:

* only float64 additions, multiplications, divisions and square roots of numpy, one after the other. IEEE 754 rounds
  each of them correctly, so that every machine computes the same bits;
* the shared state is the model, the moving average, the control variate and the moments, in this order; it is digested
  and stored as one;
* what the round's stage does not train keeps its values, and so do its moments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.parameters.vector import Vector, add_scaled
from privacy.study import Choice, ServerRule, Terms

Ranges = Sequence[tuple[int, int]]
"""Starts and ends of parts of the shared vector."""

_MOMENTS = {ServerRule.AVERAGE: 0, ServerRule.MOMENTUM: 1, ServerRule.ADAM: 2, ServerRule.YOGI: 2}


@dataclass(frozen=True)
class LocalWork:
    """The local work behind a mean update: public numbers, the same for all sites.

    Attributes:
        reach: local steps times their learning rate.
        share: s, the weight of the sites that took part over the weight of all sites, in (0, 1].
        kept: k, the weight of all sites before the round over their weight after it, in [0, 1].
    """

    reach: float
    share: float = 1.0
    kept: float = 1.0


@dataclass(frozen=True)
class Optimiser:
    """A rule with its constants, from the terms.

    With ``decay`` a moving average is kept beside the model, with ``control_variates`` a control variate is shared.
    """

    rule: ServerRule = ServerRule.AVERAGE
    rate: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3
    control_variates: bool = False
    decay: float | None = None

    @property
    def parts(self) -> int:
        """How many vectors of the model's length the shared state has."""
        return 1 + (self.decay is not None) + self.control_variates + _MOMENTS[self.rule]

    def make_initial_state(self, model: Vector) -> Vector:
        """Return the shared state before the first round: model, average, variate and moments; (P * parts,)."""
        parts = [model]
        if self.decay is not None:
            parts.append(model)
        if self.control_variates:
            parts.append(np.zeros_like(model))
        if _MOMENTS[self.rule] >= 1:
            parts.append(np.zeros_like(model))
        if _MOMENTS[self.rule] == 2:
            parts.append(np.full_like(model, np.float64(self.tau) * np.float64(self.tau)))
        return np.concatenate(parts)

    def model_of(self, shared: Vector) -> Vector:
        """Return the model in the shared state; (P,)."""
        return shared[: shared.size // self.parts]

    def average_of(self, shared: Vector) -> Vector:
        """Return the moving average in the shared state; (P,).

        Raises:
            ValueError: the terms keep none.
        """
        if self.decay is None:
            raise ValueError("these terms keep no moving average")
        length = shared.size // self.parts
        return shared[length : 2 * length]

    def variate_of(self, shared: Vector) -> Vector:
        """Return the control variate in the shared state; (P,).

        Raises:
            ValueError: the terms share none.
        """
        if not self.control_variates:
            raise ValueError("these terms share no control variate")
        length, before = shared.size // self.parts, 1 + (self.decay is not None)
        return shared[before * length : (before + 1) * length]

    def advance(
        self, shared: Vector, mean_update: Vector, work: LocalWork | None = None, ranges: Ranges | None = None
    ) -> Vector:
        """Return the shared state after a round with this mean update; (P * parts,).

        Args:
            shared: the state before the round; (P * parts,).
            mean_update: as opened; (P,). If it can be written, it may become the result.
            work: the local work behind the update; needed with control variates.
            ranges: of the parameters that the round's stage trains; all others, and their moments, keep their values.
                None means all.

        Raises:
            ValueError: the update is not of the model's length, or ``work`` is missing.
        """
        model, *others = np.split(shared, self.parts)
        if model.shape != mean_update.shape:
            raise ValueError(f"expected an update of {model.size} values, got {mean_update.size}")
        averages = [others.pop(0)] if self.decay is not None else []
        variates = [self._advance_variate(others.pop(0), mean_update, work)] if self.control_variates else []
        advanced = self._apply_rule(model, others, mean_update)
        if ranges is not None:
            advanced = [_replace_ranges(*pair, ranges) for pair in zip((model, *others), advanced, strict=True)]
        averages = [self._advance_average(each, advanced[0]) for each in averages]
        return _join_parts([advanced[0], *averages, *variates, *advanced[1:]])

    def _advance_average(self, average: Vector, model: Vector) -> Vector:
        decay = np.float64(0.0 if self.decay is None else self.decay)
        return average * decay + model * np.float64(1.0 - decay)

    def _advance_variate(self, variate: Vector, mean_update: Vector, work: LocalWork | None) -> Vector:
        if work is None:
            raise ValueError("control variates need to know the local work behind an update")
        # -(d / r + c) is the weighted mean of the changes of the sites that took part (Karimireddy et al. 2020,
        # option II). Their share of all sites' weight makes it the change of the mean over all sites.
        change = (mean_update / np.float64(work.reach) + variate) * np.float64(work.share)
        return variate * np.float64(work.kept) - change

    def _apply_rule(self, model: Vector, moments: list[Vector], mean_update: Vector) -> list[Vector]:
        if self.rule is ServerRule.AVERAGE:
            into = mean_update if mean_update.flags.writeable else None  # a large model is not copied without need
            return [add_scaled(model, mean_update, self.rate, into)]
        if self.rule is ServerRule.MOMENTUM:
            momentum = moments[0] * np.float64(self.beta1) + mean_update
            return [add_scaled(model, momentum, self.rate), momentum]
        first = moments[0] * np.float64(self.beta1) + mean_update * np.float64(1.0 - self.beta1)
        square = mean_update * mean_update
        if self.rule is ServerRule.ADAM:
            second = moments[1] * np.float64(self.beta2) + square * np.float64(1.0 - self.beta2)
        else:
            second = moments[1] - square * np.float64(1.0 - self.beta2) * np.sign(moments[1] - square)
        direction = first / (np.sqrt(second) + np.float64(self.tau))
        return [add_scaled(model, direction, self.rate), first, second]


def _replace_ranges(old: Vector, new: Vector, ranges: Ranges) -> Vector:
    """Return ``old`` with the values of ``new`` in ``ranges``."""
    mixed = old.copy()
    for start, end in ranges:
        mixed[start:end] = new[start:end]
    return mixed


def _join_parts(parts: list[Vector]) -> Vector:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)  # a large model is not copied without need


def make_optimiser(terms: Terms) -> Optimiser:
    """Make the server-side optimiser of ``terms``; every site makes the same one."""
    training, server = terms.training, terms.training.server
    return Optimiser(
        rule=server.rule,
        rate=training.server_learning_rate,
        beta1=server.beta1,
        beta2=server.beta2,
        tau=server.tau,
        control_variates=training.control_variates,
        decay=terms.release.decay if terms.release.model is Choice.AVERAGE else None,
    )
