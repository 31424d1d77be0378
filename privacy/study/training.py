"""The part ``training`` of the terms: steps at a site between two aggregations, and the update of the shared model.

``local_epochs`` may be written in place of ``local_steps``: the number of passes over a site's patients. A pass is
one over the sampling rate steps, and the product is rounded up. It is converted to steps before the terms are
frozen.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.fields import LearningRate, Positive, ServerRate


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


class Schedule(StrEnum):
    """How the learning rate falls over the rounds: operations that every machine rounds alike."""

    CONSTANT = "constant"
    LINEAR = "linear"
    INVERSE_SQRT = "inverse-sqrt"


class Training(Document):
    """Local DP-SGD steps between two aggregations, and the schedule of rounds.

    Attributes:
        accumulate: lots whose noised gradients are averaged into one step; each of them is paid.
        proximal: mu of the term mu/2 |w - w0|^2, which pulls local steps back to the round's start (FedProx, Li et
            al. 2020).
        control_variates: whether local steps are corrected by the mean gradients of the other sites (SCAFFOLD,
            Karimireddy et al. 2020).
        positive_weight: the weight of a record with a positive label in the loss; one with a negative label has 1.
    """

    rounds: int = Field(ge=1, le=10_000)
    local_steps: int = Field(ge=1, le=100_000)
    accumulate: int = Field(default=1, ge=1, le=1000)
    sampling_rate: float = Field(ge=1e-9, le=1)
    learning_rate: LearningRate
    schedule: Schedule = Schedule.CONSTANT
    proximal: float = Field(default=0.0, ge=0, le=1000)
    control_variates: bool = False
    positive_weight: float = Field(default=1.0, ge=0.001, le=1000)
    server_learning_rate: ServerRate = 1.0
    server: Server = Server()
    weights: Weights = Weights.PATIENTS

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
        return self

    @property
    def lots(self) -> int:
        """Lots drawn in a round at one site, which is how often the mechanism is invoked."""
        return self.local_steps * self.accumulate

    def compute_learning_rate(self, number: int) -> float:
        """Compute the learning rate of round ``number``; the first round has the full rate."""
        match self.schedule:
            case Schedule.CONSTANT:
                return self.learning_rate
            case Schedule.LINEAR:
                return self.learning_rate * (self.rounds - number + 1) / self.rounds
            case Schedule.INVERSE_SQRT:
                return self.learning_rate / math.sqrt(number)
