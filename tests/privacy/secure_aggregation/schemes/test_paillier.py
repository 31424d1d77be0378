"""Paillier against its textbook: Carmichael's function decrypts, products add, factors and modulus encrypt alike."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import SealingError
from privacy.randomness import KeyStream
from privacy.secure_aggregation.schemes import paillier
from privacy.secure_aggregation.schemes.paillier import MODULUS_BITS, PaillierKey, PaillierPublicKey

KEY = PaillierKey.draw(KeyStream(b"p" * 32), 512)
N = KEY.public.modulus
NUMBERS = st.integers(0, N - 1)


def decrypt_by_the_textbook(ciphertext: int) -> int:
    """L(c^lambda mod n^2) / L(g^lambda mod n^2) mod n, with lambda = lcm(p - 1, q - 1) and g = 1 + n."""
    exponent = math.lcm(KEY._p - 1, KEY._q - 1)
    above, below = ((pow(base, exponent, N * N) - 1) // N for base in (ciphertext, 1 + N))
    return above * pow(below, -1, N) % N


@settings(max_examples=30, deadline=None)
@given(NUMBERS, NUMBERS)
def test_product_decrypts_to_the_sum_as_by_the_textbook(one: int, other: int) -> None:
    product = KEY.public.add([KEY.encrypt(one), KEY.public.encrypt(other), KEY.public.encode(-3)])
    assert KEY.decrypt(product) == decrypt_by_the_textbook(product) == (one + other - 3) % N


def test_randomness_of_a_key_holder_is_an_nth_residue_as_everybodys() -> None:
    """Enc(0) of a holder of the factors: its order divides lambda, so it is u^n for some u, and it is fresh."""
    exponent, seen = math.lcm(KEY._p - 1, KEY._q - 1), set()
    for _ in range(20):
        residue = KEY.encrypt(0)
        assert pow(residue, exponent, N * N) == 1
        seen.add(residue)
    assert len(seen) == 20


def test_ciphertexts_of_one_number_differ_and_fill_the_range() -> None:
    drawn = [KEY.public.encrypt(1) / (N * N) for _ in range(40)] + [KEY.encrypt(1) / (N * N) for _ in range(40)]
    assert len(set(drawn)) == 80
    assert 0.35 < sum(drawn) / 80 < 0.65  # uniform: standard deviation 0.032


def test_key_has_the_bits_of_128_bit_security_unless_asked_otherwise() -> None:
    assert MODULUS_BITS == 3072
    assert N.bit_length() == 512
    assert KEY.public.ciphertext_bytes == 128


def test_what_is_raised_to_the_secret_power_is_unknown_to_who_sends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ciphertext ten times: the bases of the secret powers are all different."""
    key, bases = PaillierKey.draw(KeyStream(b"t" * 32), 512), list[int]()

    def watched(base: int, exponent: int, modulus: int) -> int:
        bases.append(base)
        return pow(base, exponent, modulus)

    sent = key.public.encrypt(5)
    key.decrypt(sent)
    monkeypatch.setattr(paillier, "pow", watched, raising=False)
    assert {key.decrypt(sent) for _ in range(10)} == {5}
    assert len(set(bases)) == 10
    assert sent not in bases


@pytest.mark.parametrize("ciphertext", [0, N * N, -1])
def test_what_is_no_ciphertext_is_refused(ciphertext: int) -> None:
    with pytest.raises(SealingError, match="not between 0 and the modulus squared"):
        KEY.decrypt(ciphertext)


@pytest.mark.parametrize("modulus", [0, (1 << 200) + 1, 1 << 300])
def test_modulus_that_is_small_or_even_is_refused(modulus: int) -> None:
    with pytest.raises(SealingError, match="expected an odd one of 256 bits or more"):
        PaillierPublicKey(modulus)


def test_one_prime_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="two different primes"):
        PaillierKey(7, 7)
