"""What opens is the plain integer sum, exactly; nothing less than the whole cohort opens."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.errors import SealingError
from privacy.secure_aggregation.aggregate import Aggregate
from privacy.secure_aggregation.layout import BLOCK, Layout
from privacy.secure_aggregation.opening import open_aggregate
from privacy.secure_aggregation.process_pool import WORTH_IT
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import SLOTS, compute_failure_bits
from privacy.secure_aggregation.seal import seal
from privacy.study import SchemeName
from tests.privacy.secure_aggregation.conftest import CONTEXT, Federation, named

FAST = [SchemeName.BFV, SchemeName.OPEN]  # the others have a file of their own under schemes/
FIXTURES = [HealthCheck.function_scoped_fixture]


@pytest.mark.parametrize("scheme", FAST)
@settings(max_examples=250, deadline=None, suppress_health_check=FIXTURES)
@given(
    parameters=st.sampled_from([0, 1, 2, 4091, 4092, 4093, 8183, 8184, 8185]) | st.integers(0, 20_000),
    counts=st.integers(0, 50),
    bits=st.integers(8, 24),
    sites=st.integers(3, 8),
    spare=st.integers(0, 56),
)
def test_aggregate_of_any_shape_opens_to_plain_sum(
    study_key: StudyKey, scheme: SchemeName, parameters: int, counts: int, bits: int, sites: int, spare: int
) -> None:
    layout = Layout(parameters, counts, bits, sites + spare, scheme=scheme)
    Federation(layout, named(sites), study_key).require_exact_sum()


@pytest.mark.parametrize("scheme", FAST)
@pytest.mark.parametrize("beyond", [-1, 0, 1])
@pytest.mark.parametrize("counts", [0, 3, BLOCK * SLOTS])
@pytest.mark.parametrize(("bits", "per_slot"), [(16, 2), (24, 1)])
def test_aggregate_around_the_end_of_a_block_opens_to_plain_sum(
    study_key: StudyKey, scheme: SchemeName, beyond: int, counts: int, bits: int, per_slot: int
) -> None:
    """The last value lies in a block's last slot, or just before or after it; totals fill a block or none of it."""
    layout = Layout((BLOCK * SLOTS - 1 - counts % SLOTS + beyond) * per_slot, counts, bits, 32, scheme=scheme)
    assert layout.per_slot == per_slot
    assert len(layout.blocks) == 2 + (counts > SLOTS)
    Federation(layout, named(3), study_key).require_exact_sum()


@pytest.mark.parametrize(("parameters", "blocks"), [(BLOCK * SLOTS - 4, 1), (BLOCK * SLOTS - 3, 2)])
def test_aggregate_whose_last_part_is_exactly_full_opens_to_plain_sum(
    study_key: StudyKey, parameters: int, blocks: int
) -> None:
    """A count and three check fields beside the values: no slot is unused, or all but a few of a new part."""
    layout = Layout(parameters, 0, 24, 32)
    assert (layout.parts, len(layout.blocks)) == (BLOCK + blocks - 1, blocks)
    Federation(layout, named(3), study_key).require_exact_sum()


def test_aggregate_of_64_sites_opens_at_the_noise_bound(study_key: StudyKey) -> None:
    assert compute_failure_bits(64) > 128
    Federation(Layout(5000, 2, 16, 64), named(64), study_key).require_exact_sum()


@pytest.mark.parametrize("scheme", FAST)
def test_sum_sealed_and_opened_by_two_processes_is_that_of_one(study_key: StudyKey, scheme: SchemeName) -> None:
    layout = Layout(WORTH_IT * BLOCK * SLOTS, 2, 24, 3, scheme=scheme)
    assert len(layout.blocks) == WORTH_IT + 1
    one, two = (Federation(layout, named(3), study_key, processes) for processes in (1, 2))
    aggregates = [each.honest() for each in (one, two)]
    opened = [each.open(aggregate) for each in (one, two) for aggregate in aggregates]
    plain = np.sum([one.update(site).astype(np.int64) for site in one.sites], axis=0)
    assert all(np.array_equal(each.values, plain) for each in opened)
    assert {each.counts for each in opened} == {opened[0].counts}


