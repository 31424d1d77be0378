"""Compute a nearly tight epsilon from privacy loss distributions, for reports.

Rules:

* The figure is an upper bound. Losses are discretised pessimistically (Doroshenko et al. 2022, arXiv 2207.04380).
  Both directions are composed and the larger one counts. Tails that are cut off count as an infinite loss.
  Floating-point rounding of the convolutions is not bounded, so a delta below 1e-10 is refused.
* The figure holds for a study whose events were **fixed in advance** by its terms (:attr:`Certainty.EXACT`). For
  several studies that were chosen in view of each other's results it is an :attr:`Certainty.ESTIMATE`: the theorem
  behind it composes events that are named before the first result.
* Nothing is refused or admitted by this figure. Only the filter of a grant decides, and reports show its figure
  too.
* Totals may have real or integer noise (:class:`privacy.accounting.events.Gaussian`). One Rényi curve bounds both,
  but the loss distributions differ: both are priced and the larger one counts.
* Above a noise multiplier s of 1000, integer noise is priced as real noise of variance s^2 - 9/4. Rounding real x
  to integer y with chance proportional to exp(-(y-x)^2 / (2 * 9/4)) makes integer noise from real noise, up to
  a factor of 1 + 1e-18 (by Poisson summation).
* An event that has no loss distribution here is refused, never approximated by another one.
* Steps with a filter for each patient cost everybody at most what Gaussian noise costs in so many steps of full length:
  that is proven for the whole loss distribution (Smith and Thakurta 2022, arXiv 2210.17520).
* Equal events are composed at once. The interval of losses is 1e-4 (0.05 to 0.5 s for an event; 60 different ones
  take 10 s). With several records a patient, whose distributions are slower (1 to 5 s each), it is 4e-4. It is
  finer (to 1e-5) where many steps would add up its error. It is coarser where the loss is so large that a million
  intervals would not hold it.

dp-accounting computes the distributions. It is slow to start, so it is imported when a figure is asked for.
"""

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from functools import reduce
from math import comb, sqrt
from typing import Any, Final

from privacy.accounting import epsilon as accountant
from privacy.accounting.events import (
    AnyEvent,
    BandedGaussian,
    BoundedContribution,
    Events,
    Gaussian,
    IndividualGaussian,
    Laplace,
    SampledGaussian,
    TreeGaussian,
    repeat_event,
)
from privacy.document import Document
from privacy.errors import BudgetError

LEAST_DELTA: Final = 1e-10
MOST_EPSILON: Final = 1e5

_INTERVAL: Final = 1e-4
_INTERVAL_OF_SEVERAL: Final = 4e-4
_LEAST_INTERVAL: Final = 1e-5
_MOST_INTERVALS: Final = 10**6
_INTEGERS_UP_TO: Final = 1000.0
_ROUNDING_VARIANCE: Final = 1.5**2


class Certainty(StrEnum):
    """How certain the figure is, in the words of a report."""

    EXACT = "exact for a study fixed in advance"
    """A study's terms name every event in advance. If it stopped early, its whole plan is to be priced."""
    ESTIMATE = "estimate across studies chosen one after another"

    @classmethod
    def from_study_count(cls, studies: int) -> "Certainty":
        """Return the certainty for the events of this many studies together."""
        return cls.EXACT if studies <= 1 else cls.ESTIMATE


def compute_pld_epsilon(events: Events, delta: float) -> float:
    """Return the epsilon at ``delta`` of all ``events`` together; infinite if no finite one is enough.

    *Guarantee*: (epsilon, delta)-DP for a study whose events were fixed in advance; else see :class:`Certainty`.

    *Privacy unit*: one patient, added or removed.

    Raises:
        BudgetError: an event has no loss distribution here, delta is below 1e-10, or epsilon is above 1e5.
    """
    if not LEAST_DELTA <= delta < 1:
        raise BudgetError(f"a privacy loss distribution needs {LEAST_DELTA:g} <= delta < 1, got {delta:g}")
    times = _count_steps(events)
    if not times:
        return 0.0
    interval = _choose_interval(times)
    totals = {event: count for event, count in times.items() if isinstance(event, Gaussian)}
    others = [
        _compute_loss_distribution(event, count, interval) for event, count in times.items() if event not in totals
    ]
    figures = []
    # an event does not say whether its totals had real or integer noise: take the larger figure
    for of_totals in (_compose_real_noise, _compose_integer_noise):
        losses = others + [of_totals(event.noise_multiplier, count, interval) for event, count in totals.items()]
        figures.append(float(reduce(_compose, losses).get_epsilon_for_delta(delta)))
        if not totals:
            break
    return max(figures)


