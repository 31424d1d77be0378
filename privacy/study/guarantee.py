"""What a study promises: privacy to a patient, protection of a lone update, and how updates are sealed."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.fields import ClippingNorm, Epsilon


class Unit(StrEnum):
    """What is clipped as one: a patient with all records, each record for itself, or a site's whole update.

    Epsilon is the patient's either way: with records, a patient is charged for all that he may have; with sites, for
    whatever his site's update may become without him.
    """

    PATIENT = "patient"
    RECORD = "record"
    SITE = "site"


class Neighbouring(StrEnum):
    """Which two data sets the guarantee compares."""

    ADD_OR_REMOVE_ONE = "add-or-remove-one"


class Placement(StrEnum):
    """Where noise is added: in full at every site, or together, as shares whose sum is one mechanism's noise."""

    LOCAL = "local"
    DISTRIBUTED = "distributed"


class AdaptiveClipping(Document):
    """The clipping norm follows a quantile of the sites' update norms (Andrew et al. 2021).

    With its update every site seals whether its norm was within the clipping norm, noised as the update is:
    ``clipping_norm`` is where it begins, and moves by at most ``rate`` of itself a round.

    Attributes:
        quantile: of the sites' updates, which are to stay unclipped.
        rate: eta, how fast the norm moves.
        share: how far the answer counts beside the update, in clipping norms; a larger one is less noisy, and noises
            the update more.
    """

    quantile: float = Field(default=0.5, gt=0, lt=1)
    rate: float = Field(default=0.2, gt=0, le=0.5)
    share: float = Field(default=0.5, gt=0, le=2)


class Privacy(Document):
    """The promise to a patient of any site, for the whole study."""

    unit: Unit = Unit.PATIENT
    neighbouring: Neighbouring = Neighbouring.ADD_OR_REMOVE_ONE
    placement: Placement = Placement.LOCAL
    epsilon: Epsilon
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    clipping_norm: ClippingNorm | None = None
    adaptive_clipping: AdaptiveClipping | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        given = {"delta": self.delta, "clipping_norm": self.clipping_norm}
        if self.epsilon is None:
            given["adaptive_clipping"] = self.adaptive_clipping  # type: ignore[assignment]
            extra = [name for name, value in given.items() if value is not None]
            if extra:
                raise ValueError(f"without privacy (epsilon: none) there is no {' and no '.join(extra)}")
        else:
            lacking = [name for name, value in given.items() if value is None]
            if lacking:
                raise ValueError(f"epsilon {self.epsilon:g} needs {' and '.join(lacking)} as well")
        if self.adaptive_clipping is not None and self.unit is not Unit.SITE:
            raise ValueError(
                f"adaptive_clipping is for updates of whole sites (unit: site), the unit is {self.unit}"
            )
        return self
