"""The parts ``cohort`` and ``secure_aggregation`` of the terms: in which cohorts updates are added, and how sealed.

Rules:

* ``cohort.minimum`` is at least 3 and at least ``colluders + 2``: the sum of a smaller cohort could be read as one
  site's update.
"""

from enum import StrEnum
from typing import Final, Self

from pydantic import Field, model_validator

from privacy.document import Document
from privacy.fields import MAX_SITES, ValueRange


class Cohort(Document):
    """How many sites a round needs, and how many of them may conspire with the coordinator.

    ``participation`` is the chance with which a site's update counts in a round of a study whose unit is the site.
    Each site draws for itself and keeps the result secret. A site that was not drawn seals noise alone.

    ``abandon_after_days`` is how long a site waits for a message of the study before it closes the study's account,
    so that what was set aside is free again.
    """

    minimum: int = Field(ge=1, le=MAX_SITES)
    maximum: int = Field(ge=1, le=MAX_SITES)
    colluders: int = Field(default=1, ge=0, le=MAX_SITES)
    participation: float = Field(default=1.0, gt=0, le=1)
    abandon_after_days: int = Field(default=30, ge=1, le=3650)

    def compute_quorum(self, sites: int) -> int:
        """Return how many of a round's ``sites`` must hold the same model before one of them releases it.

        Honest sites never release different models.
        """
        # any two quorums share more than `colluders` sites, so at least one honest site
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


class SchemeName(StrEnum):
    """How updates are sealed. Every site's policy must allow it; the usual policy allows the first.

    ``open`` is a plain sum, for comparison. ``paillier`` and ``lwe`` put the encryption of Phong et al. (2018) in
    BFV's place, under the same masks, for small models.
    """

    BFV = "bfv"
    OPEN = "open"
    PAILLIER = "paillier"
    LWE = "lwe"


BITS_OF_SUMS: Final = 24
"""The default of ``secure_aggregation.bits`` with distributed noise: there a value that is rounded has the noise of
one share only, and rounding on a coarse grid adds noise."""


class SecureAggregation(Document):
    """How an update becomes integers, and under which scheme they are sealed.

    With local noise a value in [-value_range, value_range] becomes a ``bits``-bit integer by stochastic rounding;
    beyond the range it saturates. With distributed noise ``value_range`` is the largest sum of all sites' clipped
    gradients (or updates) in one coordinate, in clipping norms; beyond it sums wrap around. With ``auto``, the
    default, the range is computed by ``privacy/mechanisms/value_range.py``.
    """

    scheme: SchemeName = SchemeName.BFV
    bits: int = Field(default=16, ge=8, le=24)
    """With distributed noise :data:`BITS_OF_SUMS` unless the terms say otherwise."""
    value_range: ValueRange = None
