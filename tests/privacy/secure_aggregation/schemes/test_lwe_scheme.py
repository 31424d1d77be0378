"""A study sealed under learning with errors: exact sums under the same masks, and sizes."""

import numpy as np
import pytest

from privacy.errors import SealingError
from privacy.secure_aggregation.aggregate import Aggregate
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS, SLOTS
from privacy.secure_aggregation.schemes.lwe_scheme import PARAMETERS
from privacy.secure_aggregation.schemes.registry import SCHEMES
from privacy.study import SchemeName
from tests.privacy.secure_aggregation.conftest import CONTEXT, Federation, named

LWE = SCHEMES[SchemeName.LWE]


@pytest.fixture
def federation(study_key: StudyKey) -> Federation:
    return Federation(Layout(9000, 2, 16, 8, scheme=SchemeName.LWE), named(3), study_key)


def test_masked_sum_opens_exactly_and_a_change_is_refused(federation: Federation) -> None:
    federation.require_exact_sum()
    aggregate = bytearray(federation.honest())
    aggregate[-1] ^= 1
    with pytest.raises(SealingError, match="check fields do not hold"):
        federation.open(bytes(aggregate))


def test_lone_update_opens_to_no_count_even_with_the_key(federation: Federation, study_key: StudyKey) -> None:
    aggregate = Aggregate(federation.layout)
    aggregate.add(federation.seal("site-00"))
    aggregate.subtract_masks({"site-00": federation.seeds["site-00"]}, CONTEXT)
    size = LWE.compute_sum_bytes(1)
    assert LWE.decrypt(study_key, aggregate.to_bytes()[:size], 1)[0] > 8


def test_64_largest_parts_open_exactly_with_any_noise(study_key: StudyKey) -> None:
    """No draw of errors reaches q/2: 64 sites, each error at most 40, each message below t, one subtraction."""
    assert 64 * (40 * PLAIN_MODULUS + PLAIN_MODULUS) + PLAIN_MODULUS < 1 << 55 < 1 << (PARAMETERS.modulus_bits - 1)
    part, total = LWE.encrypt(study_key, np.full(SLOTS, PLAIN_MODULUS - 1, dtype=np.uint64)), LWE.make_sum()
    for _ in range(64):
        total.add(part)
    total.subtract(np.full(SLOTS, 5, dtype=np.uint64))
    opened = LWE.decrypt(study_key, total.to_bytes(), 64)
    assert set(opened.tolist()) == {(64 * (PLAIN_MODULUS - 1) - 5) % PLAIN_MODULUS}


def test_parts_of_the_same_slots_share_neither_seed_nor_errors(study_key: StudyKey) -> None:
    slots = np.zeros(SLOTS, dtype=np.uint64)
    one, other = (LWE.encrypt(study_key, slots) for _ in range(2))
    assert one[:32] != other[:32]
    assert one[32:] != other[32:]


def test_strangers_key_opens_nothing(study_key: StudyKey) -> None:
    total = LWE.make_sum()
    total.add(LWE.encrypt(study_key, np.ones(SLOTS, dtype=np.uint64)))
    assert np.mean(LWE.decrypt(StudyKey.generate(), total.to_bytes(), 1) == 1) < 0.01


def test_sizes_are_exact(federation: Federation) -> None:
    assert LWE.sealed_bytes == 32 + 4096 * 77 // 8 == 39_456
    assert LWE.compute_sum_bytes(64) == 3000 * 77 // 8 + 4096 * 77 // 8 == 68_299
    assert len(federation.seal("site-00")) == federation.layout.sealed_bytes


@pytest.mark.parametrize("data", [b"", bytes(39_455)])
def test_part_of_another_length_is_refused(study_key: StudyKey, data: bytes) -> None:
    with pytest.raises(SealingError, match="expected 39456 bytes for each part, got"):
        LWE.require_parts(data)
    with pytest.raises(SealingError, match="expected 68299 bytes, got"):
        LWE.decrypt(study_key, data, 3)
