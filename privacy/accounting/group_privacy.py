"""Compute what a patient with several records would cost by group privacy, to compare with the exact price.

*For comparison only*: such a patient is charged as a mixture of Gaussians
(:mod:`privacy.accounting.records_per_patient`), which is never more. Three prices for k records of a patient:

===========================  ========================================================================================
records drawn one by one     mixture of Gaussians, exact (ELS, ``BoundedContribution``)
the same, by group privacy   k epsilon, with delta (exp(k epsilon) - 1) / (exp(epsilon) - 1), this module
patients drawn as a whole    that of one record (ULS, ``SampledGaussian``)
===========================  ========================================================================================

Sources: Vadhan 2017, The complexity of differential privacy, lemma 2.2, for groups; Charles et al. 2024 (arXiv
2407.07737) for the comparison.
"""

import math

from privacy.accounting.events import SampledGaussian
from privacy.accounting.pld import make_delta_of_epsilon
from privacy.errors import BudgetError

_EPSILONS = [0.01 * 1.05**place for place in range(160)]  # up to 23


def compute_group_epsilon(event: SampledGaussian, records: int, delta: float) -> float:
    """Return the epsilon at ``delta`` of a patient with ``records`` records, each of which ``event`` protects.

    *Guarantee*: (epsilon, delta)-DP for any change of the patient's records.

    *Edge cases*: with one record it is the epsilon of the event, by its loss distribution.

    Raises:
        BudgetError: no epsilon up to 23 for a record is enough.
    """
    compute_delta = make_delta_of_epsilon(event)

    def fits(epsilon: float) -> bool:
        grown = math.log(compute_delta(epsilon) or 1e-300)
        grown += math.log(math.expm1(records * epsilon)) if records * epsilon < 700 else records * epsilon
        return grown - math.log(math.expm1(epsilon)) <= math.log(delta)

    # a loss distribution knows delta down to its tail only, so that beyond some epsilon nothing fits any more
    first = next((place for place, epsilon in enumerate(_EPSILONS) if fits(epsilon)), None)
    if first is None:
        raise BudgetError(f"no epsilon of a record gives {records} records delta {delta:g}")
    low, high = _EPSILONS[first - 1] if first else 0.0, _EPSILONS[first]
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return records * high
