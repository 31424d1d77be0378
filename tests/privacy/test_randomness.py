"""The keystream against NIST's vectors, and its draws against the distributions they claim."""

import hashlib
import math

import numpy as np
import pytest
import torch
from scipy import stats

from privacy.randomness import KEY_BYTES, KeyStream, from_os

KEY = hashlib.sha256(b"consilium test stream").digest()
LEAST_P = 1e-4  # keys are fixed, so a test that passes once passes always


def test_bytes_are_aes256_ctr_from_counter_zero() -> None:
    """The keystream is the encrypted counter: the zero block under the zero key, NIST SP 800-38A's key elsewhere.

    AES-256 of the zero block under the zero key is from the AESAVS known answer tests (zero key, zero text).
    """
    assert KeyStream(bytes(32)).draw_bytes(16).hex() == "dc95c078a2408989ad48a21492842087"


def test_bytes_decrypt_the_nist_vector_at_its_counter() -> None:
    """SP 800-38A, F.5.5, uses another first counter; the block at that counter is checked through ECB, F.1.5."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    ecb = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305 - the definition of counter mode
    assert ecb.update(bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")).hex() == "f3eed1bdb5d2a03c064b5a7e3db181f8"
    blocks = b"".join(ecb.update(counter.to_bytes(16, "big")) for counter in range(300))
    assert KeyStream(key).draw_bytes(len(blocks)) == blocks


def test_stream_is_the_same_for_the_same_key_however_it_is_cut() -> None:
    whole = KeyStream(KEY).draw_bytes(100)
    stream = KeyStream(KEY)
    assert stream.draw_bytes(1) + stream.draw_bytes(32) + stream.draw_bytes(0) + stream.draw_bytes(67) == whole
    assert KeyStream(KEY[::-1]).draw_bytes(100) != whole


def test_words_are_little_endian() -> None:
    assert KeyStream(KEY).draw_words(2).tolist() == [
        int.from_bytes(KeyStream(KEY).draw_bytes(16)[:8], "little"),
        int.from_bytes(KeyStream(KEY).draw_bytes(16)[8:], "little"),
    ]


def test_streams_from_the_operating_system_differ() -> None:
    assert from_os().draw_bytes(32) != from_os().draw_bytes(32)


@pytest.mark.parametrize("length", [0, 16, KEY_BYTES - 1, KEY_BYTES + 1])
def test_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"a stream's key has 32 bytes, got {length}"):
        KeyStream(bytes(length))


@pytest.mark.parametrize("bound", [1, 2, 3, 10, 1000, (1 << 43) - 7, 1 << 63])
def test_below_stays_below_its_bound(bound: int) -> None:
    drawn = KeyStream(KEY).draw_below(bound, 5000)
    assert drawn.shape == (5000,)
    assert int(drawn.max()) < bound
    assert int(drawn.max()) >= bound * 0.99 - 1


@pytest.mark.parametrize("bound", [0, -1, (1 << 63) + 1])
def test_below_a_bound_that_no_word_has_is_refused(bound: int) -> None:
    with pytest.raises(ValueError, match=r"expected a bound in 1\.\.2\^63"):
        KeyStream(KEY).draw_below(bound, 1)


@pytest.mark.parametrize("bound", [2, 3, 5, 96, 129])
def test_below_is_uniform(bound: int) -> None:
    counts = np.bincount(KeyStream(KEY).draw_below(bound, 200_000).astype(np.int64), minlength=bound)
    assert stats.chisquare(counts).pvalue > LEAST_P


def test_below_has_no_bias_where_a_remainder_would() -> None:
    """Of 3/4 of a power of two, a remainder would make the first third twice as likely."""
    bound = 3 << 61
    thirds = np.bincount(
        (KeyStream(KEY).draw_below(bound, 60_000) // np.uint64(1 << 61)).astype(np.int64), minlength=3
    )
    assert stats.chisquare(thirds).pvalue > LEAST_P


def test_below_is_drawn_by_rejection_from_the_top_bits() -> None:
    """An independent reading of the words: 43-bit candidates, those not below the bound dropped."""
    bound = 8796092858369
    words = KeyStream(KEY).draw_words(40)
    kept = [int(word) >> 21 for word in words if int(word) >> 21 < bound]
    assert KeyStream(KEY).draw_below(bound, 20).tolist() == kept[:20]
    assert KeyStream(KEY).draw_below(1 << 8, 20).tolist() == [int(word) >> 56 for word in words[:20]]


def test_uniform_is_open_and_uniform() -> None:
    drawn = KeyStream(KEY).draw_uniform(200_000)
    assert drawn.min() > 0
    assert drawn.max() < 1
    assert stats.kstest(drawn, "uniform").pvalue > LEAST_P


def test_uniform_is_the_midpoint_that_the_top_52_bits_name() -> None:
    """An independent reading of the words; the midpoints nearest to 0 and 1 are neither."""
    words = KeyStream(KEY).draw_words(50)
    assert KeyStream(KEY).draw_uniform(50).tolist() == [((int(word) >> 12) + 0.5) / 2**52 for word in words]
    assert 0.5 / 2**52 > 0
    assert (2**52 - 0.5) / 2**52 < 1


def test_normal_is_normal() -> None:
    drawn = KeyStream(KEY).draw_normal(400_000)
    assert stats.kstest(drawn, "norm").pvalue > LEAST_P
    error = 1 / np.sqrt(len(drawn))
    assert abs(drawn.mean()) < 4 * error
    assert abs(drawn.var() - 1) < 4 * np.sqrt(2) * error
    assert abs(stats.skew(drawn)) < 4 * np.sqrt(6) * error
    assert abs(stats.kurtosis(drawn)) < 4 * np.sqrt(24) * error


@pytest.mark.parametrize("beyond", [2.0, 3.0, 4.0])
def test_normal_has_the_tails_of_a_normal(beyond: float) -> None:
    drawn = np.abs(KeyStream(KEY).draw_normal(1_000_000))
    count = int((drawn > beyond).sum())
    assert stats.binomtest(count, len(drawn), 2 * stats.norm.sf(beyond)).pvalue > LEAST_P


def test_normal_pairs_are_independent() -> None:
    """The two deviates of a Box-Muller pair, and neighbours."""
    drawn = KeyStream(KEY).draw_normal(200_000)
    for first, second in ((drawn[:100_000], drawn[100_000:]), (drawn[:-1], drawn[1:])):
        for a, b in ((first, second), (first**2, second**2)):
            assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(len(a))


@pytest.mark.parametrize("count", [2, 7, 1 << 15])
def test_normal_is_box_and_mullers_of_the_uniforms(count: int) -> None:
    """An independent reading: the first half of a block are radii, the second angles; cosines first, then sines."""
    pairs = (count + 1) // 2
    uniform = KeyStream(KEY).draw_uniform(2 * pairs)
    radius = [math.sqrt(-2 * math.log(value)) for value in uniform[:pairs]]
    angle = [2 * math.pi * value for value in uniform[pairs:]]
    cosines = [r * math.cos(a) for r, a in zip(radius, angle, strict=True)]
    sines = [r * math.sin(a) for r, a in zip(radius, angle, strict=True)]
    np.testing.assert_allclose(KeyStream(KEY).draw_normal(count), (cosines + sines)[:count], rtol=1e-13, atol=1e-15)


def test_normal_under_the_same_key_is_the_same_to_the_bit_on_any_number_of_threads() -> None:
    count = (1 << 17) + 77
    once = KeyStream(KEY).draw_normal(count).tobytes()
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert KeyStream(KEY).draw_normal(count).tobytes() == once
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("count", [0, 1, 7, 1 << 15, (1 << 15) + 1, (1 << 17) + 77])
@pytest.mark.parametrize("parts", [1, 2, 3, 8])
@pytest.mark.parametrize("before", [0, 5, 16])
def test_normals_divided_are_those_of_one_draw_and_so_is_what_follows(count: int, parts: int, before: int) -> None:
    once, divided = KeyStream(KEY), KeyStream(KEY)
    assert once.draw_bytes(before) == divided.draw_bytes(before)
    want, got = once.draw_normal(count), np.full(count, np.nan)
    found = divided.divide_normals(count, parts)
    assert len(found) <= parts
    for part in reversed(found):  # in any order
        for place, normals in part.draw():
            got[place] = normals
    assert got.tobytes() == want.tobytes()
    assert divided.draw_bytes(40) == once.draw_bytes(40)


def test_part_of_normals_does_not_show_its_key() -> None:
    part = KeyStream(KEY).divide_normals(10, 1)[0]
    assert str(KEY) not in f"{part} {part!r} {[part]}"


def test_normal_reaches_no_further_than_the_least_uniform_allows() -> None:
    """The radius of the uniform nearest to zero, and how much of a normal lies beyond it."""
    farthest = math.sqrt(-2 * math.log(2**-53))
    assert farthest == pytest.approx(8.57, abs=0.005)
    assert 2 * stats.norm.sf(farthest) == pytest.approx(1e-17, rel=0.1)
    assert np.abs(KeyStream(KEY).draw_normal(1_000_000)).max() < farthest


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_normal_gives_as_many_as_asked(count: int) -> None:
    assert KeyStream(KEY).draw_normal(count).shape == (count,)


def test_large_draws_are_whole() -> None:
    """More than are drawn at a time."""
    count = (1 << 20) + 3
    assert np.all(KeyStream(KEY).draw_normal(count) != 0)
    assert len(set(KeyStream(KEY).draw_below(1 << 62, count).tolist())) == count
