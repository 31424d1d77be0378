"""Two ways and many owners' ways to open one ciphertext, with toy primes and the textbook as oracle."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import SealingError
from privacy.randomness import KeyStream
from privacy.secure_aggregation.schemes.bcp import BcpCiphertext, BcpKey, BcpMaster
from privacy.secure_aggregation.schemes.primes import is_prime

MASTER = BcpMaster.draw(KeyStream(b"m" * 32), 160)
PARAMETERS = MASTER.parameters
N = PARAMETERS.modulus
OWNERS = [BcpKey.generate(PARAMETERS) for _ in range(4)]
NUMBERS = st.integers(0, N - 1)


@settings(max_examples=40, deadline=None)
@given(NUMBERS, NUMBERS, st.integers(-N, N))
def test_user_and_master_open_sums_alike(one: int, other: int, known: int) -> None:
    for owner in OWNERS[:2]:
        total = PARAMETERS.add([PARAMETERS.encrypt(number, owner.public) for number in (one, other)])
        total = PARAMETERS.shift(total, known)
        assert owner.decrypt(total) == MASTER.decrypt(total, owner.public) == (one + other + known) % N


def test_ciphertext_is_the_textbooks() -> None:
    """(g^r, h^r (1 + m N)): with a key a = 1, B / A is 1 + m N."""
    key = BcpKey(PARAMETERS, 1)
    first, second = PARAMETERS.encrypt(12345, key.public)
    assert key.public == PARAMETERS.generator
    assert second * pow(first, -1, N * N) % (N * N) == 1 + 12345 * N


def test_ciphertexts_of_one_number_differ() -> None:
    assert len({PARAMETERS.encrypt(0, OWNERS[0].public) for _ in range(20)}) == 20


def test_safe_primes_are_drawn_unless_asked_otherwise() -> None:
    halves = MASTER._order
    assert N.bit_length() == 160
    assert (N - 1 - 4 * halves) % 2 == 0  # p q = (2 p' + 1) (2 q' + 1)
    other = BcpMaster.draw(KeyStream(b"o" * 32), 256, safe=False)
    owner = BcpKey.generate(other.parameters)
    total = other.parameters.encrypt(99, owner.public)
    assert owner.decrypt(total) == other.decrypt(total, owner.public) == 99
    assert not is_prime(other.parameters.modulus, KeyStream(bytes(32)))


def test_another_owners_key_opens_nothing() -> None:
    ciphertext = PARAMETERS.encrypt(7, OWNERS[0].public)
    with pytest.raises(SealingError, match="does not open"):
        OWNERS[1].decrypt(ciphertext)


def test_all_owners_open_jointly_and_all_but_one_do_not() -> None:
    """The rule of Li et al.'s basic scheme: what is under all keys takes every owner."""
    joint = PARAMETERS.join_keys(owner.public for owner in OWNERS)
    total = PARAMETERS.add([PARAMETERS.encrypt(number, joint) for number in (5, 6)])
    shares = [owner.share(total) for owner in OWNERS]
    assert PARAMETERS.open_jointly(total, shares) == 11
    for missing in range(4):
        with pytest.raises(SealingError, match="a share is missing"):
            PARAMETERS.open_jointly(total, shares[:missing] + shares[missing + 1 :])


def test_share_for_another_ciphertext_opens_nothing() -> None:
    joint = PARAMETERS.join_keys(owner.public for owner in OWNERS)
    ciphertext, other = (PARAMETERS.encrypt(number, joint) for number in (5, 6))
    with pytest.raises(SealingError, match="does not open"):
        PARAMETERS.open_jointly(ciphertext, [owner.share(other) for owner in OWNERS])


def test_known_number_added_is_recognised_without_fresh_randomness() -> None:
    ciphertext = PARAMETERS.encrypt(1, OWNERS[0].public)
    assert PARAMETERS.shift(ciphertext, 1).first == ciphertext.first
    assert PARAMETERS.add([ciphertext, BcpCiphertext(1, 1)]) == ciphertext
