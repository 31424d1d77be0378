"""A coordinator collects two sums that no noise covers, over cohorts that differ by one site: refused by the model.

Round numbers do not help: a round that moves the model by nothing makes a new number of the same model.
"""

import numpy as np

from benchmarks.small_study import small_terms, without_privacy
from privacy.protocol.messages import Sealed
from privacy.study import Terms
from tests.protocol.conftest import Found
from tests.protocol.mallory import Mallory, in_charge, require_refused
from tests.protocol.moments import THREE

REFUSED = "a sum without noise from the same model: another such sum needs the identical cohort"


def standing_still() -> Terms:
    """Without privacy; updates so small beside the range that every site's integers are zeros."""
    return without_privacy(
        training={"rounds": 4, "learning_rate": 1e-9},
        secure_aggregation={"value_range": 1e6},
        evaluation={"rounds": []},
    )


def opened_by_all(mallory: Mallory) -> None:
    """Round 1 over everybody, opened by everybody."""
    committed, aggregate = mallory.honest_round()
    for name in mallory.names:
        mallory.open(name, committed, aggregate)


def test_same_model_under_a_new_number_is_sealed_in_the_identical_cohort_only(found: Found) -> None:
    mallory = in_charge(found(standing_still()))
    before = mallory.simulator.store("ash").read_model()
    opened_by_all(mallory)
    assert mallory.simulator.state("ash").base == 1
    np.testing.assert_array_equal(mallory.simulator.store("ash").read_model(), before)
    require_refused(mallory.train("ash", 2, base=1, cohort=THREE), "release-refused", REFUSED)
    assert isinstance(mallory.train("ash", 2, base=1), Sealed)


def test_model_that_has_moved_may_be_sealed_in_another_cohort(found: Found) -> None:
    mallory = in_charge(found(without_privacy(training={"rounds": 4}, evaluation={"rounds": []})))
    opened_by_all(mallory)
    assert isinstance(mallory.train("ash", 2, base=1, cohort=THREE), Sealed)


def test_exact_totals_of_one_model_are_sealed_in_one_cohort_only(found: Found) -> None:
    """A round that released exact totals is called void; the next one, without a site, would show that site's own."""
    mallory = in_charge(found(small_terms(training={"rounds": 4}, evaluation={"rounds": [1]})))
    opened_by_all(mallory)
    mallory.seal(2, base=1)
    mallory.seeds(2)
    require_refused(mallory.train("ash", 3, base=1, cohort=THREE), "release-refused", REFUSED)
    assert isinstance(mallory.train("ash", 3, base=1), Sealed)


def test_noised_totals_and_updates_are_sealed_in_any_cohort(found: Found) -> None:
    mallory = in_charge(found(small_terms(training={"rounds": 4}, evaluation={"rounds": [1], "epsilon": 1.0})))
    opened_by_all(mallory)
    mallory.seal(2, base=1)
    mallory.seeds(2)
    assert isinstance(mallory.train("ash", 3, base=1, cohort=THREE), Sealed)
