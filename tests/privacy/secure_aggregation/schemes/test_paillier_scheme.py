"""A study sealed under Paillier: exact sums under the same masks, with small moduli; sizes with those of studies."""

import numpy as np
import pytest

from privacy.errors import SealingError
from privacy.secure_aggregation.aggregate import Aggregate
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS, SLOTS
from privacy.secure_aggregation.schemes.paillier_scheme import PaillierScheme
from privacy.secure_aggregation.schemes.registry import SCHEMES
from privacy.study import SchemeName
from tests.privacy.secure_aggregation.conftest import CONTEXT, Federation, named

SMALL = PaillierScheme(256)
MOST = np.full(SLOTS, PLAIN_MODULUS - 1, dtype=np.uint64)


@pytest.fixture
def _small_moduli(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEMES, SchemeName.PAILLIER, SMALL)


@pytest.mark.usefixtures("_small_moduli")
def test_masked_sum_opens_exactly_and_a_change_is_refused(study_key: StudyKey) -> None:
    federation = Federation(Layout(500, 2, 16, 8, scheme=SchemeName.PAILLIER), named(3), study_key)
    federation.require_exact_sum()
    aggregate = bytearray(federation.honest())
    aggregate[-1] ^= 1
    with pytest.raises(SealingError, match="check fields do not hold"):
        federation.open(bytes(aggregate))


@pytest.mark.usefixtures("_small_moduli")
def test_lone_update_opens_to_no_count_even_with_the_key(study_key: StudyKey) -> None:
    federation = Federation(Layout(100, 0, 16, 8, scheme=SchemeName.PAILLIER), named(3), study_key)
    aggregate = Aggregate(federation.layout)
    aggregate.add(federation.seal("site-00"))
    aggregate.subtract_masks({"site-00": federation.seeds["site-00"]}, CONTEXT)
    assert SMALL.decrypt(study_key, aggregate.to_bytes(), 1)[0] > 8


def test_64_largest_parts_and_a_subtraction_never_carry(study_key: StudyKey) -> None:
    part, total = SMALL.encrypt(study_key, MOST), SMALL.make_sum()
    for _ in range(64):
        total.add(part)  # as large as 64 sites' parts can be, and each is reduced alone
    total.subtract(np.zeros(SLOTS, dtype=np.uint64))  # adds t, the most that is ever added
    expected = 64 * (PLAIN_MODULUS - 1) % PLAIN_MODULUS
    assert set(SMALL.decrypt(study_key, total.to_bytes(), 64).tolist()) == {expected}


def test_part_of_another_modulus_is_refused_and_opens_nothing(study_key: StudyKey) -> None:
    """A site that plants a modulus of its own: the others' parts are refused, and no site opens the sum."""
    planted, total = SMALL.encrypt(StudyKey.generate(), MOST), SMALL.make_sum()
    total.add(planted)
    with pytest.raises(SealingError, match="another than that of the updates before it"):
        total.add(SMALL.encrypt(study_key, MOST))
    assert total.to_bytes() == planted
    with pytest.raises(SealingError, match="another than that of the study key"):
        SMALL.decrypt(study_key, planted, 1)


@pytest.mark.usefixtures("_small_moduli")
def test_vector_whose_second_part_has_another_modulus_changes_nothing(study_key: StudyKey) -> None:
    layout = Layout(2 * SLOTS, 0, 16, 3, scheme=SchemeName.PAILLIER)
    first, other = (SMALL.encrypt(key, MOST) for key in (study_key, StudyKey.generate()))
    aggregate = Aggregate(layout)
    aggregate.add(first * layout.parts)
    before = aggregate.to_bytes()
    with pytest.raises(SealingError, match="another than that of the updates before it"):
        aggregate.add(first * (layout.parts - 1) + other)
    assert aggregate.to_bytes() == before


def test_same_study_key_gives_the_same_modulus_and_another_one_another(study_key: StudyKey) -> None:
    copy = StudyKey.from_bytes(study_key.to_bytes())
    moduli = [SMALL.encrypt(key, MOST)[:32] for key in (study_key, copy, StudyKey.generate())]
    assert moduli[0] == moduli[1] != moduli[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda part: part[:-1], "bytes, got"),
        (lambda part: bytes(1) + part[1:], "expected an odd one of 256 bits"),
        (lambda part: part[:32] + bytes(64) + part[96:], "not between 0 and the modulus squared"),
        (lambda part: part[:32] + b"\xff" * 64 + part[96:], "not between 0 and the modulus squared"),
    ],
)
def test_malformed_part_is_refused(study_key: StudyKey, change: object, message: str) -> None:
    assert callable(change)
    with pytest.raises(SealingError, match=message):
        SMALL.require_parts(change(SMALL.encrypt(study_key, MOST)))


def test_part_of_a_study_is_nearly_twice_one_of_bfv() -> None:
    cipher = SCHEMES[SchemeName.PAILLIER]
    assert cipher.sealed_bytes == cipher.compute_sum_bytes(64) == 384 + 68 * 768 == 52_608
    assert cipher.masked


def test_largest_model_is_named_and_a_larger_one_is_described() -> None:
    most = 8 * 4096 * 2 - 2 * 4
    assert Layout(most, 0, 16, 3, scheme=SchemeName.PAILLIER).excess is None
    described = Layout(most + 1, 0, 16, 3, scheme=SchemeName.PAILLIER).excess
    assert described is not None
    assert "seals at most 65,536 values of 16 bits with 3 sites, the largest round has 65,529" in described
    assert Layout(10**7, 0, 16, 3).excess is None
