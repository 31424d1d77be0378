"""The docstring of ``privacy.dpsgd`` row by row; oracle: a plain loop over patients with torch.autograd."""

import logging
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from privacy.dpsgd import DpSgd, Mechanism, add_noise, sample_patients
from privacy.dpsgd.mechanism import NoiseAhead
from privacy.errors import TermsError, TrainingError
from privacy.randomness import KeyStream
from tests.privacy.dpsgd.oracle import (
    KEY,
    MARGIN,
    Table,
    assert_as_the_loop,
    everybody,
    loop_sum,
    loss,
    network,
    of_sizes,
    table,
)

PRIVATE = Mechanism(sampling_rate=0.5, public_patients=20, clipping_norm=0.7, noise_multiplier=1.3)
OPEN = Mechanism(sampling_rate=0.5, public_patients=20, clipping_norm=None, noise_multiplier=None)


@pytest.mark.parametrize("mechanism", [PRIVATE, OPEN])
def test_lot_sum_equals_a_loop_over_patients(mechanism: Mechanism) -> None:
    module, records = network(), table()
    chosen = np.array([0, 3, 4, 11, 19])
    got = DpSgd(module, loss, mechanism, KeyStream(KEY)).sum_lot(records, chosen)
    assert_as_the_loop(module, got, loop_sum(module, records, chosen, mechanism.clipping_norm))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    patients=st.integers(1, 12),
    spread=st.sampled_from([1e-3, 1.0, 1e4]),
    clipping_norm=st.sampled_from([1e-3, 1.0, 50.0]),
    leaving=st.integers(0, 11),
)
def test_lot_sum_when_one_patient_leaves_moves_by_at_most_the_clipping_norm(
    seed: int, patients: int, spread: float, clipping_norm: float, leaving: int
) -> None:
    mechanism = Mechanism(1.0, 10, clipping_norm, 1.0)
    step = DpSgd(network(seed % 7).double(), loss, mechanism, KeyStream(KEY))
    records = table(patients, seed, spread=spread).double()
    rest = records.without(leaving % patients)
    moved = step.sum_lot(records, everybody(records)) - step.sum_lot(rest, everybody(rest))
    assert float(moved.norm()) <= clipping_norm


def test_lot_sum_patient_with_many_equal_records_counts_as_one() -> None:
    step = DpSgd(network(), loss, PRIVATE, KeyStream(KEY))
    once = table(1, most_records=1)
    often = Table(once.features.repeat(50, 1), once.labels.repeat(50), torch.zeros(50, dtype=torch.long), 1)
    torch.testing.assert_close(step.sum_lot(often, everybody(often)), step.sum_lot(once, everybody(once)))


def test_lot_sum_gradient_that_is_not_finite_counts_as_zero_and_touches_nobody() -> None:
    step = DpSgd(network(), loss, PRIVATE, KeyStream(KEY))
    records = table()
    expected = step.sum_lot(records, np.delete(everybody(records), 7))
    records.features[records.patient == 7] = torch.nan
    torch.testing.assert_close(step.sum_lot(records, everybody(records)), expected)


def test_lot_sum_in_single_precision_depends_on_the_others_in_the_last_bits_only() -> None:
    step, single = (DpSgd(network(), loss, PRIVATE, KeyStream(KEY), batch_bytes=size) for size in (1 << 30, 1))
    records = table(200)
    whole = step.sum_lot(records, everybody(records))
    shift = whole - single.sum_lot(records, everybody(records))
    assert 0 < float(shift.norm()) < 1e-6 * float(whole.norm())


@pytest.mark.parametrize("batch_bytes", [1, 2_000, 7_000, 1 << 30])
@pytest.mark.parametrize("mechanism", [PRIVATE, OPEN])
def test_lot_sum_in_batches_is_the_same(mechanism: Mechanism, batch_bytes: int) -> None:
    """The least holds one record, so that patients with several are larger than a batch."""
    module, records = network().double(), table().double()
    whole = DpSgd(module, loss, mechanism, KeyStream(KEY)).sum_lot(records, everybody(records))
    cut = DpSgd(module, loss, mechanism, KeyStream(KEY), batch_bytes=batch_bytes).sum_lot(
        records, everybody(records)
    )
    torch.testing.assert_close(cut, whole, rtol=1e-12, atol=1e-12)


