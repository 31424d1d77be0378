"""Lots in a fixed order: who leaves moves nobody else, and moves C times the sums by no more than the event charges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from privacy.accounting.correlated_noise import make_band
from privacy.accounting.events import BandedGaussian
from privacy.dpsgd import DpSgd, Mechanism, OrderedSteps, assign_lots
from privacy.mechanisms.correlated_noise import BandedNoise
from privacy.randomness import KeyStream
from tests.privacy.dpsgd.oracle import KEY, Table, loop_sum, loss, network, table

LOTS, PASSES, BANDS, NORM, SIGMA = 4, 2, 3, 0.7, 1.3
NAMES = tuple(f"p{number}" for number in range(20))
names = st.lists(st.text(max_size=8), unique=True, min_size=1, max_size=20)


@given(names, st.data())
def test_lot_of_a_patient_depends_on_nobody_else(everybody: list[str], data: st.DataObject) -> None:
    some = data.draw(st.lists(st.sampled_from(everybody), unique=True))
    lots = dict(zip(everybody, assign_lots(everybody, "a study", 7), strict=True))
    assert assign_lots(some, "a study", 7).tolist() == [lots[name] for name in some]


def test_lots_are_alike_in_size_and_others_in_another_study() -> None:
    """Chi-square over 8,000 patients, and over how the lots of two studies meet; fails with a chance of 1e-6."""
    known = [f"patient {number}" for number in range(8000)]
    first, second = (assign_lots(known, study, 8) for study in ("one", "another"))
    assert stats.chisquare(np.bincount(first, minlength=8)).pvalue > 1e-6
    assert stats.chisquare(np.bincount(8 * first + second, minlength=64)).pvalue > 1e-6


def make_steps(records: Table, lots: np.ndarray, noise: BandedNoise) -> tuple[OrderedSteps, torch.nn.Module]:
    mechanism = Mechanism(1 / LOTS, 20, NORM, SIGMA)
    module = network().double()
    return OrderedSteps(DpSgd(module, loss, mechanism, KeyStream(KEY)), mechanism, lots, LOTS, noise), module


def make_noise(length: int) -> BandedNoise:
    return BandedNoise(KEY, length, SIGMA * NORM, BANDS)


def test_steps_take_lots_in_turn_with_the_noise_of_the_mechanism() -> None:
    records = table().double()
    lots, length = assign_lots(NAMES, "a study", LOTS), sum(each.numel() for each in network().parameters())
    steps, module = make_steps(records, lots, make_noise(length))
    noise = make_noise(length)
    for step in range(LOTS * PASSES):
        got = steps.compute_gradient(records) * (20 / LOTS)
        alone = loop_sum(module, records, np.flatnonzero(lots == step % LOTS), NORM)
        np.testing.assert_allclose(got - alone, noise.draw_step(), atol=NORM * 5 * 2e-4)  # clipping has a margin


@settings(max_examples=20, deadline=None)
@given(leaving=st.integers(0, 19), seed=st.integers(0, 50))
def test_patient_who_leaves_moves_the_matrix_of_sums_by_what_is_charged(leaving: int, seed: int) -> None:
    """The worst of directions is that of one gradient each pass; here it is the same model, so nearly that."""
    records = table(20, seed, spread=1e3).double()  # gradients far beyond the clipping norm
    lots, length = assign_lots(NAMES, "a study", LOTS), sum(each.numel() for each in network().parameters())
    rest = np.delete(lots, leaving)
    sums = []
    for taken, order in ((records, lots), (records.without(leaving), rest)):
        steps, _ = make_steps(taken, order, make_noise(length))
        sums.append(np.array([steps.compute_gradient(taken).numpy() * (20 / LOTS) for _ in range(LOTS * PASSES)]))
    moved = (sums[0] - sums[1]) / NORM
    assert not np.delete(moved, np.s_[lots[leaving] :: LOTS], axis=0).any()  # others' sums, to the bit
    strategy = np.zeros((len(moved), len(moved)))
    for offset, coefficient in enumerate(make_band(BANDS)):
        strategy += coefficient * np.eye(len(moved), k=-offset)
    event = BandedGaussian(noise_multiplier=1.0, bands=BANDS, lots=LOTS, steps=len(moved))
    squared = float(event.compute_renyi_divergence(2))
    assert float(np.square(strategy @ moved).sum()) <= squared * (1 + 1e-9)
    if lots[leaving] == 0 and np.linalg.norm(moved[0]) > 0.99:
        assert float(np.square(strategy @ moved).sum()) > 0.98 * squared  # and the charge is no larger than that


def test_sampling_rate_of_another_number_of_lots_is_refused() -> None:
    mechanism = Mechanism(0.3, 20, NORM, SIGMA)
    engine = DpSgd(network(), loss, mechanism, KeyStream(KEY))
    with pytest.raises(ValueError, match=r"expected a sampling rate of 1 / 4, got 0\.3"):
        OrderedSteps(engine, mechanism, np.zeros(20, dtype=np.int64), 4, make_noise(1))
