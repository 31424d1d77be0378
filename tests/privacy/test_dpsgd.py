"""The docstring of ``privacy.dpsgd`` row by row; oracle: a plain loop over patients with torch.autograd."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from privacy.dpsgd import DpSgd, Mechanism, check_module, sample_patients
from privacy.errors import TermsError
from privacy.stream import Stream

KEY = b"a key of 32 bytes, for tests now"
PRIVATE = Mechanism(sampling_rate=0.5, public_patients=20, clipping_norm=0.7, noise_multiplier=1.3)
OPEN = Mechanism(sampling_rate=0.5, public_patients=20, clipping_norm=None, noise_multiplier=None)


@dataclass
class Table:
    features: torch.Tensor
    labels: torch.Tensor
    patient: torch.Tensor
    patients: int

    def without(self, patient: int) -> "Table":
        rows = self.patient != patient
        rest = self.patient[rows]
        return Table(self.features[rows], self.labels[rows], rest - (rest > patient).long(), self.patients - 1)

    def double(self) -> "Table":
        return Table(self.features.double(), self.labels.double(), self.patient, self.patients)


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return binary_cross_entropy_with_logits(logits, labels, reduction="none")


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.ELU(), nn.Linear(5, 1), nn.Flatten(0))


def table(patients: int = 20, seed: int = 1, most_records: int = 4, spread: float = 3.0) -> Table:
    random = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, most_records + 1, (patients,), generator=random)
    patient = torch.repeat_interleave(torch.arange(patients), sizes)
    features = spread * torch.randn(len(patient), 6, generator=random)
    labels = torch.randint(0, 2, (len(patient),), generator=random).float()
    return Table(features, labels, patient, patients)


def everybody(records: Table) -> np.ndarray:
    return np.arange(records.patients, dtype=np.int64)


def loop_sum(module: nn.Module, records: Table, chosen: np.ndarray, clipping_norm: float | None) -> torch.Tensor:
    """Independent: one patient after the other, the mean loss of his records, plain autograd."""
    total = torch.zeros(sum(p.numel() for p in module.parameters()), dtype=torch.float64)
    for patient in chosen.tolist():
        rows = records.patient == patient
        mean = loss(module(records.features[rows]), records.labels[rows]).mean()
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(mean, list(module.parameters()))]).double()
        if clipping_norm is not None:
            gradient = gradient * min(1.0, clipping_norm / float(gradient.norm()))
        total += gradient
    return total


@pytest.mark.parametrize("mechanism", [PRIVATE, OPEN])
def test_lot_sum_equals_a_loop_over_patients(mechanism: Mechanism) -> None:
    module, records = network(), table()
    chosen = np.array([0, 3, 4, 11, 19])
    got = DpSgd(module, loss, mechanism, Stream(KEY)).lot_sum(records, chosen)
    torch.testing.assert_close(
        got, loop_sum(module, records, chosen, mechanism.clipping_norm), rtol=1e-5, atol=1e-5
    )


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
    step = DpSgd(network(seed % 7).double(), loss, mechanism, Stream(KEY))
    records = table(patients, seed, spread=spread).double()
    rest = records.without(leaving % patients)
    moved = step.lot_sum(records, everybody(records)) - step.lot_sum(rest, everybody(rest))
    assert float(moved.norm()) <= clipping_norm


def test_lot_sum_patient_with_many_equal_records_counts_as_one() -> None:
    step = DpSgd(network(), loss, PRIVATE, Stream(KEY))
    once = table(1, most_records=1)
    often = Table(once.features.repeat(50, 1), once.labels.repeat(50), torch.zeros(50, dtype=torch.long), 1)
    torch.testing.assert_close(step.lot_sum(often, everybody(often)), step.lot_sum(once, everybody(once)))


def test_lot_sum_gradient_that_is_not_finite_counts_as_zero_and_touches_nobody() -> None:
    step = DpSgd(network(), loss, PRIVATE, Stream(KEY))
    records = table()
    expected = step.lot_sum(records, np.delete(everybody(records), 7))
    records.features[records.patient == 7] = torch.nan
    torch.testing.assert_close(step.lot_sum(records, everybody(records)), expected)


def test_lot_sum_in_single_precision_depends_on_the_others_in_the_last_bits_only() -> None:
    step, single = (DpSgd(network(), loss, PRIVATE, Stream(KEY), limit) for limit in (1 << 30, 1))
    records = table(200)
    shift = step.lot_sum(records, everybody(records)) - single.lot_sum(records, everybody(records))
    assert float(shift.norm()) < 1e-6 * 0.7


@pytest.mark.parametrize("gradient_bytes", [1, 8 * 41 * 3, 8 * 41 * 10, 1 << 30])
def test_lot_sum_in_chunks_is_the_same(gradient_bytes: int) -> None:
    module, records = network().double(), table().double()
    whole = DpSgd(module, loss, PRIVATE, Stream(KEY)).lot_sum(records, everybody(records))
    chunked = DpSgd(module, loss, PRIVATE, Stream(KEY), gradient_bytes).lot_sum(records, everybody(records))
    torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=1e-12)


def test_gradient_empty_lot_is_noise_alone() -> None:
    mechanism = Mechanism(1e-15, 10**9, 0.7, 1.3)
    got = DpSgd(network(), loss, mechanism, Stream(KEY)).gradient(table())
    stream = Stream(KEY)
    assert len(sample_patients(20, 1e-15, stream)) == 0
    expected = 1.3 * 0.7 * stream.normal(41) / mechanism.expected_lot
    assert got.tolist() == pytest.approx(expected.tolist())


def test_gradient_is_divided_by_the_expected_lot_not_the_realised_one() -> None:
    module, records = network(), table()
    got = DpSgd(module, loss, Mechanism(0.5, 30, None, None), Stream(KEY)).gradient(records)
    chosen = sample_patients(20, 0.5, Stream(KEY))
    assert len(chosen) != 15
    torch.testing.assert_close(got, loop_sum(module, records, chosen, None) / 15, rtol=1e-5, atol=1e-5)


def test_gradient_noise_has_standard_deviation_sigma_times_clipping_norm() -> None:
    module = nn.Sequential(nn.Linear(6, 5000), nn.Tanh(), nn.Linear(5000, 1), nn.Flatten(0))
    mechanism = Mechanism(1e-15, 10**15, 0.7, 1.3)  # nobody is drawn, the expected lot is one
    noise = DpSgd(module, loss, mechanism, Stream(KEY)).gradient(table())
    assert float(noise.std()) == pytest.approx(1.3 * 0.7, rel=0.02)
    assert abs(float(noise.mean())) < 0.02


def test_gradient_noise_is_never_drawn_twice() -> None:
    step = DpSgd(network(), loss, Mechanism(1e-15, 10**9, 1.0, 1.0), Stream(KEY))
    assert step.gradient(table()).tolist() != step.gradient(table()).tolist()


def test_gradient_does_not_depend_on_torch_randomness() -> None:
    gradients = []
    for seed in (1, 2):
        module, records = network(), table()
        torch.manual_seed(seed)
        gradients.append(DpSgd(module, loss, PRIVATE, Stream(KEY)).gradient(records).tolist())
    assert gradients[0] == gradients[1]


def test_gradient_leaves_the_module_as_it_was() -> None:
    module, records = network(), table()
    before = [parameter.clone() for parameter in module.parameters()]
    DpSgd(module, loss, PRIVATE, Stream(KEY)).gradient(records)
    for parameter, old in zip(module.parameters(), before, strict=True):
        assert parameter.grad is None
        assert not hasattr(parameter, "grad_sample")
        assert torch.equal(parameter, old)


def test_sample_patients_draws_each_with_the_rate() -> None:
    drawn = np.zeros(50)
    stream = Stream(KEY)
    for _ in range(2000):
        drawn[sample_patients(50, 0.2, stream)] += 1
    assert drawn.mean() == pytest.approx(400, rel=0.02)
    assert drawn.std() == pytest.approx(np.sqrt(2000 * 0.2 * 0.8), rel=0.35)


def test_sample_patients_at_rate_one_draws_everybody() -> None:
    assert sample_patients(1000, 1.0, Stream(KEY)).tolist() == list(range(1000))


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(5), nn.SyncBatchNorm(5), nn.InstanceNorm1d(5, track_running_stats=True)]
)
def test_check_module_layer_that_mixes_records_is_named(layer: nn.Module) -> None:
    module = nn.Sequential(nn.Linear(6, 5), nn.Sequential(nn.ELU(), layer), nn.Linear(5, 1))
    with pytest.raises(TermsError, match=rf"layer '1\.1' \({type(layer).__name__}\) mixes records"):
        check_module(module)


def test_check_module_layer_unknown_to_opacus_is_named() -> None:
    with pytest.raises(TermsError, match=r"layer '0' \(Bilinear\) has no known gradient of each record"):
        check_module(nn.Sequential(nn.Bilinear(2, 3, 1)))


def test_mechanism_noise_without_clipping_is_refused() -> None:
    with pytest.raises(ValueError, match="come together"):
        Mechanism(0.5, 10, None, 1.0)
