"""Compute what a study's terms cost: the noise that gives their epsilon, and the event of each round.

Sites and the coordinator compute it alike, from the terms alone. A study's terms fix every round in advance, so the
best Renyi order for the study may be chosen.
"""

from typing import NamedTuple

from privacy.accounting.calibration import (
    compute_noise_multiplier,
    compute_ordered_noise_multiplier,
    compute_site_noise_multiplier,
)
from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.events import (
    BandedGaussian,
    BoundedContribution,
    DistributedGaussian,
    Gaussian,
    SampledGaussian,
    SiteUpdates,
    TreeGaussian,
    Unprotected,
    repeat_event,
)
from privacy.errors import TermsError
from privacy.study import Placement, Terms, Unit
from privacy.study.fixed_lots import carries_noise, count_bands, count_lots

TrainingEvent = (
    SampledGaussian | DistributedGaussian | SiteUpdates | BoundedContribution | BandedGaussian | TreeGaussian
)
"""The events that a round of private training may be charged as."""


def compute_study_noise(terms: Terms) -> float:
    """Compute the least noise multiplier with which the study alone, fixed by its terms, costs its epsilon.

    Raises:
        BudgetError: no noise reaches it.
        TermsError: the study has no privacy.
    """
    training, privacy = terms.training, terms.privacy
    if privacy.epsilon is None or privacy.delta is None:
        raise TermsError("this study has no privacy (epsilon: none); name one that has")
    if terms.counts_only:
        raise TermsError("this study trains nothing; its noise is that of its totals")
    if privacy.unit is Unit.SITE:
        return compute_site_noise_multiplier(
            privacy.epsilon, privacy.delta, terms.cohort.participation, rounds=training.rounds
        )
    if privacy.placement is Placement.CORRELATED:
        return compute_ordered_noise_multiplier(
            privacy.epsilon, privacy.delta, _make_ordered_event(terms, 1.0), training.rounds
        )
    return compute_noise_multiplier(
        privacy.epsilon,
        privacy.delta,
        training.sampling_rate,
        training.lots,
        rounds=training.rounds,
        records=terms.data.records_per_patient if privacy.unit is Unit.RECORD else 1,
    )


def compute_evaluation_noise(terms: Terms) -> float | None:
    """Compute the least noise multiplier with which all evaluations together cost their epsilon.

    None if the terms give evaluations no epsilon, or there are no evaluations.

    Raises:
        BudgetError: no noise reaches it.
    """
    evaluation, delta = terms.evaluation, terms.privacy.delta
    if evaluation.epsilon is None or not evaluation.rounds or delta is None:
        return None
    return compute_noise_multiplier(evaluation.epsilon, delta, 1.0, 1, rounds=len(evaluation.rounds))


def make_private_event(terms: Terms, noise: float) -> TrainingEvent:
    """Return the event that one round's training with this noise multiplier is for a population's patients."""
    training, privacy = terms.training, terms.privacy
    if privacy.unit is Unit.SITE:
        return SiteUpdates(
            noise_multiplier=noise,
            participation=terms.cohort.participation,
            steps=1,
            colluders=terms.cohort.colluders,
        )
    if privacy.placement is Placement.DISTRIBUTED:
        return DistributedGaussian(
            noise_multiplier=noise,
            sampling_rate=training.sampling_rate,
            steps=training.lots,
            colluders=terms.cohort.colluders,
        )
    if privacy.placement is Placement.CORRELATED:
        return _make_ordered_event(terms, noise)
    if privacy.unit is Unit.RECORD:
        return BoundedContribution(
            noise_multiplier=noise,
            sampling_rate=training.sampling_rate,
            records_per_patient=terms.data.records_per_patient,
            steps=training.lots,
        )
    return SampledGaussian(noise_multiplier=noise, sampling_rate=training.sampling_rate, steps=training.lots)


def _make_ordered_event(terms: Terms, noise: float) -> BandedGaussian | TreeGaussian:
    """Return the event of one round over lots in a fixed order."""
    lots, steps = count_lots(terms), terms.training.lots
    if carries_noise(terms):
        return BandedGaussian(noise_multiplier=noise, lots=lots, steps=steps, bands=count_bands(terms))
    return TreeGaussian(noise_multiplier=noise, lots=lots, steps=steps)


def make_training_event(terms: Terms, noise: float | None) -> TrainingEvent | Unprotected:
    """Return the event that one round's training is for a population's patients; unprotected without noise."""
    return Unprotected() if noise is None else make_private_event(terms, noise)


def make_evaluation_event(terms: Terms, noise: float | None) -> Gaussian | DistributedGaussian | Unprotected:
    """Return the event that one evaluation is for a population's test patients, or counting is for all of them."""
    if noise is None:
        return Unprotected()
    if terms.counts_only:
        return DistributedGaussian(
            noise_multiplier=noise, sampling_rate=1.0, steps=1, colluders=terms.cohort.colluders
        )
    return Gaussian(noise_multiplier=noise, count=1)


def compute_totals_deviation(terms: Terms, noise: float | None, sites: int) -> float:
    """Compute the standard deviation of the noise with a scale of 1 in opened totals of so many ``sites``.

    Every site adds the whole noise to totals of test patients, so that the variances add up. To statistics each adds a
    share, of which the colluders' do not count.
    """
    if noise is None:
        return 0.0
    shares = sites / (sites - terms.cohort.colluders) if terms.counts_only else sites
    return noise * float(shares**0.5)


class PriceOfRuns(NamedTuple):
    """What several runs of the same terms cost together, in epsilon at the terms' delta.

    The best of k runs costs what k runs cost, because the choice uses all of them. These figures hold for a number
    of runs that is fixed in advance. Otherwise the figure at the order of the grant holds.
    """

    runs: int
    training: float
    """For a training patient."""
    evaluation: float | None
    """For a test patient; None without noise, or without test patients."""


def compute_price_of_runs(terms: Terms, runs: int) -> PriceOfRuns:
    """Compute what ``runs`` runs of ``terms`` cost together.

    Raises:
        BudgetError: no noise reaches the epsilon of the terms.
        TermsError: the study has no privacy.
    """
    noise, delta = compute_evaluation_noise(terms), terms.privacy.delta
    training = 0.0
    if not terms.counts_only:
        one = make_private_event(terms, compute_study_noise(terms))
        assert delta is not None, "an epsilon comes with a delta, which the terms check"
        training = epsilon_of([repeat_event(one, terms.training.rounds * runs)], delta)
    if noise is None or delta is None:
        return PriceOfRuns(runs, training, None)
    totals = repeat_event(make_evaluation_event(terms, noise), len(terms.evaluation.rounds) * runs)
    return PriceOfRuns(runs, training, epsilon_of([totals], delta))
