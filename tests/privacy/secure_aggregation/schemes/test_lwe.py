"""Learning with errors with a matrix: exact sums, the noise that is assumed, uniform entries, and a known defect."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest

from privacy.randomness import KeyStream, from_os
from privacy.secure_aggregation.schemes.lwe import (
    Limbs,
    LweCiphertext,
    LweParameters,
    LweSecret,
    add,
    compute_bytes,
    draw_errors,
    draw_uniform,
    join,
    multiply,
    pack,
    reduce,
    unpack,
)

TOY = LweParameters(dimension=64)
P, Q = TOY.plain_modulus, 1 << TOY.modulus_bits
MESSAGE = np.random.default_rng(5).integers(-(2**31), 2**31, 40)


@pytest.fixture(scope="module")
def toy() -> LweSecret:
    return LweSecret.draw(TOY, 40, KeyStream(b"s" * 32))


def integers(limbs: Limbs) -> NDArray[np.object_]:
    return np.array(join(limbs.reshape(3, -1)), dtype=object).reshape(limbs.shape[1:])


def test_limbs_multiply_as_integers_do() -> None:
    numbers, small = draw_uniform(TOY, 5 * 64, from_os()).reshape(3, 5, 64), draw_errors(TOY, (64, 9), from_os())
    product = integers(numbers) @ small.astype(int).astype(object) % Q
    assert integers(multiply(numbers, small, TOY)).tolist() == product.tolist()


def test_two_thousand_sums_open_exactly(toy: LweSecret) -> None:
    total = fresh = toy.make_public().encrypt(MESSAGE)
    for _ in range(1999):
        total = add(total, fresh, TOY)
    assert toy.decrypt(total).tolist() == [2000 * int(number) % P for number in MESSAGE]


def test_limit_of_the_noise_is_where_sums_begin_to_open_wrongly(toy: LweSecret) -> None:
    """One ciphertext doubled: exact while message + p noise is below q/2, and wrong as soon as it is not."""
    total, doublings = toy.make_public().encrypt(MESSAGE), 0
    noise = max(map(abs, toy.read_noise(total)))
    while noise << doublings < Q // 2:
        assert toy.decrypt(total).tolist() == [(int(number) << doublings) % P for number in MESSAGE]
        total, doublings = add(total, total, TOY), doublings + 1
    assert doublings > 15
    assert toy.decrypt(total).tolist() != [(int(number) << doublings) % P for number in MESSAGE]


def test_papers_parameters_have_the_noise_that_is_assumed() -> None:
    """With n = 3000, s = 8, p = 2^48 + 1, q = 2^77: noise of deviation 2^57.6 where 2^76 is the limit."""
    parameters = LweParameters()
    assert (parameters.dimension, parameters.gaussian, parameters.modulus_bits) == (3000, 8, 77)
    assert parameters.plain_modulus == 2**48 + 1
    assert math.log2(parameters.noise_deviation) == pytest.approx(57.6, abs=0.05)
    secret, message = LweSecret.draw(parameters, 64, from_os()), np.arange(64)
    noise = np.array(secret.read_noise(secret.make_public().encrypt(message)), dtype=float)
    assert math.log2(noise.std()) == pytest.approx(57.6, abs=0.5)  # 64 draws: 0.13 bits of deviation


def test_modulus_is_within_the_standards_line_at_dimension_3000() -> None:
    """The table's 54 bits at 2048 and 109 at 4096, for 128 bits of security."""
    line = 54 + (109 - 54) * (3000 - 2048) / (4096 - 2048)
    assert TOY.modulus_bits < line


def test_errors_have_the_papers_distribution() -> None:
    drawn = draw_errors(TOY, (200_000,), from_os()).astype(int)
    weights = np.exp(-np.pi * np.arange(-40, 41) ** 2 / 64.0)
    expected = 200_000 * weights / weights.sum()
    counts = np.bincount(drawn + 40, minlength=81)
    common = expected > 20
    assert np.sum((counts - expected)[common] ** 2 / expected[common]) < 70  # about 25 degrees of freedom
    assert drawn.std() == pytest.approx(TOY.deviation, rel=0.01)


def test_entries_of_a_ciphertext_are_uniform_and_never_the_same(toy: LweSecret) -> None:
    public = toy.make_public()
    drawn = [public.encrypt(np.zeros(40, dtype=np.int64)) for _ in range(40)]
    entries = np.concatenate([integers(part) for each in drawn for part in (each.first, each.second)])
    assert kstest((entries / Q).astype(float), "uniform").pvalue > 1e-6
    assert len({tuple(integers(each.second)) for each in drawn}) == 40


