"""The part ``privacy`` of the terms: the guarantee to a patient.

Rules:

* Epsilon is the patient's, whichever unit is clipped. There is one neighbouring relation: add or remove one
  patient.
* Privacy is switched off in one way only, ``epsilon: none``. Then ``delta`` and ``clipping_norm`` are absent.
* Adaptive clipping is for updates of whole sites only.
* Correlated noise says how it is correlated; other noise is not.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from privacy.accounting.events import MOST_BANDS
from privacy.document import Document
from privacy.fields import ClippingNorm, Epsilon


class Unit(StrEnum):
    """What is clipped as one: a patient with all records, each record for itself, or a site's whole update.

    Epsilon is the patient's in all cases. With records, a patient is charged for all that they may have. With
    sites, a patient is charged for any change of their site's update.
    """

    PATIENT = "patient"
    RECORD = "record"
    SITE = "site"


class Neighbouring(StrEnum):
    """Which two data sets the guarantee compares."""

    ADD_OR_REMOVE_ONE = "add-or-remove-one"


class Placement(StrEnum):
    """Where noise is added: in full at every site, or together, as shares whose sum is one mechanism's noise.

    Correlated noise is local, and lots are taken in a fixed order: later steps cancel a part of it.
    """

    LOCAL = "local"
    DISTRIBUTED = "distributed"
    CORRELATED = "correlated"


class Matrix(StrEnum):
    """How the noise of a step depends on that of the steps before."""

    BANDED = "banded"
    TREE = "tree"


class Correlation(Document):
    """How noise is correlated over steps.

    Attributes:
        matrix: over a number of steps, also of earlier rounds, or by a binary tree for each pass.
        bands: over how many steps, for ``banded``; without it over all lots of a pass, and at most the most there may
            be.
    """

    matrix: Matrix = Matrix.BANDED
    bands: int | None = Field(default=None, ge=2, le=MOST_BANDS)

    @model_validator(mode="after")
    def _bands_of_bands(self) -> Self:
        if self.matrix is Matrix.TREE and self.bands is not None:
            raise ValueError("bands is for matrix: banded; leave it out, a tree is over a pass")
        return self


class AdaptiveClipping(Document):
    """The clipping norm follows a quantile of the sites' update norms (Andrew et al. 2021).

    With its update every site seals whether the update's norm was within the clipping norm, with the same noise as
    the update. ``clipping_norm`` is the first value; a round changes it by at most the fraction ``rate``.

    Attributes:
        quantile: the fraction of the sites' updates that are to stay unclipped.
        rate: eta, how fast the norm changes.
        share: how large the answer is beside the update, in clipping norms. A larger answer is less noisy, but adds
            noise to the update.
    """

    quantile: float = Field(default=0.5, gt=0, lt=1)
    rate: float = Field(default=0.2, gt=0, le=0.5)
    share: float = Field(default=0.5, gt=0, le=2)


class Privacy(Document):
    """The guarantee to a patient of any site, for the whole study."""

    unit: Unit = Unit.PATIENT
    neighbouring: Neighbouring = Neighbouring.ADD_OR_REMOVE_ONE
    placement: Placement = Placement.LOCAL
    correlation: Correlation | None = Field(default=None, exclude_if=lambda correlation: correlation is None)
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
        if (self.placement is Placement.CORRELATED) != (self.correlation is not None):
            raise ValueError(
                "placement: correlated and correlation come together; write correlation: {matrix: banded}"
                if self.correlation is None
                else f"correlation is for placement: correlated, the placement is {self.placement}"
            )
        if self.adaptive_clipping is not None and self.unit is not Unit.SITE:
            raise ValueError(
                f"adaptive_clipping is for updates of whole sites (unit: site), the unit is {self.unit}"
            )
        return self
