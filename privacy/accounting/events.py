"""Define the events that a ledger charges for, one class for each mechanism.

Rules:

* An event has public parameters only (noise, rate, steps). Its cost never depends on records.
* Neighbours differ by one patient, added or removed.
* The Rényi curve of an event is known at integer orders. Events compose by adding their curves.
* An event without a sound bound is :class:`Unprotected`. An unknown kind of event is refused.

===================  ===========================================================================================
event                source of its curve
===================  ===========================================================================================
SampledGaussian      Mironov, Talwar and Zhang 2019 (arXiv 1908.10530, section 3.3)
DistributedGaussian  the same, and ``docs/privacy.md`` for the sum of shares
SiteUpdates          ``docs/privacy.md``
Gaussian             Mironov 2017 (arXiv 1702.07476, proposition 7); it also bounds the discrete Gaussian of the
                     same variance (Canonne, Kamath and Steinke 2020, arXiv 2004.00010, theorem 4)
Laplace              Mironov 2017 (proposition 6)
BoundedContribution  ``privacy/accounting/records_per_patient.py``
BandedGaussian       Choquette-Choo et al. 2023 (arXiv 2306.08153, theorem 2); ``docs/privacy.md`` round by round
TreeGaussian         Kairouz et al. 2021 (arXiv 2103.00039, appendix B)
IndividualGaussian   ``privacy/accounting/individual_filter.py`` (Feldman and Zrnic 2021, arXiv 2008.11193, section 4)
===================  ===========================================================================================
"""

from collections.abc import Iterable
from decimal import Decimal, localcontext
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from privacy.accounting.records_per_patient import MOST_RECORDS, compute_several_records_divergence
from privacy.accounting.renyi import (
    DIGITS,
    STORED_ORDERS,
    UNBOUNDED,
    compute_banded_divergence,
    compute_gaussian_divergence,
    compute_laplace_divergence,
    compute_replacement_divergence,
    compute_sampled_gaussian_divergence,
    compute_tree_divergence,
)
from privacy.document import Document

NoiseMultiplier = Annotated[float, Field(ge=0.01, le=1e6)]
"""Standard deviation of the noise over the most one patient can change."""
MOST_LOTS: Final = 10_000
MOST_BANDS: Final = 64
"""A site keeps one vector fewer than that between rounds, each as long as the model."""
_SUM_OF_SHARES: Final = Decimal("1e-24")
"""Bound of what sums of discrete Gaussians, of at least 3 units each in 10^9 coordinates, add to the divergence."""


class SampledGaussian(Document):
    """``steps`` sums over patients drawn independently with ``sampling_rate``, each with Gaussian noise."""

    kind: Literal["sampled-gaussian"] = "sampled-gaussian"
    noise_multiplier: NoiseMultiplier
    sampling_rate: Annotated[float, Field(ge=1e-9, le=1)]
    steps: Annotated[int, Field(ge=1, le=10**9)]

    def compute_renyi_divergence(self, order: int) -> Decimal:
        """Return the Rényi divergence of ``order`` between neighbours, in nats."""
        if self.sampling_rate == 1:
            return compute_gaussian_divergence(self.noise_multiplier, self.steps, order)
        return compute_sampled_gaussian_divergence(self.noise_multiplier, self.sampling_rate, self.steps, order)


class DistributedGaussian(Document):
    """``steps`` sums over sampled patients, with noise that a cohort adds in integer shares.

    ``noise_multiplier`` is the noise that is left against ``colluders`` insiders. The curve is that of the sampled
    Gaussian (``privacy/mechanisms/distributed_noise.py``). A sum of discrete Gaussians is not exactly a discrete
    Gaussian; the difference is added, and is far below a nano unit.
    """

    kind: Literal["distributed-gaussian"] = "distributed-gaussian"
    noise_multiplier: NoiseMultiplier
    sampling_rate: Annotated[float, Field(ge=1e-9, le=1)]
    steps: Annotated[int, Field(ge=1, le=10**9)]
    colluders: Annotated[int, Field(ge=0, le=64)]

    @property
    def central(self) -> SampledGaussian:
        """The central mechanism; this event is at least as private."""
        return SampledGaussian(
            noise_multiplier=self.noise_multiplier, sampling_rate=self.sampling_rate, steps=self.steps
        )

    def compute_renyi_divergence(self, order: int) -> Decimal:
        """Return the Rényi divergence of ``order`` between neighbours, in nats."""
        with localcontext(DIGITS):
            return self.central.compute_renyi_divergence(order) + self.steps * _SUM_OF_SHARES


