"""Fields lie where the layout says, and a sum that no cohort can have sealed is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.secure_aggregation.layout import BLOCK, Layout, require_possible
from privacy.secure_aggregation.schemes.bfv_parameters import (
    COEFFICIENT_MODULUS,
    PLAIN_MODULUS,
    SLOTS,
    compute_failure_bits,
)
from privacy.study import SchemeName

LAYOUT = Layout(parameters=5, counts=2, bits=16, maximum_sites=32)
WHOLE = range(1)
VALUES = np.array([1, 2, 3, 4, 65535], dtype=np.uint32)


def packed() -> NDArray[np.uint64]:
    return LAYOUT.pack(VALUES, [7, -7], WHOLE)


def test_pack_puts_fields_in_order() -> None:
    slots = packed()
    assert slots[:6].tolist() == [1, 2**31 + 7, 2**31 - 7, 1 + (2 << 21), 3 + (4 << 21), 65535]
    assert not slots[6:].any()


@pytest.mark.parametrize(
    ("bits", "sites", "per_slot"), [(16, 32, 2), (16, 33, 1), (8, 4, 4), (8, 64, 3), (12, 4, 3), (24, 3, 1)]
)
def test_layout_holds_as_many_values_a_slot_as_fit(bits: int, sites: int, per_slot: int) -> None:
    layout = Layout(1000, 0, bits, sites)
    assert layout.per_slot == per_slot
    largest_sum = sum(sites * ((1 << bits) - 1) << (lane * layout.width) for lane in range(per_slot))
    assert largest_sum < PLAIN_MODULUS


@pytest.mark.parametrize(("parameters", "parts"), [(0, 1), (8184, 1), (8185, 2), (16_376, 2), (16_377, 3)])
def test_layout_counts_parts(parameters: int, parts: int) -> None:
    assert Layout(parameters, 0, 16, 32).parts == parts


def test_layout_digest_differs_with_every_field() -> None:
    open_layout = Layout(5, 2, 16, 32, scheme=SchemeName.OPEN)
    layouts = [LAYOUT, Layout(6, 2, 16, 32), Layout(5, 3, 16, 32), Layout(5, 2, 17, 32), Layout(5, 2, 16, 31)]
    assert len({layout.digest for layout in [*layouts, Layout(5, 2, 16, 32, 33), open_layout]}) == 7


@pytest.mark.parametrize(
    "sizes", [(-1, 0, 16, 8), (0, -1, 16, 8), (0, 0, 0, 8), (0, 0, 16, 0), (0, 0, 33, 8), (0, 0, 16, 8, 40)]
)
def test_layout_that_does_not_fit_is_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="got Layout"):
        Layout(*sizes)  # type: ignore[arg-type]


def test_layout_of_more_sites_than_noise_allows_is_refused() -> None:
    """The oracle: the largest possible noise, 21 a site and the roundings, in the bound's own inequality."""
    assert compute_failure_bits(64) > 1000 > 128 > compute_failure_bits(1024)
    assert COEFFICIENT_MODULUS // (2 * PLAIN_MODULUS) == 1024
    with pytest.raises(ValueError, match="the noise of 1024 sites could change a sum"):
        Layout(10, 0, 16, 1024)


