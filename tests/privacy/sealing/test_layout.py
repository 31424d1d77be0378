"""Fields lie where the layout says, and a sum that no cohort can have sealed is refused."""

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.sealing.layout import Layout
from privacy.sealing.parameters import COEFFICIENT_MODULUS, PLAIN_MODULUS, failure_bits

LAYOUT = Layout(parameters=5, counts=2, bits=16, maximum_sites=32)
VALUES = np.array([1, 2, 3, 4, 65535], dtype=np.uint32)


def packed() -> NDArray[np.uint64]:
    return LAYOUT.pack(VALUES, [7, -7])


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


@pytest.mark.parametrize(("parameters", "ciphertexts"), [(0, 1), (8184, 1), (8185, 2), (16_376, 2), (16_377, 3)])
def test_layout_counts_ciphertexts(parameters: int, ciphertexts: int) -> None:
    assert Layout(parameters, 0, 16, 32).ciphertexts == ciphertexts


def test_layout_digest_differs_with_every_field() -> None:
    layouts = [LAYOUT, Layout(6, 2, 16, 32), Layout(5, 3, 16, 32), Layout(5, 2, 17, 32), Layout(5, 2, 16, 31)]
    assert len({layout.digest for layout in [*layouts, Layout(5, 2, 16, 32, 33)]}) == 6


@pytest.mark.parametrize(
    "sizes", [(-1, 0, 16, 8), (0, -1, 16, 8), (0, 0, 0, 8), (0, 0, 16, 0), (0, 0, 33, 8), (0, 0, 16, 8, 40)]
)
def test_layout_that_does_not_fit_is_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="got Layout"):
        Layout(*sizes)


def test_layout_of_more_sites_than_noise_allows_is_refused() -> None:
    """The oracle: the largest possible noise, 21 a site and the roundings, in the bound's own inequality."""
    assert failure_bits(64) > 1000 > 128 > failure_bits(1024)
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
def test_pack_of_what_does_not_fit_is_refused(values: NDArray[np.uint32], counts: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LAYOUT.pack(values, counts)


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
        LAYOUT.unpack(slots, 3)


def test_unpack_of_the_largest_possible_sum_is_accepted() -> None:
    largest = LAYOUT.pack(np.full(5, 65535, dtype=np.uint32), [2**31 - 1, -(2**31)])
    values, counts = LAYOUT.unpack(largest * np.uint64(32), 32)
    assert values.tolist() == [32 * 65535] * 5
    assert counts == (32 * (2**31 - 1), -32 * 2**31)