class SiteUpdates(Document):
    """``steps`` sums of whole sites' updates, clipped to one norm, with noise that a cohort adds in integer shares.

    A site's update counts with chance ``participation``, which the site draws in secret. ``noise_multiplier`` is
    over the clipping norm; it is the noise that is left against ``colluders`` insiders. A patient may change their
    site's whole update, and so move the sum by twice the norm. The curve is the price of that.
    """

    kind: Literal["site-updates"] = "site-updates"
    noise_multiplier: NoiseMultiplier
    participation: Annotated[float, Field(ge=1e-9, le=1)]
    steps: Annotated[int, Field(ge=1, le=10**9)]
    colluders: Annotated[int, Field(ge=0, le=64)]

    @property
    def whole_site(self) -> DistributedGaussian:
        """Event for adding or removing a whole site, which moves the sum by the norm once."""
        return DistributedGaussian(
            noise_multiplier=self.noise_multiplier,
            sampling_rate=self.participation,
            steps=self.steps,
            colluders=self.colluders,
        )

    def compute_renyi_divergence(self, order: int) -> Decimal:
        """Return the Rényi divergence of ``order`` between neighbours, in nats."""
        with localcontext(DIGITS):
            return self.steps * (
                compute_replacement_divergence(self.noise_multiplier, self.participation, order) + _SUM_OF_SHARES
            )


class Gaussian(Document):
    """``count`` vectors of totals to which a patient adds at most 1 (in the L2 norm), each with Gaussian noise.

    Integer totals with discrete Gaussian noise have the same curve.
    """

    kind: Literal["gaussian"] = "gaussian"
    noise_multiplier: NoiseMultiplier
    count: Annotated[int, Field(ge=1, le=10**9)]

    def compute_renyi_divergence(self, order: int) -> Decimal:
        """Return the Rényi divergence of ``order`` between neighbours, in nats."""
        return compute_gaussian_divergence(self.noise_multiplier, self.count, order)


class Laplace(Document):
    """``count`` vectors of totals to which a patient adds at most 1 (in the L1 norm), each with Laplace noise.

    ``scale`` is the noise's scale over that 1: alone, each is 1/``scale``-DP.
    """

    kind: Literal["laplace"] = "laplace"
    scale: NoiseMultiplier
    count: Annotated[int, Field(ge=1, le=10**9)]

    def compute_renyi_divergence(self, order: int) -> Decimal:
        """Return the Rényi divergence of ``order`` between neighbours, in nats."""
        return self.count * compute_laplace_divergence(self.scale, order)


class BoundedContribution(Document):
    """``steps`` sums over *records* drawn independently with ``sampling_rate``, each with Gaussian noise.

    A patient has at most ``records_per_patient`` records, each clipped alone. The noise multiplier is over the most
    that one record can change. The patient's curve is that of a mixture of Gaussians.
    """

    kind: Literal["bounded-contribution"] = "bounded-contribution"
    noise_multiplier: NoiseMultiplier
    sampling_rate: Annotated[float, Field(ge=1e-9, le=1)]
    records_per_patient: Annotated[int, Field(ge=1, le=MOST_RECORDS)]
    steps: Annotated[int, Field(ge=1, le=10**9)]

    @property
    def is_mixture(self) -> bool:
        """Whether the curve is neither that of a Gaussian nor that of a sampled Gaussian."""
        return self.records_per_patient > 1 and self.sampling_rate < 1

    def compute_renyi_divergence(self, order: int) -> Decimal:
        """Return the Rényi divergence of ``order`` between neighbours, in nats; infinite without a bound."""
        if self.sampling_rate == 1:  # all k records are drawn: one Gaussian with k times less noise
            return compute_gaussian_divergence(
                self.noise_multiplier, self.steps * self.records_per_patient**2, order
            )
        if self.records_per_patient == 1:
            return compute_sampled_gaussian_divergence(self.noise_multiplier, self.sampling_rate, self.steps, order)
        if order not in STORED_ORDERS:
            return UNBOUNDED  # integration is slow, so it is done for stored orders only
        with localcontext(DIGITS):
            return self.steps * compute_several_records_divergence(
                self.noise_multiplier, self.sampling_rate, self.records_per_patient, order
            )