def make_delta_of_epsilon(event: SampledGaussian) -> Callable[[float], float]:
    """Return how the delta of ``event`` falls with epsilon: a function that is cheap to ask often.

    *Guarantee* and *privacy unit*: those of :func:`compute_pld_epsilon`.
    """
    losses = _compute_loss_distribution(event.model_copy(update={"steps": 1}), event.steps, _INTERVAL)
    return lambda epsilon: float(losses.get_delta_for_epsilon(epsilon))


def _count_steps(events: Events) -> Counter[AnyEvent]:
    """Count how often each single step is taken."""
    counted = Counter[AnyEvent]()
    for event in events:
        match event:
            case SampledGaussian() | BoundedContribution():
                counted[event.model_copy(update={"steps": 1})] += event.steps
            case Gaussian() | Laplace():
                counted[event.model_copy(update={"count": 1})] += event.count
            case IndividualGaussian():
                counted[event.model_copy(update={"paid_steps": 1, "steps": 1})] += event.paid_steps
            case BandedGaussian() | TreeGaussian():
                counted[event.model_copy(update={"steps": event.lots})] += event.passes
            case _:
                raise _make_refusal(event)
    return counted


def _choose_interval(times: Counter[AnyEvent]) -> float:
    """Choose the width of the intervals into which losses are discretised.

    Raises:
        BudgetError: epsilon is above 1e5.
    """
    taken = [repeat_event(event, count) for event, count in times.items()]
    largest = accountant.epsilon_of(taken, 1e-20, orders=(2, 4, 8, 16))
    if largest > MOST_EPSILON:
        raise BudgetError(
            f"these events come to an epsilon beyond {MOST_EPSILON:g}: no privacy loss distribution is computed"
        )
    several = any(isinstance(event, BoundedContribution) and event.records_per_patient > 1 for event in times)
    wanted = _INTERVAL_OF_SEVERAL if several else min(_INTERVAL, 0.03 / sqrt(times.total()))
    return max(wanted, _LEAST_INTERVAL, largest / _MOST_INTERVALS)


def _compute_loss_distribution(event: AnyEvent, count: int, interval: float) -> Any:
    """Return the loss distribution of ``count`` times ``event``."""
    from dp_accounting.pld import privacy_loss_distribution as distributions

    match event:
        case SampledGaussian(sampling_rate=1) | IndividualGaussian():
            return _compose_real_noise(event.noise_multiplier, count, interval)
        case SampledGaussian():
            one = distributions.from_gaussian_mechanism(
                event.noise_multiplier,
                sampling_prob=event.sampling_rate,
                value_discretization_interval=interval,
            )
        case BandedGaussian() | TreeGaussian():
            # a pass is one Gaussian release; that of noise 1 has the divergence order / 2
            return _compose_real_noise(1 / sqrt(event.compute_renyi_divergence(2)), count, interval)
        case BoundedContribution(sampling_rate=1):
            return _compose_real_noise(event.noise_multiplier / event.records_per_patient, count, interval)
        case BoundedContribution():
            one = distributions.from_mixture_gaussian_mechanism(
                event.noise_multiplier,
                sensitivities=range(event.records_per_patient + 1),
                sampling_probs=_compute_draw_chances(event.records_per_patient, event.sampling_rate),
                value_discretization_interval=interval,
            )
        case Laplace():
            one = distributions.from_laplace_mechanism(event.scale, value_discretization_interval=interval)
        case _:
            raise _make_refusal(event)
    return one.self_compose(count)


def _compose_real_noise(noise: float, count: int, interval: float) -> Any:
    """Return the loss distribution of ``count`` times real Gaussian noise."""
    from dp_accounting.pld import privacy_loss_distribution as distributions

    # count times Gaussian noise costs as much as once Gaussian noise that is sqrt(count) smaller
    return distributions.from_gaussian_mechanism(noise / sqrt(count), value_discretization_interval=interval)


def _compose_integer_noise(noise: float, count: int, interval: float) -> Any:
    """Return the loss distribution of ``count`` times discrete Gaussian noise; a patient moves one integer by 1."""
    from dp_accounting.pld import privacy_loss_distribution as distributions

    if noise > _INTEGERS_UP_TO:
        return _compose_real_noise(sqrt(noise**2 - _ROUNDING_VARIANCE), count, interval)
    one = distributions.from_discrete_gaussian_mechanism(noise, value_discretization_interval=interval)
    return one.self_compose(count)


def _compose(left: Any, right: Any) -> Any:
    return left.compose(right)


def _compute_draw_chances(records: int, rate: float) -> list[float]:
    """Return the chances that 0, 1, ... of a patient's records are drawn."""
    return [comb(records, drawn) * rate**drawn * (1 - rate) ** (records - drawn) for drawn in range(records + 1)]


def _make_refusal(event: Document) -> BudgetError:
    kind = str(getattr(event, "kind", type(event).__name__))
    return BudgetError(f"a {kind} event has no privacy loss distribution: only the filter's figure can be given")
