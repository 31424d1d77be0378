"""What a study promises: privacy to a patient, protection of a lone update, and how updates are sealed."""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.fields import MAX_SITES, ClippingNorm, Epsilon, ValueRange


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


class Cohort(Document):
    """How many sites a round needs, and how many of them may conspire with the coordinator.

    ``participation`` is the chance with which a site's update counts in a round of a study whose unit is the site:
    each draws for itself and tells nobody; a site that was not drawn seals noise alone.

    ``abandon_after_days`` is how long a site waits for a word of the study before it closes the study's account, so
    that what was set aside is free again.
    """

    minimum: int = Field(ge=1, le=MAX_SITES)
    maximum: int = Field(ge=1, le=MAX_SITES)
    colluders: int = Field(default=1, ge=0, le=MAX_SITES)
    participation: float = Field(default=1.0, gt=0, le=1)
    abandon_after_days: int = Field(default=30, ge=1, le=3650)

    def quorum(self, sites: int) -> int:
        """How many of a round's ``sites`` must hold the same model before one of them releases it.

        Any two quorums share a site that does not conspire: honest sites never release different models.
        """
        return (sites + self.colluders) // 2 + 1

    @model_validator(mode="after")
    def _protects_lone_updates(self) -> Self:
        least = max(3, self.colluders + 2)
        if self.minimum < least:
            raise ValueError(
                f"minimum is {self.minimum}, expected at least {least} (3, and colluders + 2): "
                "in a smaller cohort the sum could be read as one site's update"
            )
        if self.maximum < self.minimum:
            raise ValueError(f"maximum is {self.maximum}, expected at least the minimum of {self.minimum}")
        return self


class Scheme(StrEnum):
    """How updates are sealed; ``open`` is a plain sum, for comparison, which every site's policy must allow."""

    BFV = "bfv"
    OPEN = "open"


BITS_OF_SUMS: Final = 24
"""The default of ``sealing.bits`` where noise is distributed: what is rounded is noised for a sum over all sites, and a
coarse grid costs noise."""


class Sealing(Document):
    """How an update becomes integers, and under which scheme they are sealed.

    With local noise a value in [-value_range, value_range] becomes a ``bits``-bit integer by stochastic rounding;
    beyond the range it saturates. With distributed noise ``value_range`` is the largest sum of all sites' clipped
    gradients (or updates) in one coordinate, in clipping norms; beyond it sums wrap around. ``auto``, the default,
    leaves it to ``privacy/mechanisms/value_range.py``.
    """

    scheme: Scheme = Scheme.BFV
    bits: int = Field(default=16, ge=8, le=24)
    """With distributed noise :data:`BITS_OF_SUMS` unless the terms say otherwise."""
    value_range: ValueRange = None
