"""A filter for each patient in the engine: whose gradient counts, by whose length, and that nothing else changes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from privacy.accounting.individual_filter import PARTS, IndividualFilter
from privacy.dpsgd import CLIP_MARGIN, DpSgd, Mechanism
from privacy.dpsgd.engine import Method
from privacy.randomness import KeyStream
from tests.privacy.dpsgd.oracle import (
    KEY,
    assert_as_the_loop,
    everybody,
    loop_sum,
    loss,
    network,
    of_sizes,
    patient_gradients,
    table,
)

NORM = 0.7
EVERYBODY = Mechanism(sampling_rate=1.0, public_patients=20, clipping_norm=NORM, noise_multiplier=1.3)
METHODS: list[Method] = ["book-keeping", "opacus"]


class Only:
    """Admits ``patients``, and keeps the lengths that it was told."""

    def __init__(self, patients: NDArray[np.int64], many: int) -> None:
        self._admitted, self.lengths = np.isin(np.arange(many), patients), np.full(many, np.nan)
        self.settled = 0

    def admit(self, lengths: NDArray[np.float64], patients: NDArray[np.int64]) -> NDArray[np.bool_]:
        self.lengths[patients] = lengths
        return self._admitted[patients]

    def settle(self) -> None:
        self.settled += 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch_bytes", [1 << 30, 1])
def test_sum_has_exactly_the_admitted_and_lengths_are_those_of_clipped_gradients(
    method: Method, batch_bytes: int
) -> None:
    module, records = network(), of_sizes(torch.tensor([1, 3, 0, 2, 5, 1, 4]), (6,))
    some = Only(np.array([1, 3, 5]), 7)
    engine = DpSgd(
        module, loss, EVERYBODY, KeyStream(KEY), method=method, batch_bytes=batch_bytes, patient_filter=some
    )
    got = engine.sum_lot(records, everybody(records))
    expected = loop_sum(module, records, np.array([1, 3, 5]), NORM)
    assert_as_the_loop(module, got, expected)
    asked = np.flatnonzero(records.counts)
    norms = patient_gradients(module, records, asked).norm(dim=1).numpy()
    assert some.lengths[asked] == pytest.approx(np.minimum(1.0, norms / (CLIP_MARGIN * NORM)), rel=1e-5)
    assert np.flatnonzero(np.isnan(some.lengths)).tolist() == [2]


def test_gradients_beyond_single_precision_are_left_out_whole() -> None:
    """Those of patients 1 and 3 are scaled in float64, apart from the others."""
    module, records = network().double(), table(6).double()
    records.features[(records.patient == 1) | (records.patient == 3)] *= 1e25
    module.float()
    records.features, records.labels = records.features.float(), records.labels.float()
    engine = DpSgd(module, loss, EVERYBODY, KeyStream(KEY), patient_filter=Only(np.array([1, 2]), 6))
    got = engine.sum_lot(records, everybody(records))
    reference = DpSgd(module, loss, EVERYBODY, KeyStream(KEY)).sum_lot(records, np.array([1, 2]))
    assert torch.isfinite(got).all()
    assert torch.allclose(got, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_step_in_which_everybody_is_admitted_is_the_plain_step_to_the_bit(method: Method, drops: bool) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Dropout(0.5), network()) if drops else network()

    records = table()
    plain = DpSgd(make(), loss, EVERYBODY, KeyStream(KEY), method=method)
    kept = DpSgd(
        make(), loss, EVERYBODY, KeyStream(KEY), method=method, patient_filter=IndividualFilter(records.patients, 3)
    )
    for _ in range(3):
        assert torch.equal(plain.compute_gradient(records), kept.compute_gradient(records))


def test_step_in_which_nobody_is_admitted_is_the_noise_alone() -> None:
    records = table()
    kept = Only(np.array([], dtype=np.int64), records.patients)
    engine = DpSgd(network(), loss, EVERYBODY, KeyStream(KEY), patient_filter=kept)
    seen = engine.compute_gradient(records)
    stream = KeyStream(KEY)
    stream.draw_uniform(records.patients)
    noise = torch.from_numpy(stream.draw_normal(len(seen))) * 1.3 * NORM
    assert torch.allclose(seen, (noise / 20).to(seen), rtol=1e-5)
    assert kept.settled == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 3), st.sampled_from([0.01, 1.0, 30.0]))
def test_what_a_patient_adds_in_all_steps_is_at_most_what_they_pay_for(seed: int, paid: int, spread: float) -> None:
    """Neighbours: the sums with a patient less those without, over steps that follow the same path."""
    records, steps = table(6, seed, spread=spread).double(), 6
    leaving = seed % 6
    rest, module = records.without(leaving), network(seed % 7).double()
    mechanism = Mechanism(1.0, 10, NORM, 1.0)
    kept = [IndividualFilter(records.patients, paid), IndividualFilter(rest.patients, paid)]
    engines = [DpSgd(module, loss, mechanism, KeyStream(KEY), patient_filter=each) for each in kept]
    added = 0.0
    for _ in range(steps):
        sums = [
            engine.sum_lot(held, everybody(held)) for engine, held in zip(engines, (records, rest), strict=True)
        ]
        for each in kept:
            each.settle()
        added += float((sums[0] - sums[1]).norm() / NORM) ** 2
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.sub_(0.3 * torch.randn(parameter.shape, dtype=parameter.dtype))
    assert added <= paid
    assert kept[0].spent[leaving] <= paid * PARTS**2
    assert added <= kept[0].spent[leaving] / PARTS**2 + 1e-12


def test_lot_that_is_summed_again_for_want_of_memory_is_charged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    records, kept = table(), IndividualFilter(20, 5)
    engine = DpSgd(network(), loss, EVERYBODY, KeyStream(KEY), patient_filter=kept)
    once = IndividualFilter(20, 5)
    DpSgd(network(), loss, EVERYBODY, KeyStream(KEY), patient_filter=once).compute_gradient(records)
    failures = iter([True, False])
    whole = DpSgd._add_batch

    def add_batch(self: DpSgd, *batch: object) -> None:
        whole(self, *batch)  # type: ignore[arg-type]
        if next(failures, False):
            raise MemoryError

    monkeypatch.setattr(DpSgd, "_add_batch", add_batch)
    engine.compute_gradient(records)
    assert kept.spent.tolist() == once.spent.tolist()
    assert kept.spent.any()


def test_gradient_that_is_not_finite_adds_nothing_and_costs_nothing() -> None:
    records, kept = table(), IndividualFilter(20, 5)
    records.features[records.patient == 4] = torch.inf
    DpSgd(network(), loss, EVERYBODY, KeyStream(KEY), patient_filter=kept).compute_gradient(records)
    assert kept.spent[4] == 0
    assert (np.delete(kept.spent, 4) > 0).all()


@pytest.mark.parametrize("mechanism", [Mechanism(0.5, 20, NORM, 1.3), Mechanism(1.0, 20, None, None)])
def test_filter_is_refused_where_patients_are_drawn_or_not_clipped(mechanism: Mechanism) -> None:
    with pytest.raises(ValueError, match="everybody in every step"):
        DpSgd(network(), loss, mechanism, KeyStream(KEY), patient_filter=IndividualFilter(20, 5))
