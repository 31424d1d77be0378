"""A study that is over at a site leaves its key in no cache of the process."""

from benchmarks.small_study import small_terms
from privacy.secure_aggregation.seal import load_study_key
from tests.protocol.conftest import Found


def test_closed_study_leaves_no_key_behind(found: Found) -> None:
    simulator = found(small_terms())
    simulator.run(lambda: simulator.all_have(1))
    assert load_study_key.cache_info().currsize == 1
    simulator.run()
    assert load_study_key.cache_info().currsize == 0