@pytest.mark.parametrize(
    ("values", "counts", "message"),
    [
        (VALUES[:4], [0, 0], "expected 5 values and 2 totals, got 4 and 2"),
        (VALUES, [0], "got 5 and 1"),
        (VALUES + np.uint32(1), [0, 0], "more than 16 bits"),
        (VALUES, [2**31, 0], "beyond 32 signed bits"),
        (VALUES, [0, -(2**31) - 1], "beyond 32 signed bits"),
    ],
)
def test_what_does_not_fit_is_refused(values: NDArray[np.uint32], counts: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LAYOUT.require_fitting(values, counts)


@pytest.mark.parametrize(
    ("slot", "content", "message"),
    [
        (1, 3 * (2**32 - 1) + 1, "a total is more"),
        (3, 3 * 65535 + 1, "a value is more"),
        (3, (3 * 65535 + 1) << 21, "a value is more"),
        (3, 1 << 42, "a value is more"),
        (5, 1 << 21, "a value is more"),  # the lane after the last value
        (6, 1, "an unused slot"),
        (4092, 1, "an unused slot"),
    ],
)
def test_unpack_of_an_impossible_sum_is_refused(slot: int, content: int, message: str) -> None:
    slots = packed() * np.uint64(3)
    slots[slot] = content
    with pytest.raises(SealingError, match=message):
        require_possible(LAYOUT.unpack(slots, 3, WHOLE).faults, 3)


def test_unpack_of_the_largest_possible_sum_is_accepted() -> None:
    largest = LAYOUT.pack(np.full(5, 65535, dtype=np.uint32), [2**31 - 1, -(2**31)], WHOLE)
    values, counts, faults = LAYOUT.unpack(largest * np.uint64(32), 32, WHOLE)
    require_possible(faults, 32)
    assert values.tolist() == [32 * 65535] * 5
    assert counts == (32 * (2**31 - 1), -32 * 2**31)


@st.composite
def contents(draw: st.DrawFn) -> tuple[Layout, list[list[int]], list[list[int]]]:
    """A layout, and what each of its sites seals: values and totals, the largest and smallest ones often."""
    sites = draw(st.integers(3, 64))
    bits, count_bits = draw(st.integers(8, 24)), draw(st.integers(1, 36))
    layout = Layout(
        draw(st.integers(0, 40)), draw(st.integers(0, 10)), bits, draw(st.integers(sites, 64)), count_bits
    )
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    limit, top = 1 << (count_bits - 1), (1 << bits) - 1
    extreme = draw(st.booleans())
    values = (
        generator.choice([0, top], (sites, layout.parameters))
        if extreme
        else generator.integers(0, top + 1, (sites, layout.parameters))
    )
    totals = (
        generator.choice([-limit, limit - 1], (sites, layout.counts))
        if extreme
        else generator.integers(-limit, limit, (sites, layout.counts))
    )
    return layout, values.tolist(), totals.tolist()


@settings(max_examples=2000, deadline=None)
@given(contents())
def test_sum_of_any_sites_unpacks_to_the_plain_sum(case: tuple[Layout, list[list[int]], list[list[int]]]) -> None:
    """Up to 64 sites by their integers, without masks and ciphertexts: thousands of cases."""
    layout, values, totals = case
    slots = np.zeros(layout.slots, dtype=np.uint64)
    for site, (mine, own) in enumerate(zip(values, totals, strict=True)):
        packed = layout.pack(np.array(mine, dtype=np.uint32), own, range(layout.parts))
        assert int(packed.max()) < PLAIN_MODULUS, site
        slots = (slots + packed) % PLAIN_MODULUS
    assert slots[0] == len(values)
    slots[0] = 0
    opened, counts, faults = layout.unpack(slots, len(values), range(layout.parts))
    require_possible(faults, len(values))
    assert opened.tolist() == [sum(column) for column in zip(*values, strict=True)]
    assert counts == tuple(sum(column) for column in zip(*totals, strict=True))


def plainly_packed(layout: Layout, values: list[int], counts: list[int]) -> list[int]:
    """The format's description in Python's integers."""
    per_slot, width = 42 // layout.width, layout.width
    slots = [1, *(total + 2**31 for total in counts)]
    for start in range(0, len(values), per_slot):
        slots.append(sum(value << (lane * width) for lane, value in enumerate(values[start : start + per_slot])))
    return slots + [0] * (layout.slots - len(slots))


@pytest.mark.parametrize("counts", [0, 5, SLOTS - 1, SLOTS, 2 * SLOTS + 7, BLOCK * SLOTS + 3])
@pytest.mark.parametrize("parameters", [0, 1, 8191, 2 * BLOCK * SLOTS - 2, 2 * BLOCK * SLOTS, 300_001])
def test_blocks_put_together_are_the_vector_of_the_description(parameters: int, counts: int) -> None:
    """Totals that fill a part, end in the middle of one, or span blocks; values from the middle of a part on."""
    layout = Layout(parameters, counts, 16, 32)
    generator = np.random.default_rng(parameters + counts)
    values = generator.integers(0, 1 << 16, parameters, dtype=np.uint32)
    totals = generator.integers(-(2**31), 2**31, counts).tolist()
    assert [part for block in layout.blocks for part in block] == list(range(layout.parts))
    packed = [layout.pack(values[layout.find_values_in(block)], totals, block) for block in layout.blocks]
    assert np.concatenate(packed).tolist() == plainly_packed(layout, values.tolist(), totals)
    opened = [layout.unpack(slots, 1, block) for slots, block in zip(packed, layout.blocks, strict=True)]
    assert np.concatenate([each.values for each in opened]).tolist() == values.tolist()
    assert [total for each in opened for total in each.totals] == totals
    assert not any(each.faults for each in opened)


def test_value_in_the_last_slot_of_a_block_is_that_blocks() -> None:
    layout = Layout(BLOCK * SLOTS, 0, 24, 32)
    first, second = layout.blocks
    assert layout.find_values_in(first) == slice(0, BLOCK * SLOTS - 1)  # slot 0 is the count's
    assert layout.find_values_in(second) == slice(BLOCK * SLOTS - 1, BLOCK * SLOTS)
    last = layout.pack(np.full(BLOCK * SLOTS - 1, 7, dtype=np.uint32), (), first)
    assert (last[-1], last[0]) == (7, 1)


def test_value_that_no_site_sealed_is_refused_in_every_block() -> None:
    layout = Layout(BLOCK * SLOTS, 0, 24, 32)
    _, second = layout.blocks
    slots = np.zeros(SLOTS, dtype=np.uint64)
    slots[0] = 3 * ((1 << 24) - 1) + 1
    with pytest.raises(SealingError, match="a value is more than 3 sites"):
        require_possible(layout.unpack(slots, 3, second).faults, 3)
    slots[0], slots[1] = 0, 1
    with pytest.raises(SealingError, match="an unused slot"):
        require_possible(layout.unpack(slots, 3, second).faults, 3)
