"""``scheme: open`` is the same path without masks and without encryption: whoever adds can read everything."""

import numpy as np
import pytest

from privacy.errors import SealingError
from privacy.secure_aggregation.aggregate import Aggregate
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS, SEALED_BYTES, SLOTS
from privacy.secure_aggregation.schemes.registry import SCHEMES
from privacy.study import SchemeName
from tests.privacy.secure_aggregation.conftest import CONTEXT, Federation, named

OPEN = SCHEMES[SchemeName.OPEN]


@pytest.fixture
def federation(study_key: StudyKey) -> Federation:
    return Federation(Layout(9000, 3, 16, 8, scheme=SchemeName.OPEN), named(3), study_key)


def test_lone_open_update_is_read_without_any_key(federation: Federation) -> None:
    """What the coordinator does with one site's bytes and the layout, which is public."""
    sealed, layout = federation.seal("site-01"), federation.layout
    size, stranger = layout.cipher.sealed_bytes, StudyKey.generate()
    parts = [OPEN.decrypt(stranger, sealed[start : start + size], 1) for start in range(0, len(sealed), size)]
    values, counts, _ = layout.unpack(
        np.concatenate([*parts[:-1], without_checks(parts[-1])]), 1, range(layout.parts)
    )
    assert np.array_equal(values, federation.update("site-01"))
    assert list(counts) == federation.counts("site-01")


def without_checks(
    slots: np.ndarray[tuple[int], np.dtype[np.uint64]],
) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.where(np.arange(len(slots)) < len(slots) - 3, slots, np.uint64(0))


def test_lone_sealed_update_is_not_read_with_a_strangers_key(federation: Federation, study_key: StudyKey) -> None:
    """The same with the scheme that seals: a slot is uniform, so the count field is no count."""
    sealing = Federation(Layout(9000, 3, 16, 8), named(3), study_key)
    total = sealing.layout.cipher.make_sum()
    total.add(sealing.seal("site-01")[:SEALED_BYTES])
    assert StudyKey.generate().decrypt(total.to_bytes(), 1)[0] > 8
    assert federation.layout.digest != sealing.layout.digest


def test_open_sum_needs_no_release(federation: Federation) -> None:
    """There are no masks to take off: the released seeds are not even looked at."""
    aggregate = Aggregate(federation.layout)
    for site in federation.sites:
        aggregate.add(federation.seal(site))
    before = aggregate.to_bytes()
    aggregate.subtract_masks(federation.seeds, CONTEXT)
    assert aggregate.to_bytes() == before
    federation.require_exact_sum()


def test_open_sum_that_was_altered_is_refused_all_the_same(federation: Federation) -> None:
    """The checks do not rest on secrecy of the values: a key that only sites hold makes them."""
    aggregate = bytearray(federation.honest())
    aggregate[6 * 100] ^= 1
    with pytest.raises(SealingError, match="check fields do not hold"):
        federation.open(bytes(aggregate))
    with pytest.raises(SealingError, match="check fields do not hold"):
        federation.open(federation.honest(), context=CONTEXT.replace(b"round 3", b"round 4"))


def test_open_sizes_are_six_bytes_a_slot(federation: Federation) -> None:
    assert OPEN.sealed_bytes == OPEN.compute_sum_bytes(3) == 6 * SLOTS == 24_576
    assert len(federation.seal("site-00")) == federation.layout.sealed_bytes == 2 * 24_576


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytes(24_575), "expected 24576 bytes for each part, got 24575"),
        (b"", "expected 24576 bytes for each part, got 0"),
        (PLAIN_MODULUS.to_bytes(6, "little") + bytes(24_570), "a slot is not below the plaintext modulus"),
    ],
)
def test_open_part_that_is_malformed_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(SealingError, match=message):
        OPEN.require_parts(data)


def test_open_sum_wraps_modulo_the_plaintext_modulus() -> None:
    total, key = OPEN.make_sum(), StudyKey.generate()
    most = np.full(SLOTS, PLAIN_MODULUS - 1, dtype=np.uint64)
    total.add(OPEN.encrypt(key, most))
    total.add(OPEN.encrypt(key, most))
    total.subtract(np.full(SLOTS, 3, dtype=np.uint64))
    assert set(OPEN.decrypt(key, total.to_bytes(), 2).tolist()) == {PLAIN_MODULUS - 5}
