"""The part ``training`` of the terms: steps at a site between two aggregations, and the update of the shared model.

``local_epochs`` may be written in place of ``local_steps``: the number of passes over a site's patients. A pass is
one over the sampling rate steps, and the product is rounded up. It is converted to steps before the terms are
frozen.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.fields import LearningRate, Positive, ServerRate
from privacy.study.augmentation import Augmentation
from privacy.study.stage import Stage


class Weights(StrEnum):
    """How sites count in the average: all alike, or by their public patient counts."""

    UNIFORM = "uniform"
    PATIENTS = "patients"


class ServerRule(StrEnum):
    """How every site moves the shared model by the opened mean update."""

    AVERAGE = "average"
    MOMENTUM = "momentum"
    ADAM = "adam"
    YOGI = "yogi"


class Server(Document):
    """The optimiser of the shared model, which every site runs alike; its rate is ``server_learning_rate``."""

    rule: ServerRule = ServerRule.AVERAGE
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.99, ge=0, lt=1)
    tau: Positive = 1e-3


class StepRule(StrEnum):
    """How a local step follows its gradient, after the noise."""

    PLAIN = "plain"
    ADAM = "adam"


class Step(Document):
    """The optimiser of local steps; its moments begin anew in every round.

    Attributes:
        floor: the least that is left of Adam's second moment once the noise's variance is taken off, in parts of that
            variance; without noise it has no effect.
    """

    rule: StepRule = StepRule.PLAIN
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.99, gt=0, lt=1)
    floor: float = Field(default=0.1, ge=0.001, le=100)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.beta1**2 >= self.beta2:
            raise ValueError(
                f"beta1 is {self.beta1:g} and beta2 {self.beta2:g}: the square of beta1 must be below beta2, or a step "
                "may have any length"
            )
        return self

    def bound_direction(self, noisy: bool) -> float | None:
        """Bound one coordinate of a step's direction; None for plain steps, which are as long as their gradient.

        m is at most k sqrt(v), by Cauchy's inequality over both sums. With noise s^2 is taken from v and floor s^2 is
        left at least, so that sqrt(v) is at most sqrt(1 + 1 / floor) times what m is divided by.
        """
        if self.rule is StepRule.PLAIN:
            return None
        # k after many steps, which is the largest
        most = (1 - self.beta1) / math.sqrt((1 - self.beta2) * (1 - self.beta1**2 / self.beta2))
        return max(1.0, most) * (math.sqrt(1 + 1 / self.floor) if noisy else 1.0)


_PLAIN: Final = Step()


class Schedule(StrEnum):
    """How the learning rate falls over the rounds: operations that every machine rounds alike."""

    CONSTANT = "constant"
    LINEAR = "linear"
    INVERSE_SQRT = "inverse-sqrt"


class Training(Document):
    """Local DP-SGD steps between two aggregations, and the schedule of rounds.

    Attributes:
        accumulate: lots whose noised gradients are averaged into one step; each of them is paid.
        step: how a local step follows its gradient; what follows the noise costs nothing more.
        proximal: mu of the term mu/2 |w - w0|^2, which pulls local steps back to the round's start (FedProx, Li et
            al. 2020).
        control_variates: whether local steps are corrected by the mean gradients of the other sites (SCAFFOLD,
            Karimireddy et al. 2020).
        weight_decay: decoupled: every step also shrinks the parameters by the learning rate times this (Loshchilov and
            Hutter 2019).
        augmentation: how records are varied each time they are trained on.
        views: how many varied copies of each record enter a step; a patient's gradient is their mean, before it is
            clipped (De et al. 2022).
        stages: phases with their own objective, layers and learning rate; with them ``rounds`` and ``learning_rate``
            may be left out.
    """

    rounds: int = Field(ge=0, le=10_000)
    local_steps: int = Field(ge=1, le=100_000)
    accumulate: int = Field(default=1, ge=1, le=1000)
    sampling_rate: float = Field(ge=1e-9, le=1)
    learning_rate: LearningRate
    schedule: Schedule = Schedule.CONSTANT
    step: Step = Field(default=_PLAIN, exclude_if=lambda step: step == _PLAIN)
    proximal: float = Field(default=0.0, ge=0, le=1000)
    control_variates: bool = False
    weight_decay: float = Field(default=0.0, ge=0, le=10)
    augmentation: Augmentation | None = None
    views: int = Field(default=1, ge=1, le=64)
    server_learning_rate: ServerRate = 1.0
    server: Server = Server()
    weights: Weights = Weights.PATIENTS
    stages: tuple[Stage, ...] = Field(default=(), max_length=100)

    @model_validator(mode="before")
    @classmethod
    def _rounds_of_stages(cls, fields: Any) -> Any:
        """With stages, take the number of rounds and the first learning rate from them."""
        stages = fields.get("stages") if isinstance(fields, Mapping) else None
        if not isinstance(stages, list | tuple) or not stages:
            return fields
        plain = [each if isinstance(each, Mapping) else each.model_dump() for each in stages]
        rounds = [each.get("rounds") for each in plain]
        if not all(type(each) is int for each in rounds):
            return fields
        return {"rounds": sum(rounds), "learning_rate": plain[0].get("learning_rate"), **fields}

    @model_validator(mode="before")
    @classmethod
    def _steps_of_epochs(cls, fields: Any) -> Any:
        if not isinstance(fields, Mapping) or "local_epochs" not in fields:
            return fields
        rest = {name: value for name, value in fields.items() if name != "local_epochs"}
        if "local_steps" in rest:
            raise ValueError("local_epochs and local_steps say the same thing twice; keep one of them")
        epochs, rate = fields["local_epochs"], rest.get("sampling_rate")
        for name, value in (("local_epochs", epochs), ("sampling_rate", rate)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 100_000:
                raise ValueError(
                    f"local_epochs: expected a positive number of passes, and a sampling_rate; {name} is {value!r}"
                )
        return {**rest, "local_steps": math.ceil(round(epochs / rate, 9))}

    @model_validator(mode="after")
    def _one_correction(self) -> Self:
        if self.control_variates and self.proximal:
            raise ValueError("control_variates and proximal both correct local steps; keep one of them")
        if self.control_variates and self.step.rule is StepRule.ADAM:
            raise ValueError(
                "control_variates follow from plain steps: write step: {rule: plain}, or leave control_variates out"
            )
        if self.stages:
            if self.control_variates:
                raise ValueError("control_variates: a stage trains some layers only; leave it out with stages")
            if (rounds := sum(stage.rounds for stage in self.stages)) != self.rounds:
                raise ValueError(f"rounds is {self.rounds}, the stages have {rounds}; leave rounds out")
        return self

    @property
    def lots(self) -> int:
        """Lots drawn in a round at one site, which is how often the mechanism is invoked."""
        return self.local_steps * self.accumulate

    def find_stage(self, number: int) -> Stage | None:
        """Find the stage of round ``number``; None without stages."""
        return self._find_place(number)[0]

    def compute_learning_rate(self, number: int) -> float:
        """Compute the learning rate of round ``number``; the first round, of a stage, has the full rate."""
        stage, place = self._find_place(number)
        full, rounds = (self.learning_rate, self.rounds) if stage is None else (stage.learning_rate, stage.rounds)
        match self.schedule:
            case Schedule.CONSTANT:
                return full
            case Schedule.LINEAR:
                return full * (rounds - place + 1) / rounds
            case Schedule.INVERSE_SQRT:
                return full / math.sqrt(place)

    @property
    def largest_learning_rate(self) -> float:
        """The largest learning rate of all rounds."""
        return max((stage.learning_rate for stage in self.stages), default=self.learning_rate)

    def _find_place(self, number: int) -> tuple[Stage | None, int]:
        """Return the stage of round ``number``, and which of its rounds it is, from 1."""
        place = number
        for stage in self.stages:
            if place <= stage.rounds:
                return stage, place
            place -= stage.rounds
        return (self.stages[-1], self.stages[-1].rounds) if self.stages else (None, number)
