"""What a mechanism costs: its Renyi divergence curve, and what that means in epsilon.

Rules:

* A mechanism is an event with public parameters only (noise, rate, steps); its cost never depends on records.
* Neighbours differ by one patient, added or removed. The curve is known at integer orders; events compose by adding
  their curves. An event without a sound bound is :class:`Unprotected`; an unknown one is refused.
* Every order gives a sound epsilon, and a study may take the best of them. Orders 2 to 256 are looked at, and where
  256 is the best of these, as it is for a small epsilon, the larger ones up to 16384 too.
* A book writes down each event's curve at the orders of ``CARRIED``, where budgets may be kept.
* Budgets are kept in integers, in nano (1e-9) units of Renyi divergence at one order. A charge is rounded up, a
  limit down: every rounding is against the spender.
* Arithmetic is decimal with 50 digits (``exp`` and ``ln`` correctly rounded), so that a hospital and its auditor
  get the same integers on every machine; nothing is left to a platform's floating point.

Sources: the Poisson-sub-sampled Gaussian at integer orders, Mironov, Talwar and Zhang 2019 (arXiv 1908.10530,
section 3.3); the Gaussian and Laplace mechanisms, Mironov 2017 (arXiv 1702.07476, propositions 7 and 6), of which the
former bounds the discrete Gaussian of the same variance too (Canonne, Kamath and Steinke 2020, arXiv 2004.00010,
theorem 4); from Renyi divergence to epsilon, the same paper's proposition 12, also Balle et al. 2020 (arXiv
1905.09982, theorem 21); several records of one patient, ``privacy/accounting/records_per_patient.py``; whole sites'
updates, ``docs/privacy.md``.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, ROUND_FLOOR, Context, Decimal, localcontext
from functools import lru_cache
from math import inf, isqrt, nextafter
from typing import Annotated, Final, Literal

from pydantic import Field

from privacy.accounting.records_per_patient import MOST_RECORDS, several_records
from privacy.document import Document
from privacy.errors import BudgetError

ORDERS: Final = range(2, 257)
LARGER: Final = tuple(round(256 * 2 ** (quarter / 4)) for quarter in range(1, 25))
"""Up to 16384, a quarter of an octave apart: the best of them is within a hundredth of the best order between."""

CARRIED: Final = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256)
NANO: Final = 10**9
AT_LEAST: Final = 2**53 - 1
UNBOUNDED: Final = Decimal("Infinity")

NoiseMultiplier = Annotated[float, Field(ge=0.01, le=1e6)]
"""Standard deviation of the noise over the most one patient can change."""

_DIGITS: Final = Context(prec=50, Emax=MAX_EMAX, Emin=MIN_EMIN)
_SUM_OF_SHARES: Final = Decimal("1e-24")
"""More than a sum of discrete Gaussians of at least 3 units each, in 10^9 coordinates, differs from one."""
_GRID: Final = 10**6  # a calibrated noise multiplier is a whole number of millionths
_MOST_NOISE: Final = 10**6 * _GRID  # of NoiseMultiplier
_ALL: Final = (ORDERS, *(LARGER[first : first + 4] for first in range(0, len(LARGER), 4)))  # octave by octave
_OF_SEVERAL: Final = ((2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32), (40, 48, 64, 96, 128))


class SampledGaussian(Document):
    """``steps`` sums over patients drawn independently with ``sampling_rate``, each with Gaussian noise."""

    kind: Literal["sampled-gaussian"] = "sampled-gaussian"
    noise_multiplier: NoiseMultiplier
    sampling_rate: Annotated[float, Field(ge=1e-9, le=1)]
    steps: Annotated[int, Field(ge=1, le=10**9)]

    def rho(self, order: int) -> Decimal:
        """Renyi divergence of ``order`` between neighbours, in nats."""
        if self.sampling_rate == 1:
            return _gaussian(self.noise_multiplier, self.steps, order)
        return _sampled_gaussian(self.noise_multiplier, self.sampling_rate, self.steps, order)


class DistributedGaussian(Document):
    """``steps`` sums over sampled patients, with noise that the sites of a cohort add together in integer shares.

    ``noise_multiplier`` is what ``colluders`` insiders still face; the curve is the sampled Gaussian's
    (``privacy/mechanisms/distributed_noise.py``), and what sums of discrete Gaussians differ from one is far below
    a nano unit.
    """

    kind: Literal["distributed-gaussian"] = "distributed-gaussian"
    noise_multiplier: NoiseMultiplier
    sampling_rate: Annotated[float, Field(ge=1e-9, le=1)]
    steps: Annotated[int, Field(ge=1, le=10**9)]
    colluders: Annotated[int, Field(ge=0, le=64)]

    @property
    def central(self) -> SampledGaussian:
        """The central mechanism that it is not weaker than."""
        return SampledGaussian(
            noise_multiplier=self.noise_multiplier, sampling_rate=self.sampling_rate, steps=self.steps
        )

    def rho(self, order: int) -> Decimal:
        """Renyi divergence of ``order`` between neighbours, in nats."""
        with localcontext(_DIGITS):
            return self.central.rho(order) + self.steps * _SUM_OF_SHARES


class SiteUpdates(Document):
    """``steps`` sums of whole sites' updates, clipped to one norm, with noise that a cohort adds together in shares.

    A site's update counts with chance ``participation``, which the site draws in secret. ``noise_multiplier`` is over
    the clipping norm, and what ``colluders`` insiders still face. A patient may change all of his site's update, so
    move the sum by twice the norm: what that costs him is the curve.
    """

    kind: Literal["site-updates"] = "site-updates"
    noise_multiplier: NoiseMultiplier
    participation: Annotated[float, Field(ge=1e-9, le=1)]
    steps: Annotated[int, Field(ge=1, le=10**9)]
    colluders: Annotated[int, Field(ge=0, le=64)]

    @property
    def whole_site(self) -> DistributedGaussian:
        """What adding or removing a whole site costs: that moves the sum by the norm once."""
        return DistributedGaussian(
            noise_multiplier=self.noise_multiplier,
            sampling_rate=self.participation,
            steps=self.steps,
            colluders=self.colluders,
        )

    def rho(self, order: int) -> Decimal:
        """Renyi divergence of ``order`` between neighbours, in nats."""
        with localcontext(_DIGITS):
            return self.steps * (_replaced(self.noise_multiplier, self.participation, order) + _SUM_OF_SHARES)


class Gaussian(Document):
    """``count`` vectors of totals to which a patient adds at most 1 (in the L2 norm), each with Gaussian noise.

    Integer totals with discrete Gaussian noise have the same curve.
    """

    kind: Literal["gaussian"] = "gaussian"
    noise_multiplier: NoiseMultiplier
    count: Annotated[int, Field(ge=1, le=10**9)]

    def rho(self, order: int) -> Decimal:
        """Renyi divergence of ``order`` between neighbours, in nats."""
        return _gaussian(self.noise_multiplier, self.count, order)


class Laplace(Document):
    """``count`` vectors of totals to which a patient adds at most 1 (in the L1 norm), each with Laplace noise.

    ``scale`` is the noise's scale over that 1: alone, each is 1/``scale``-DP.
    """

    kind: Literal["laplace"] = "laplace"
    scale: NoiseMultiplier
    count: Annotated[int, Field(ge=1, le=10**9)]

    def rho(self, order: int) -> Decimal:
        """Renyi divergence of ``order`` between neighbours, in nats."""
        return self.count * _laplace(self.scale, order)


class BoundedContribution(Document):
    """``steps`` sums over *records* drawn independently with ``sampling_rate``, each with Gaussian noise.

    A patient has at most ``records_per_patient`` of them, each clipped alone: the noise multiplier is over the most
    that one record can change. What it costs the patient is a mixture of Gaussians.
    """

    kind: Literal["bounded-contribution"] = "bounded-contribution"
    noise_multiplier: NoiseMultiplier
    sampling_rate: Annotated[float, Field(ge=1e-9, le=1)]
    records_per_patient: Annotated[int, Field(ge=1, le=MOST_RECORDS)]
    steps: Annotated[int, Field(ge=1, le=10**9)]

    @property
    def is_mixture(self) -> bool:
        """Whether it is neither one Gaussian nor a sampled one."""
        return self.records_per_patient > 1 and self.sampling_rate < 1

    def rho(self, order: int) -> Decimal:
        """Renyi divergence of ``order`` between neighbours, in nats; infinite where no bound is computed."""
        if self.sampling_rate == 1:  # all his records are drawn: once Gaussian noise, that many times smaller
            return _gaussian(self.noise_multiplier, self.steps * self.records_per_patient**2, order)
        if self.records_per_patient == 1:
            return _sampled_gaussian(self.noise_multiplier, self.sampling_rate, self.steps, order)
        if order not in CARRIED:
            return UNBOUNDED  # computed by integration, which is slow
        with localcontext(_DIGITS):
            return self.steps * several_records(
                self.noise_multiplier, self.sampling_rate, self.records_per_patient, order
            )


class Unprotected(Document):
    """Something leaves without noise: no epsilon bounds it."""

    kind: Literal["unprotected"] = "unprotected"

    def rho(self, order: int) -> Decimal:
        """Infinity, at every order."""
        return UNBOUNDED


Bounded = SampledGaussian | DistributedGaussian | SiteUpdates | Gaussian | Laplace | BoundedContribution
AnyEvent = Bounded | Unprotected
Event = Annotated[AnyEvent, Field(discriminator="kind")]
Events = Iterable[AnyEvent]


def charge(event: Bounded, order: int) -> int:
    """What ``event`` costs at ``order``, in nano units of Renyi divergence, rounded up.

    Raises:
        BudgetError: no bound of the event is known at this order.
    """
    return _charge(event, order)


def carried_at(event: Bounded, order: int) -> int:
    """:func:`charge`, or ``AT_LEAST`` where no bound is known."""
    return AT_LEAST if event.rho(order) == UNBOUNDED else charge(event, order)


def carried(event: AnyEvent, times: int = 1) -> tuple[int, ...] | None:
    """The curve a book writes down: ``times`` what ``event`` costs at each order of ``CARRIED``.

    ``AT_LEAST`` stands for itself and anything above it (no grant has so much). None if nothing bounds the event.
    """
    if isinstance(event, Unprotected):
        return None
    with localcontext(_DIGITS):
        return tuple(
            AT_LEAST if (rho := event.rho(order)) * NANO * times >= AT_LEAST else times * _rounded_charge(rho)
            for order in CARRIED
        )


def repeated(event: AnyEvent, times: int) -> AnyEvent:
    """``times`` such events as one."""
    match event:
        case SampledGaussian() | DistributedGaussian() | SiteUpdates() | BoundedContribution():
            return event.model_copy(update={"steps": event.steps * times})
        case Gaussian() | Laplace():
            return event.model_copy(update={"count": event.count * times})
        case Unprotected():
            return event


def limit(epsilon: float, delta: float, order: int) -> int:
    """The divergence at ``order`` that (epsilon, delta) has room for, in nano units, rounded down.

    Not positive when the conversion alone takes more than ``epsilon``.
    """
    if not 0 < epsilon < inf:
        raise BudgetError(f"expected a finite epsilon above 0, got {epsilon:g}")
    with localcontext(_DIGITS):
        room = (Decimal(epsilon) - conversion(delta, order)) * NANO
        return int(room.to_integral_value(ROUND_FLOOR))


def conversion(delta: float, order: int) -> Decimal:
    """What turning divergence at ``order`` into epsilon at ``delta`` adds (proposition 12)."""
    if not 0 < delta < 1:
        raise BudgetError(f"expected 0 < delta < 1, got {delta:g}")
    if not ORDERS[0] <= order <= LARGER[-1]:
        raise BudgetError(f"expected an order from {ORDERS[0]} to {LARGER[-1]}, got {order}")
    return _conversion(delta, order)


@lru_cache(maxsize=4096)
def _conversion(delta: float, order: int) -> Decimal:
    with localcontext(_DIGITS):
        a = Decimal(order)
        return ((a - 1) / a).ln() - (Decimal(delta).ln() + a.ln()) / (a - 1)


def epsilon(events: Events, delta: float, orders: Sequence[int] = ORDERS) -> float:
    """The epsilon at ``delta`` of all ``events`` together, rounded up; infinite if one is unprotected.

    *Guarantee*: (epsilon, delta)-DP for a study whose events were fixed in advance: the best of ``orders`` may
    be taken afterwards, since the whole curve holds. For events chosen in view of results, use a budget's filter.
    """
    return _rounded_up(_by_order(events, delta, orders)[0])


def best_order(events: Events, delta: float, orders: Sequence[int] = ORDERS) -> int:
    """The order at which ``events`` have the smallest epsilon at ``delta``."""
    return _by_order(events, delta, orders)[1]


def is_cut_short(events: Events, delta: float) -> bool:
    """Whether ``events`` would cost less at an order beyond the largest that is looked at."""
    events = list(events)
    return best_order(events, delta) == _octaves(events)[-1][-1]


def noise_multiplier(
    epsilon: float,
    delta: float,
    sampling_rate: float,
    steps: int,
    rounds: int = 1,
    orders: Sequence[int] = ORDERS,
    records: int = 1,
) -> float:
    """The least noise multiplier with which ``rounds`` times ``steps`` sampled Gaussian steps fit in a budget.

    Rounded up to a millionth. The rounds are priced one by one as a book charges them, so what is calibrated to
    an epsilon is never refused by a grant of that epsilon at the same order. With ``sampling_rate`` 1 it
    calibrates Gaussian totals.

    Args:
        epsilon: to stay within.
        delta: to stay within.
        sampling_rate: each patient's chance to be in a step, 0 < q <= 1.
        steps: noisy steps in one round.
        rounds: how often such a round is charged.
        orders: where to look; one order for a budget that is kept at that order.
        records: how many records a patient may have, where records are sampled one by one; then carried orders
            up to 32 are looked at, and those up to 128, which are slow, where 32 is the best.

    Raises:
        BudgetError: no noise multiplier up to a million is enough.
    """
    slow = records > 1 and sampling_rate < 1

    def with_noise(noise: float) -> Bounded:
        if records == 1:
            return SampledGaussian(noise_multiplier=noise, sampling_rate=sampling_rate, steps=steps)
        return BoundedContribution(
            noise_multiplier=noise, sampling_rate=sampling_rate, records_per_patient=records, steps=steps
        )

    what = (
        f"{rounds * steps} steps at rate {sampling_rate:g}: ask for a larger epsilon, a larger delta or fewer steps"
    )
    if orders != ORDERS:
        return _least_noise(with_noise, epsilon, delta, rounds, [orders], what)
    return _least_noise(with_noise, epsilon, delta, rounds, _OF_SEVERAL if slow else _ALL, what)


@lru_cache(maxsize=64)
def site_noise_multiplier(epsilon: float, delta: float, participation: float, rounds: int) -> float:
    """The least noise multiplier with which ``rounds`` sums of whole sites' updates fit in a patient's budget.

    Over the clipping norm of the updates; rounded and priced as :func:`noise_multiplier` does.

    Args:
        epsilon: to stay within.
        delta: to stay within.
        participation: each site's chance to count in a round, 0 < q <= 1.
        rounds: how many sums.

    Raises:
        BudgetError: no noise multiplier up to a million is enough.
    """

    def with_noise(noise: float) -> Bounded:
        return SiteUpdates(noise_multiplier=noise, participation=participation, steps=1, colluders=0)

    what = f"{rounds} rounds of whole sites' updates: ask for a larger epsilon, a larger delta or fewer rounds"
    return _least_noise(with_noise, epsilon, delta, rounds, _ALL, what)


def _least_noise(
    with_noise: Callable[[float], Bounded],
    epsilon: float,
    delta: float,
    rounds: int,
    octaves: Sequence[Sequence[int]],
    what: str,
) -> float:
    """The least noise, in millionths, with which ``rounds`` times the event fits at one order.

    The orders of the first of ``octaves`` are looked at; where its largest is the best, those of the next one too.
    """
    least: int | None = None
    for orders in octaves:
        found, order = _least_at(with_noise, epsilon, delta, rounds, orders, least or _MOST_NOISE)
        least = found if found is not None else least
        if least is not None and order != orders[-1]:
            break
    if least is None:
        raise BudgetError(f"no noise reaches epsilon {epsilon:g} at delta {delta:g} for {what}")
    return least / _GRID


def _least_at(
    with_noise: Callable[[float], Bounded],
    epsilon: float,
    delta: float,
    rounds: int,
    orders: Sequence[int],
    high: int,
) -> tuple[int | None, int | None]:
    """The least noise up to ``high``, in millionths, at one of ``orders``, and the largest order that allows it."""
    room = {order: limit(epsilon, delta, order) for order in orders}
    low = _GRID // 100

    def fitting(candidates: Iterable[int], noise: int) -> list[int]:
        event = with_noise(noise / _GRID)
        return [order for order in candidates if rounds * carried_at(event, order) <= room[order]]

    fit = fitting((order for order in orders if room[order] > 0), high)
    if not fit:
        return None, None
    while low < high:
        middle = isqrt(low * high)
        # an order that lacks room at some noise lacks it at any smaller one, so the candidates only get fewer
        if still := fitting(fit, middle):
            fit, high = still, middle
        else:
            low = middle + 1
    return high, max(fit)


@lru_cache(maxsize=16384)
def _charge(event: Bounded, order: int) -> int:
    with localcontext(_DIGITS):
        rho = event.rho(order)
        if rho == UNBOUNDED:
            raise BudgetError(f"no bound of a {event.kind} event is known at order {order}; use one of {CARRIED}")
        return _rounded_charge(rho)


def _rounded_charge(rho: Decimal) -> int:
    return int((rho * NANO).to_integral_value(ROUND_CEILING))


def _by_order(events: Events, delta: float, orders: Sequence[int]) -> tuple[Decimal, int]:
    """The smallest epsilon of ``events`` and its order."""
    events = list(events)
    if not events:
        return Decimal(0), orders[0]
    octaves = _octaves(events) if orders == ORDERS else [orders]
    with localcontext(_DIGITS):
        best = (UNBOUNDED, orders[0])
        for some in octaves:
            best = min(
                best,
                *(
                    (max(Decimal(0), sum(event.rho(order) for event in events) + conversion(delta, order)), order)
                    for order in some
                ),
            )
            if best[1] != some[-1]:
                break
        return best


def _octaves(events: Events) -> Sequence[Sequence[int]]:
    """Orders to look at, the next ones where the largest of the first is the best."""
    return (
        _OF_SEVERAL
        if any(isinstance(event, BoundedContribution) and event.is_mixture for event in events)
        else _ALL
    )


def _rounded_up(value: Decimal) -> float:
    nearest = float(value)
    return nearest if nearest == inf or Decimal(nearest) >= value else nextafter(nearest, inf)


def _gaussian(noise: float, count: int, order: int) -> Decimal:
    with localcontext(_DIGITS):
        return Decimal(order) * count / (2 * Decimal(noise) ** 2)


@lru_cache(maxsize=4096)
def _laplace(scale: float, order: int) -> Decimal:
    """ln[a/(2a-1) exp((a-1)/b) + (a-1)/(2a-1) exp(-a/b)] / (a-1), for scale b (proposition 6)."""
    with localcontext(_DIGITS):
        a, b = Decimal(order), Decimal(scale)
        moment = (a * ((a - 1) / b).exp() + (a - 1) * (-a / b).exp()) / (2 * a - 1)
        return moment.ln() / (a - 1)


def _sampled_gaussian(noise: float, rate: float, steps: int, order: int) -> Decimal:
    """Steps times log(A) / (order - 1), A = sum_k C(order, k) (1-q)^(order-k) q^k exp((k^2-k) / (2 noise^2))."""
    with localcontext(_DIGITS):
        return steps * _log_moment(noise, rate, order) / (order - 1)


@lru_cache(maxsize=4096)
def _log_moment(noise: float, rate: float, order: int) -> Decimal:
    """log(A). All terms of A are positive, and 50 digits keep A - 1 exact enough down to q^2 = 1e-18."""
    with localcontext(_DIGITS):
        q = Decimal(rate)
        growth = (1 / Decimal(noise) ** 2).exp()
        odds, power = q / (1 - q), Decimal(1)
        term = total = (1 - q) ** order
        for k in range(1, order + 1):
            term *= odds * power * (order - k + 1) / k
            total += term
            power *= growth
        return total.ln()


@lru_cache(maxsize=4096)
def _replaced(noise: float, rate: float, order: int) -> Decimal:
    """One vector of norm 1, counted with chance ``rate``, becomes another: the smaller of two bounds.

    Given the draw the two lie 2 apart (joint convexity); or each is compared with no vector at all (Cauchy and
    Schwarz), which is the smaller one for nearly every rate below 1.
    """
    with localcontext(_DIGITS):
        a, q = Decimal(order), Decimal(rate)
        drawn = 2 * a / Decimal(noise) ** 2
        if rate == 1:
            return drawn
        convex = (1 - q + q * ((a - 1) * drawn).exp()).ln()
        by_way_of_none = (_log_moment(noise, rate, 2 * order) + _log_moment(noise, rate, 2 * order - 1)) / 2
        return min(convex, by_way_of_none) / (a - 1)