@pytest.mark.parametrize("bits", [8, 16, 24])
def test_aggregate_of_largest_values_never_carries(study_key: StudyKey, bits: int) -> None:
    layout, sites = Layout(100, 2, bits, 8), named(8)
    largest = np.full(100, (1 << bits) - 1, dtype=np.uint32)
    federation, aggregate = Federation(layout, sites, study_key), Aggregate(layout)
    for site in sites:
        sealed = b"".join(
            seal(
                layout,
                largest,
                [2**31 - 1, -(2**31)],
                site=site,
                cohort=sites,
                context=CONTEXT,
                study_key=study_key,
                pair_secrets=federation.pair_secrets(site),
                own_seed=federation.seeds[site],
            )
        )
        aggregate.add(sealed)
    aggregate.subtract_masks(federation.seeds, CONTEXT)
    opened = federation.open(aggregate.to_bytes())
    assert opened.values.tolist() == [8 * ((1 << bits) - 1)] * 100
    assert opened.counts == (8 * (2**31 - 1), -8 * 2**31)


def test_sealing_again_gives_other_bytes_and_the_same_sum(federation: Federation) -> None:
    assert federation.seal("north") != federation.seal("north")
    assert np.array_equal(federation.open(federation.honest()).values, federation.open(federation.honest()).values)


def test_sizes_are_exact(federation: Federation) -> None:
    assert len(federation.seal("north")) == federation.layout.sealed_bytes
    assert len(federation.honest()) == federation.layout.compute_aggregate_bytes(4)


def test_upload_of_16_bits_and_32_sites_is_smaller_than_float32() -> None:
    layout = Layout(1_000_000, 0, 16, 32)
    assert layout.sealed_bytes < 4 * layout.parameters


def test_lone_update_with_every_release_is_refused_by_its_size(federation: Federation) -> None:
    aggregate = Aggregate(federation.layout)
    aggregate.add(federation.seal("north"))
    aggregate.subtract_masks({"north": federation.seeds["north"]}, CONTEXT)
    with pytest.raises(SealingError, match="expected 27776 bytes, got 27680"):
        federation.open(aggregate.to_bytes())


def test_lone_update_opens_to_uniform_slots(federation: Federation, study_key: StudyKey) -> None:
    aggregate = Aggregate(federation.layout)
    aggregate.add(federation.seal("north"))
    aggregate.subtract_masks({"north": federation.seeds["north"]}, CONTEXT)
    slots = study_key.decrypt(aggregate.to_bytes(), 1)
    histogram = np.bincount((slots >> np.uint64(39)).astype(int), minlength=16)
    assert len(slots) == 4096
    assert np.sum((histogram - 256) ** 2 / 256) < 70  # chi-square, 15 degrees of freedom: p < 1e-8


def test_sum_without_release_does_not_open(federation: Federation) -> None:
    aggregate = Aggregate(federation.layout)
    for site in federation.sites:
        aggregate.add(federation.seal(site))
    with pytest.raises(SealingError, match="masks do not cancel"):
        federation.open(aggregate.to_bytes())


def test_sum_with_one_release_missing_is_refused(federation: Federation) -> None:
    sealed = [federation.seal(site) for site in federation.sites]
    with pytest.raises(SealingError, match="mask seeds of 4 sites, got 3"):
        federation.aggregate(sealed, released=["north", "east", "south"])


def test_sum_with_another_study_key_does_not_open(federation: Federation) -> None:
    with pytest.raises(SealingError, match="the key is another"):
        open_aggregate(
            federation.layout,
            federation.honest(),
            cohort=federation.sites,
            context=CONTEXT,
            study_key=StudyKey.generate(),
        )


@pytest.mark.parametrize(
    ("cohort", "message"),
    [
        (["north", "east"], "3 to 8 sites, got 2"),
        (["north", "east", "east"], "named twice"),
        (["east", "south", "west"], "names it"),
        (["north", "east", "stranger"], "pair secret with stranger"),
        (["north", *(f"site-{i}" for i in range(8))], "3 to 8 sites, got 9"),
    ],
)
def test_seal_in_a_bad_cohort_is_refused(federation: Federation, cohort: list[str], message: str) -> None:
    with pytest.raises(SealingError, match=message):
        federation.seal("north", cohort=cohort)


def test_smaller_cohort_of_a_new_attempt_opens(federation: Federation) -> None:
    rest = ["north", "south", "west"]
    aggregate = federation.aggregate([federation.seal(site, cohort=rest) for site in rest], released=rest)
    plain = sum(federation.update(site).astype(np.int64) for site in rest)
    assert np.array_equal(federation.open(aggregate, cohort=rest).values, plain)