class FixedOrder(Document):
    """``steps`` sums over lots that are taken in turn: whole passes over ``lots``, each patient always in the same one.

    What a patient's lot is depends on nothing but the patient, so nobody else moves when one is added or removed.
    """

    noise_multiplier: NoiseMultiplier
    lots: Annotated[int, Field(ge=2, le=MOST_LOTS)]
    steps: Annotated[int, Field(ge=2, le=10**9)]

    @model_validator(mode="after")
    def _whole_passes(self) -> Self:
        if self.steps % self.lots:
            raise ValueError(f"expected whole passes over {self.lots} lots, got {self.steps} steps")
        return self

    @property
    def passes(self) -> int:
        """How often each patient is used."""
        return self.steps // self.lots


class BandedGaussian(FixedOrder):
    """Sums over lots in a fixed order, with Gaussian noise of which the next ``bands`` - 1 sums cancel a part.

    The noise multiplier is that of the independent noise before it is correlated. The noise may be correlated with that
    of earlier events; these have paid for themselves, and this event for what it adds to them.
    """

    kind: Literal["banded-gaussian"] = "banded-gaussian"
    bands: Annotated[int, Field(ge=2, le=MOST_BANDS)]

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.bands > self.lots:
            raise ValueError(
                f"bands is {self.bands}: a patient is used every {self.lots} steps; write at most that"
            )
        return self

    def compute_renyi_divergence(self, order: int) -> Decimal:
        """Return the Rényi divergence of ``order`` between neighbours, in nats."""
        return compute_banded_divergence(self.noise_multiplier, self.bands, self.passes, order)


class TreeGaussian(FixedOrder):
    """Sums over lots in a fixed order, with the Gaussian noise of a binary tree, a new one for each pass."""

    kind: Literal["tree-gaussian"] = "tree-gaussian"

    def compute_renyi_divergence(self, order: int) -> Decimal:
        """Return the Rényi divergence of ``order`` between neighbours, in nats."""
        return compute_tree_divergence(self.noise_multiplier, self.lots, self.passes, order)


class IndividualGaussian(Document):
    """``steps`` sums over all patients of one site, each with Gaussian noise, and with a filter for each patient.

    A patient takes part as long as the squared lengths of their own clipped gradients, in clipping norms, add up to at
    most ``paid_steps``. So everybody pays for so many steps of full length, however many are taken.
    """

    title: ClassVar[str] = "individual Rényi filters, one site"
    kind: Literal["individual-gaussian"] = "individual-gaussian"
    noise_multiplier: NoiseMultiplier
    paid_steps: Annotated[int, Field(ge=1, le=10**9)]
    steps: Annotated[int, Field(ge=1, le=10**9)]

    @model_validator(mode="after")
    def _no_more_than_taken(self) -> Self:
        if self.paid_steps > self.steps:
            raise ValueError(
                f"paid_steps is {self.paid_steps}: nobody can spend more than the {self.steps} steps that are taken"
            )
        return self

    def compute_renyi_divergence(self, order: int) -> Decimal:
        """Return the Rényi divergence of ``order`` between neighbours, in nats."""
        return compute_gaussian_divergence(self.noise_multiplier, self.paid_steps, order)


class Unprotected(Document):
    """Release without noise: no epsilon bounds it."""

    kind: Literal["unprotected"] = "unprotected"

    def compute_renyi_divergence(self, order: int) -> Decimal:
        """Return infinity, at every order."""
        return UNBOUNDED


Bounded = (
    SampledGaussian
    | DistributedGaussian
    | SiteUpdates
    | Gaussian
    | Laplace
    | BoundedContribution
    | BandedGaussian
    | TreeGaussian
    | IndividualGaussian
)
AnyEvent = Bounded | Unprotected
Event = Annotated[AnyEvent, Field(discriminator="kind")]
Events = Iterable[AnyEvent]


def repeat_event(event: AnyEvent, times: int) -> AnyEvent:
    """Return ``times`` such events as one event."""
    match event:
        case SampledGaussian() | DistributedGaussian() | SiteUpdates() | BoundedContribution() | FixedOrder():
            return event.model_copy(update={"steps": event.steps * times})
        case Gaussian() | Laplace():
            return event.model_copy(update={"count": event.count * times})
        case IndividualGaussian():
            both = {"paid_steps": event.paid_steps * times, "steps": event.steps * times}
            return event.model_copy(update=both)
        case Unprotected():
            return event