def test_lot_sum_one_patient_larger_than_a_batch_is_clipped_as_a_whole() -> None:
    module, records = network(), of_sizes(torch.tensor([1, 40, 2, 1]), (6,), spread=3.0)
    got = DpSgd(module, loss, PRIVATE, KeyStream(KEY), batch_bytes=3_000).sum_lot(records, everybody(records))
    assert_as_the_loop(module, got, loop_sum(module, records, everybody(records), 0.7))


def test_lot_sum_patient_larger_than_a_batch_that_is_not_finite_counts_as_zero() -> None:
    step = DpSgd(network(), loss, PRIVATE, KeyStream(KEY), batch_bytes=1)
    records = of_sizes(torch.tensor([1, 5, 2]), (6,))
    expected = step.sum_lot(records, np.array([0, 2]))
    records.features[3] = torch.inf
    torch.testing.assert_close(step.sum_lot(records, everybody(records)), expected)


def test_lot_sum_of_nobody_is_zero() -> None:
    assert not DpSgd(network(), loss, PRIVATE, KeyStream(KEY)).sum_lot(table(), np.array([], dtype=np.int64)).any()


@pytest.mark.parametrize("sentence", ["[enforce fail] DefaultCPUAllocator: not enough memory", "out of memory"])
def test_lot_sum_out_of_memory_sums_the_same_lot_in_smaller_batches(
    sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A loss that has room for five records at a time, and fails in the middle of a lot."""
    caplog.set_level(logging.INFO)
    module, records, sizes = network(), table(), []

    def cramped(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(labels))
        if len(labels) > 5:
            raise RuntimeError(sentence)
        return loss(logits, labels)

    engine = DpSgd(module, cramped, PRIVATE, KeyStream(KEY), batch_bytes=20_000)
    got = engine.compute_gradient(records)
    want = DpSgd(module, loss, PRIVATE, KeyStream(KEY)).compute_gradient(records)
    assert max(sizes) > 5
    assert engine.records_at_once in range(max(size for size in sizes if size <= 5), 6)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    assert "not enough memory; from now on" in caplog.text


def test_lot_sum_without_memory_for_one_record_is_a_sentence() -> None:
    def full(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    step = DpSgd(network(), full, PRIVATE, KeyStream(KEY))
    with pytest.raises(TrainingError, match="not enough memory for the gradient of a single record"):
        step.sum_lot(table(), np.array([1, 2]))


def test_lot_sum_another_failure_is_not_taken_for_memory() -> None:
    def wrong(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("a shape does not fit")

    with pytest.raises(RuntimeError, match="a shape does not fit"):
        DpSgd(network(), wrong, PRIVATE, KeyStream(KEY)).sum_lot(table(), np.array([1, 2]))


def test_lot_sum_of_a_loss_over_the_batch_is_refused() -> None:
    step = DpSgd(network(), lambda logits, labels: loss(logits, labels).mean(), PRIVATE, KeyStream(KEY))
    with pytest.raises(TermsError, match=r"one number for each record, expected shape \(3,\), got \(\)"):
        step.sum_lot(of_sizes(torch.tensor([1, 2]), (6,)), np.array([0, 1]))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), patients=st.integers(1, 30), leaving=st.integers(0, 29))
def test_lot_sum_in_single_precision_moves_by_at_most_the_clipping_norm(
    seed: int, patients: int, leaving: int
) -> None:
    """All patients pull the same way, where rounding of the sum is largest."""
    step = DpSgd(network(seed % 7), loss, Mechanism(1.0, 10, 0.7, 1.0), KeyStream(KEY))
    records = table(patients, seed)
    records.labels[:] = 1.0
    rest = records.without(leaving % patients)
    moved = step.sum_lot(records, everybody(records)).double() - step.sum_lot(rest, everybody(rest)).double()
    assert float(moved.norm()) <= 0.7


def test_lot_sum_clips_to_a_little_less_than_the_clipping_norm() -> None:
    step = DpSgd(network(), loss, Mechanism(1.0, 10, 1e-3, 1.0), KeyStream(KEY))
    assert float(step.sum_lot(table(1), np.array([0])).norm()) == pytest.approx(1e-3 * MARGIN, rel=1e-6)


def test_lot_sum_in_mixed_precision_is_near_and_bounded() -> None:
    module, records = network(), table(40)
    lone = DpSgd(module, loss, Mechanism(1.0, 40, 0.01, 1.0), KeyStream(KEY), precision=torch.bfloat16)
    assert float(lone.sum_lot(records, np.array([3])).norm()) == pytest.approx(0.01 * MARGIN, rel=1e-6)
    got = DpSgd(module, loss, PRIVATE, KeyStream(KEY), precision=torch.bfloat16).sum_lot(
        records, everybody(records)
    )
    want = loop_sum(module, records, everybody(records), 0.7)
    assert got.dtype == torch.float32
    assert float((got - want).norm()) < 0.03 * float(want.norm())


def test_lot_sum_frozen_parameters_are_neither_computed_nor_counted() -> None:
    module, records = network(), table()
    module.get_submodule("0").requires_grad_(False)
    got = DpSgd(module, loss, PRIVATE, KeyStream(KEY)).sum_lot(records, everybody(records))
    assert got.shape == (6,)
    assert_as_the_loop(module, got, loop_sum(module, records, everybody(records), 0.7))
    assert not module.get_submodule("0").weight.requires_grad
    assert module.get_submodule("2").weight.requires_grad


def test_step_of_a_module_without_parameters_that_train_is_refused() -> None:
    with pytest.raises(TermsError, match="no parameter that trains"):
        DpSgd(network().requires_grad_(False), loss, PRIVATE, KeyStream(KEY))


def test_lot_sum_that_fails_leaves_the_module_usable() -> None:
    module, records = network(), table()
    records.labels = records.labels[:, None]
    with pytest.raises(ValueError, match="Target size"):
        DpSgd(module, loss, PRIVATE, KeyStream(KEY)).sum_lot(records, everybody(records))
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in module.modules())


def test_add_noise_is_the_streams_normals() -> None:
    total = torch.zeros((1 << 15) + 5)
    add_noise(total, 2.0, KeyStream(KEY))
    stream = KeyStream(KEY)
    want = np.concatenate([stream.draw_normal(1 << 15), stream.draw_normal(5)])
    np.testing.assert_allclose(total.numpy(), 2.0 * want, rtol=1e-6)


@pytest.mark.parametrize("count", [5, (1 << 15) + 5, 10 * (1 << 15)])
def test_add_noise_is_the_same_to_the_bit_on_any_number_of_threads(count: int) -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            total, stream = torch.linspace(-1, 1, count), KeyStream(KEY)
            add_noise(total, 0.7, stream)
            assert torch.get_num_threads() == threads
            found.append((total.numpy().tobytes(), stream.draw_bytes(20)))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_add_noise_to_double_precision_and_to_a_part_of_a_vector() -> None:
    whole = torch.zeros(3, 9, dtype=torch.float64)
    add_noise(whole[1], 2.0, KeyStream(KEY))
    assert whole[1].tolist() == (2.0 * KeyStream(KEY).draw_normal(9)).tolist()
    assert not whole[0::2].any()


@settings(max_examples=20, deadline=None)
@given(
    count=st.sampled_from([5, (1 << 16) - 1, (1 << 16) + 3, 9 * (1 << 15) + 1]),
    ahead=st.sampled_from([0, 2 << 15, 5 << 15, 1 << 23]),
    threads=st.sampled_from([1, 2, 5]),
)
def test_noise_ahead_is_that_of_add_noise_to_the_bit(count: int, ahead: int, threads: int) -> None:
    """Whatever is drawn ahead, and by however many threads; the stream then goes on as after ``add_noise``."""
    before, streams = torch.get_num_threads(), [KeyStream(KEY), KeyStream(KEY)]
    wanted, got = (torch.linspace(-1, 1, count) for _ in streams)
    add_noise(wanted, 0.7, streams[0])
    try:
        torch.set_num_threads(threads)
        with NoiseAhead(count, streams[1], got.device, ahead) as noise:
            assert torch.get_num_threads() == threads  # those of the pool do not count
            noise.add_to(got, 0.7)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert got.numpy().tobytes() == wanted.numpy().tobytes()
    assert streams[0].draw_bytes(20) == streams[1].draw_bytes(20)


def test_noise_ahead_of_a_step_that_fails_ends_its_threads() -> None:
    before, running = torch.get_num_threads(), threading.active_count()
    torch.set_num_threads(2)
    try:
        with (
            pytest.raises(TrainingError, match="the step fails"),
            NoiseAhead(1 << 22, KeyStream(KEY), torch.device("cpu")),
        ):
            raise TrainingError("the step fails")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threading.active_count() == running


def test_gradient_is_the_same_whether_its_noise_is_drawn_ahead_or_not() -> None:
    """A model that is random, whose seed the stream gives between the lot and the noise."""
    before, found = torch.get_num_threads(), []
    module = nn.Sequential(nn.Linear(6, 12_000), nn.Dropout(0.5), nn.Linear(12_000, 1), nn.Flatten(0))
    try:
        for threads in (1, 4):
            step = DpSgd(module, loss, PRIVATE, KeyStream(KEY))
            torch.set_num_threads(threads)
            gradients = [step.compute_gradient(table()) for _ in range(2)]
            found.append(torch.stack(gradients))
    finally:
        torch.set_num_threads(before)
    stream = KeyStream(KEY)
    chosen = sample_patients(20, PRIVATE.sampling_rate, stream)
    total = DpSgd(module, loss, PRIVATE, stream).sum_lot(table(), chosen)
    add_noise(total, 1.3 * 0.7, stream)
    # products of matrices by other numbers of threads differ in the last bits
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(found[0][0], total / PRIVATE.expected_lot, rtol=0, atol=1e-6)


def test_gradient_empty_lot_is_noise_alone() -> None:
    mechanism = Mechanism(1e-15, 10**9, 0.7, 1.3)
    got = DpSgd(network(), loss, mechanism, KeyStream(KEY)).compute_gradient(table())
    stream = KeyStream(KEY)
    assert len(sample_patients(20, 1e-15, stream)) == 0
    expected = 1.3 * 0.7 * stream.draw_normal(41) / mechanism.expected_lot
    assert got.tolist() == pytest.approx(expected.tolist())


def test_gradient_is_divided_by_the_expected_lot_not_the_realised_one() -> None:
    module, records = network(), table()
    got = DpSgd(module, loss, Mechanism(0.5, 30, None, None), KeyStream(KEY)).compute_gradient(records)
    chosen = sample_patients(20, 0.5, KeyStream(KEY))
    assert len(chosen) != 15
    assert_as_the_loop(module, got, loop_sum(module, records, chosen, None) / 15)


def test_gradient_noise_has_standard_deviation_sigma_times_clipping_norm() -> None:
    module = nn.Sequential(nn.Linear(6, 5000), nn.Tanh(), nn.Linear(5000, 1), nn.Flatten(0))
    mechanism = Mechanism(1e-15, 10**15, 0.7, 1.3)  # nobody is drawn, the expected lot is one
    noise = DpSgd(module, loss, mechanism, KeyStream(KEY)).compute_gradient(table())
    assert float(noise.std()) == pytest.approx(1.3 * 0.7, rel=0.02)
    assert abs(float(noise.mean())) < 0.02


def test_gradient_noise_is_never_drawn_twice() -> None:
    step = DpSgd(network(), loss, Mechanism(1e-15, 10**9, 1.0, 1.0), KeyStream(KEY))
    assert step.compute_gradient(table()).tolist() != step.compute_gradient(table()).tolist()


def test_gradient_does_not_depend_on_torch_randomness() -> None:
    gradients = []
    for seed in (1, 2):
        module, records = network(), table()
        torch.manual_seed(seed)
        gradients.append(DpSgd(module, loss, PRIVATE, KeyStream(KEY)).compute_gradient(records).tolist())
    assert gradients[0] == gradients[1]


def test_gradient_leaves_the_module_as_it_was() -> None:
    module, records = network(), table()
    before = [parameter.clone() for parameter in module.parameters()]
    DpSgd(module, loss, PRIVATE, KeyStream(KEY)).compute_gradient(records)
    for parameter, old in zip(module.parameters(), before, strict=True):
        assert parameter.grad is None
        assert not hasattr(parameter, "grad_sample")
        assert torch.equal(parameter, old)


def test_sample_patients_draws_each_with_the_rate() -> None:
    drawn = np.zeros(50)
    stream = KeyStream(KEY)
    for _ in range(2000):
        drawn[sample_patients(50, 0.2, stream)] += 1
    assert drawn.mean() == pytest.approx(400, rel=0.02)
    assert drawn.std() == pytest.approx(np.sqrt(2000 * 0.2 * 0.8), rel=0.35)


def test_sample_patients_at_rate_one_draws_everybody() -> None:
    assert sample_patients(1000, 1.0, KeyStream(KEY)).tolist() == list(range(1000))


def test_mechanism_noise_without_clipping_is_refused() -> None:
    with pytest.raises(ValueError, match="come together"):
        Mechanism(0.5, 10, None, 1.0)