def encrypt_as_the_defective_code_does(toy: LweSecret, matrix: Limbs, numbers: NDArray[np.int64]) -> list[int]:
    """c2 of a public re-implementation: the public key is reduced modulo p, and ciphertexts not at all."""
    errors, secret = draw_errors(TOY, (64, 40), from_os()).astype(int), toy._secret.astype(int)
    wide = integers(matrix)
    public = (P * errors.astype(object) - wide @ secret.astype(object)) % P  # (64, 40)
    mixing = draw_errors(TOY, (64,), from_os()).astype(int).astype(object)
    last = draw_errors(TOY, (40,), from_os()).astype(int)
    return [int(number) for number in mixing @ public + P * last.astype(object) + numbers.astype(object)]


def test_defect_of_a_public_implementation_is_seen(toy: LweSecret) -> None:
    """What is neither modulo q nor as large as q is found by the test of uniformity, and by its size."""
    matrix = toy.make_public().matrix
    drawn = np.concatenate(
        [np.array(encrypt_as_the_defective_code_does(toy, matrix, MESSAGE), dtype=object) for _ in range(40)]
    )
    assert max(map(abs, drawn)) < P << 12  # 17 bits of q are never used
    assert kstest((drawn % Q / Q).astype(float), "uniform").pvalue < 1e-100


def solve(matrix: NDArray[np.object_], right: NDArray[np.object_], modulus: int) -> NDArray[np.object_]:
    """Solve matrix @ x = right by elimination; a pivot is any unit of its column."""
    table, size = np.concatenate([matrix, right], axis=1) % modulus, len(matrix)
    for column in range(size):
        pivot = next(row for row in range(column, size) if math.gcd(table[row, column], modulus) == 1)
        table[[column, pivot]] = table[[pivot, column]]
        table[column] = table[column] * pow(table[column, column], -1, modulus) % modulus
        for row in range(size):
            if row != column:
                table[row] = (table[row] - table[row, column] * table[column]) % modulus
    return table[:, size:]


def test_public_key_that_is_reduced_by_p_gives_the_secret_away(toy: LweSecret) -> None:
    """P modulo p is -A S: p R, the only error, is zero there. Reduced by q it is not, and nothing is found."""
    public, secret = toy.make_public(), toy._secret.astype(int)
    matrix = integers(public.matrix)
    defective = (P * draw_errors(TOY, (64, 40), from_os()).astype(object) - matrix @ secret.astype(object)) % P
    found = solve(matrix, -defective, P)
    assert np.where(found > P // 2, found - P, found).tolist() == secret.tolist()
    right = solve(matrix, -integers(public.masked), P)
    assert not np.any(np.where(right > P // 2, right - P, right) == secret)


def test_holder_of_the_secret_encrypts_from_a_seed_as_everybody_opens(toy: LweSecret) -> None:
    first = draw_uniform(TOY, 64, KeyStream(b"f" * 32))
    fresh = [toy.encrypt(MESSAGE % P, first) for _ in range(2)]
    assert not np.array_equal(fresh[0], fresh[1])  # the errors are fresh although c1 is not
    assert toy.decrypt(LweCiphertext(first, fresh[0])).tolist() == [int(number) % P for number in MESSAGE]
    assert np.abs(toy.read_noise(LweCiphertext(first, fresh[0]))).max() < P * 41


def test_another_secret_opens_nothing(toy: LweSecret) -> None:
    opened = LweSecret.draw(TOY, 40, from_os()).decrypt(toy.make_public().encrypt(MESSAGE))
    assert not set(opened.tolist()) & {int(number) % P for number in MESSAGE}


@pytest.mark.parametrize("count", [1, 8, 13])
def test_numbers_are_packed_without_gaps_and_read_again(count: int) -> None:
    limbs = draw_uniform(TOY, count, from_os())
    data = pack(limbs, TOY)
    assert len(data) == compute_bytes(count, TOY) == math.ceil(77 * count / 8)
    assert np.array_equal(unpack(data, count, TOY), limbs)
    assert int.from_bytes(data, "little") == sum(number << 77 * place for place, number in enumerate(join(limbs)))


def test_negative_limbs_are_carried() -> None:
    assert join(reduce(np.array([[-1], [0], [0]]), TOY)) == [Q - 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modulus_bits": 79}, "53 to 78 bits here, got 79"),
        ({"plain_modulus": 1 << 48}, "p must be odd"),
        ({"gaussian": 9.0}, "in 1..8, got 9"),
        ({"dimension": 1 << 22}, "too large for exact products"),
    ],
)
def test_parameters_that_would_not_be_exact_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LweParameters(**changes)  # type: ignore[arg-type]
