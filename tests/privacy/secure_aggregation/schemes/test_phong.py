"""Weights that a server adds to without reading them: the paper's sizes, exact runs, and where they end."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from privacy.errors import SealingError
from privacy.randomness import KeyStream
from privacy.secure_aggregation.schemes.lwe import LweParameters, LweSecret
from privacy.secure_aggregation.schemes.paillier import PaillierKey, PaillierPublicKey
from privacy.secure_aggregation.schemes.phong import (
    MOST_SUMMANDS,
    EncryptedVector,
    EncryptedWeights,
    LweVectors,
    PaillierVectors,
    pack_signed,
    quantise,
    restore,
    unpack_signed,
)

KEY = PaillierKey.draw(KeyStream(b"p" * 32), 512)
FEATURES, STEPS = 12, 60


def count_dense(*widths: int) -> int:
    return sum(before * after + after for before, after in pairwise(widths))


def test_papers_network_has_109386_parameters() -> None:
    assert count_dense(784, 128, 64, 10) == 109_386


def test_sizes_are_the_papers() -> None:
    modulus = PaillierVectors(PaillierPublicKey((1 << 3072) - 1))
    assert modulus.per_ciphertext == 65
    assert modulus.compute_bits(65 * 1000) / (32 * 65 * 1000) == pytest.approx(2.954, abs=5e-4)
    assert 2 * (1 + 15 / 32) == 2.9375  # without the bits that are left over in a plaintext
    for gradients, expansion in ((109_386, 2.472), (402_250, 2.424)):
        assert LweParameters().compute_bits(gradients) / (32 * gradients) == pytest.approx(expansion, abs=5e-4)


def train(record: int, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """One participant's step of logistic regression on one of its records."""
    drawn = np.random.default_rng(record)
    inputs, label = drawn.normal(size=FEATURES), record % 2
    return 0.01 * (label - 1 / (1 + np.exp(-inputs @ weights))) * inputs  # (features,)


def test_encrypted_asynchronous_run_is_the_plain_run_under_paillier() -> None:
    vectors, server_side = PaillierVectors(KEY.public, KEY), PaillierVectors(KEY.public)
    server = EncryptedWeights(server_side, vectors.encrypt(quantise(np.zeros(FEATURES))))
    plain, stale = np.zeros(FEATURES), [np.zeros(FEATURES)] * 3
    for step in range(STEPS):
        who = step * 7 % 3  # each of three participants trains on the weights that it last fetched
        change = train(step, stale[who])
        server.update(vectors.encrypt(quantise(change)))
        plain = plain + change
        stale[who] = restore(vectors.decrypt(server.weights, FEATURES))
        assert np.abs(stale[who] - plain).max() <= (step + 1) * 2.0**-33  # half a step of 2^-32 for each
    assert np.abs(plain).max() > 0.01


def test_encrypted_run_is_the_plain_run_under_learning_with_errors() -> None:
    parameters = LweParameters(dimension=64)
    secret = LweSecret.draw(parameters, FEATURES, KeyStream(b"s" * 32))
    vectors = LweVectors(parameters, secret.make_public(), secret)
    plain = quantise(np.zeros(FEATURES))
    server = EncryptedWeights(LweVectors(parameters), vectors.encrypt(plain))
    for step in range(STEPS):
        change = quantise(train(step, restore(vectors.decrypt(server.weights))))
        server.update(vectors.encrypt(change))
        plain = plain + change
    assert vectors.decrypt(server.weights).tolist() == plain.tolist()


@pytest.mark.parametrize("most", [-(2**31), 2**31 - 1])
def test_2_to_the_15_largest_summands_fit_and_one_more_would_spill(most: int) -> None:
    """The sum of 2^15 is in every field what it should be; with one more no field is."""
    width, count = 47, 3
    fits = pack_signed([most] * count, count, width)[0] * MOST_SUMMANDS
    assert unpack_signed([fits], count, width) == [most * MOST_SUMMANDS] * count
    beyond = fits + pack_signed([most] * count, count, width)[0]
    assert most * (MOST_SUMMANDS + 1) not in unpack_signed([beyond], count, width)


def test_summand_after_2_to_the_15_is_refused() -> None:
    vectors = PaillierVectors(KEY.public, KEY)
    one = vectors.encrypt(quantise(np.full(3, -0.5)))
    many = one.body
    for _ in range(15):  # doubled 15 times: 2^15 summands
        many = vectors.add(many, many)
    full = EncryptedVector(many, MOST_SUMMANDS)
    assert vectors.decrypt(full, 3).tolist() == [-(2**46)] * 3
    server = EncryptedWeights(PaillierVectors(KEY.public), full)
    with pytest.raises(SealingError, match="they carry 32768 summands, this is number 32769"):
        server.update(one)
    assert server.weights is full


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(2**46), 2**46 - 1), max_size=40), st.integers(1, 10))
def test_packed_integers_are_read_again(integers: list[int], per_number: int) -> None:
    packed = pack_signed(integers, per_number, 47)
    assert unpack_signed(packed, per_number, 47)[: len(integers)] == integers
    assert all(abs(number) < 1 << 47 * per_number for number in packed)


def test_server_cannot_decrypt() -> None:
    secret = LweSecret.draw(LweParameters(dimension=64), 2, KeyStream(bytes(32)))
    vector = LweVectors(secret.parameters, secret.make_public()).encrypt(np.zeros(2, dtype=np.int64))
    with pytest.raises(SealingError, match="does not decrypt"):
        LweVectors(secret.parameters).decrypt(vector)
    with pytest.raises(SealingError, match="does not decrypt"):
        PaillierVectors(KEY.public).decrypt(EncryptedVector((1,)), 1)
    with pytest.raises(SealingError, match="does not encrypt"):
        LweVectors(secret.parameters).encrypt(np.zeros(2, dtype=np.int64))


def test_one_participant_who_tells_the_server_the_key_gives_all_single_steps_away() -> None:
    """Why this is not enough by itself: nothing hides one participant's step from who holds the common key."""
    step = quantise(train(1, np.zeros(FEATURES)))
    honest = PaillierVectors(KEY.public).encrypt(step)
    traitor_and_server = PaillierVectors(KEY.public, KEY)
    assert traitor_and_server.decrypt(honest, FEATURES).tolist() == step.tolist()


@pytest.mark.parametrize("value", [0.5, -0.51, np.nan, np.inf])
def test_value_beyond_the_range_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"beyond \[-0.5, 0.5\)"):
        quantise(np.array([0.0, value]))


def test_plain_gradients_of_one_record_give_the_record_away() -> None:
    """The leak that moved the authors: dL/dW_k / dL/db_k is the record, whatever loss, layers and unit k."""
    torch.manual_seed(3)
    record = torch.rand(30)
    model = torch.nn.Sequential(torch.nn.Linear(30, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    torch.nn.functional.cross_entropy(model(record)[None], torch.tensor([1])).backward()  # type: ignore[no-untyped-call]
    weights, bias = (parameter.grad for parameter in model[0].parameters())
    assert weights is not None
    assert bias is not None
    for unit in range(8):
        assert (weights[unit] / bias[unit] - record).abs().max() < 1.2e-7  # a unit of float32
