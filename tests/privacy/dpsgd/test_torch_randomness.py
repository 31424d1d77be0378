"""What a module and an augmentation draw: from the secret stream alone, the same again, and clipped all the same.

Oracle: the draws are repeated outside the engine, and each patient's gradient is taken by autograd from one pass.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from privacy.dpsgd import DpSgd, Mechanism, TensorRecords
from privacy.dpsgd.torch_randomness import draw_seed, is_random, list_random_layers, make_generator, seed_torch
from privacy.randomness import KeyStream
from tests.privacy.dpsgd.named_models import Boltzmann
from tests.privacy.dpsgd.oracle import (
    KEY,
    MARGIN,
    Table,
    assert_as_the_loop,
    everybody,
    loss,
    network,
    of_sizes,
    table,
)

CPU = torch.device("cpu")
NORM = 1.3
PRIVATE = Mechanism(0.5, 20, NORM, 1.3)


def dropping() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.4), nn.ELU(), nn.Linear(5, 1), nn.Flatten(0))


def shaken(
    features: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    return features + torch.randn(features.shape, generator=generator), labels


def gradients_of_one_pass(
    module: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, owner: torch.Tensor
) -> torch.Tensor:
    """The mean gradient of each patient over the rows of one pass; (patients, P) float64."""
    losses = loss(module(inputs), labels)
    parameters = list(module.parameters())
    found = []
    for patient in range(int(owner[-1]) + 1):
        parts = torch.autograd.grad(losses[owner == patient].mean(), parameters, retain_graph=True)
        found.append(torch.cat([part.flatten() for part in parts]).double())
    return torch.stack(found)


def clipped(gradients: torch.Tensor) -> torch.Tensor:
    factors = (MARGIN * NORM / torch.linalg.vector_norm(gradients, dim=1)).clamp(max=1.0)
    total: torch.Tensor = (gradients * factors[:, None]).sum(0)
    return total


def engine_of(module: nn.Module, key: bytes = KEY, **options: Any) -> DpSgd:
    return DpSgd(module, options.pop("of", loss), PRIVATE, KeyStream(key), **options)


def test_seed_is_the_streams_next_number_of_63_bits() -> None:
    seeds = [draw_seed(stream) for stream in [KeyStream(KEY)] for _ in range(200)]
    assert seeds[0] == int(KeyStream(KEY).draw_below(1 << 63, 1)[0])
    assert 1 << 62 < max(seeds) < 1 << 63
    assert len(set(seeds)) == 200


def test_generator_depends_on_every_bit_of_its_seed() -> None:
    drawn = {
        tuple(torch.rand(4, generator=make_generator(seed, CPU)).tolist())
        for seed in (5, 5 + (1 << 32), 5 | 1 << 62)
    }
    assert len(drawn) == 3
    again = torch.rand(4, generator=make_generator(5, CPU))
    assert tuple(again.tolist()) in drawn


def test_generator_draws_uniform_and_normal_numbers() -> None:
    uniform = torch.rand(100_000, generator=make_generator(7, CPU))
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.005)
    assert torch.histc(uniform, 10, 0, 1).tolist() == pytest.approx([10_000] * 10, rel=0.05)
    normal = torch.randn(100_000, generator=make_generator(8, CPU))
    assert (float(normal.mean()), float(normal.std())) == pytest.approx((0, 1), abs=0.015)


def test_seeded_block_leaves_torchs_generator_as_it_was_also_after_a_failure() -> None:
    state = torch.get_rng_state()
    with seed_torch(3, CPU):
        inside = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ZeroDivisionError), seed_torch(3, CPU):
        float(torch.rand(1)) // 0
    assert torch.equal(torch.get_rng_state(), state)
    with seed_torch(3, CPU):
        assert torch.equal(torch.rand(3), inside)


@pytest.mark.parametrize(
    ("module", "random"),
    [
        (network(), False),
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)), True),
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)), False),
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)).eval(), False),
        (nn.Sequential(nn.Linear(2, 2), nn.FeatureAlphaDropout(0.1)), True),
        (nn.Sequential(Boltzmann()), True),
    ],
)
def test_module_that_may_be_random_is_known_by_its_layers(module: nn.Module, random: bool) -> None:
    assert any(map(is_random, list_random_layers(module))) is random


def test_lot_sum_with_dropout_equals_the_loop_over_the_same_draws() -> None:
    module, records = dropping(), of_sizes(torch.tensor([3] * 6), (6,), spread=3.0)
    got = engine_of(module).sum_lot(records, everybody(records))
    with seed_torch(draw_seed(KeyStream(KEY)), CPU):
        gradients = gradients_of_one_pass(module, records.features, records.labels, records.patient)
    assert int((gradients.norm(dim=1) > NORM).sum()) > 0
    assert_as_the_loop(module, got, clipped(gradients))


@pytest.mark.parametrize("layers", ["linear", "convolution"])
def test_lot_sum_with_dropout_patient_who_is_not_finite_does_not_shift_what_others_draw(layers: str) -> None:
    """Whether one patient is left out must not decide what another contributes."""
    module, shape = dropping(), torch.Size((6,))
    if layers == "convolution":
        torch.manual_seed(0)
        shape = torch.Size((20, 3, 3))
        module = nn.Sequential(
            nn.Conv2d(20, 24, 3, padding=1),
            nn.Dropout(0.4),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(216, 1),
            nn.Flatten(0),
        )
    records = of_sizes(torch.tensor([2] * 5), shape)
    with seed_torch(draw_seed(KeyStream(KEY)), CPU):
        gradients = gradients_of_one_pass(module, records.features, records.labels, records.patient)
    records.features[3].fill_(torch.inf)  # of patient 1
    got = engine_of(module).sum_lot(records, everybody(records))
    assert_as_the_loop(module, got, clipped(gradients[[0, 2, 3, 4]]))


def test_gradient_with_dropout_repeats_bit_for_bit_with_the_stream_and_with_nothing_else() -> None:
    gradients = []
    for key, seed in ((KEY, 1), (KEY, 2), (bytes(32), 1)):
        module, records = dropping(), table()
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        gradients.append(engine_of(module, key).compute_gradient(records))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(gradients[0], gradients[1])
    assert not torch.equal(gradients[0], gradients[2])


def test_lots_with_dropout_draw_anew_each_time() -> None:
    engine, records = engine_of(dropping()), table()
    assert not torch.equal(*(engine.sum_lot(records, everybody(records)) for _ in range(2)))


def test_stream_of_a_module_that_is_not_random_gives_no_seed() -> None:
    streams = [KeyStream(KEY) for _ in range(3)]
    for module, stream in zip((network(), dropping().eval()), streams, strict=False):
        DpSgd(module, loss, PRIVATE, stream).sum_lot(table(), np.arange(5))
    after = [stream.draw_bytes(16) for stream in streams]
    assert after[0] == after[1] == after[2]


def test_lot_sum_with_dropout_after_memory_ran_out_begins_with_the_same_draws() -> None:
    """As an engine that knew from the start how much memory there is."""
    records, failed = of_sizes(torch.tensor([1] * 12), (6,)), []

    def cramped(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if len(labels) > 4:
            failed.append(len(labels))
            raise MemoryError
        return loss(logits, labels)

    each = engine_of(dropping())._clipper.estimate_record_bytes(records.features)
    got = engine_of(dropping(), of=cramped, batch_bytes=8 * each).sum_lot(records, everybody(records))
    want = engine_of(dropping(), batch_bytes=4 * each).sum_lot(records, everybody(records))
    assert failed == [8]
    assert torch.equal(got, want)


@pytest.mark.parametrize("batch_bytes", [1, 3_000, 1 << 30])
@pytest.mark.parametrize("method", ["book-keeping", "opacus"])
def test_lot_sum_of_equal_views_is_that_of_one(method: str, batch_bytes: int) -> None:
    module, records = network(), table()
    one = engine_of(module).sum_lot(records, everybody(records))
    three = engine_of(module, method=method, batch_bytes=batch_bytes, views=3).sum_lot(records, everybody(records))
    torch.testing.assert_close(three, one, rtol=1e-5, atol=1e-6)


def test_lot_sum_of_augmented_views_clips_the_mean_over_records_and_views() -> None:
    module, records = network(), of_sizes(torch.tensor([2] * 6), (6,), spread=2.0)
    got = engine_of(module, views=4, augment=shaken).sum_lot(records, everybody(records))
    with seed_torch(draw_seed(KeyStream(KEY)), CPU):
        generator = make_generator(int(torch.randint(2**63 - 1, ())), CPU)
    rows = torch.arange(12).repeat_interleave(4)
    views, _ = shaken(records.features[rows], records.labels[rows], generator)
    assert len({tuple(view) for view in views.tolist()}) == 48
    gradients = gradients_of_one_pass(module, views, records.labels[rows], records.patient[rows])
    assert 0 < int((gradients.norm(dim=1) > NORM).sum()) < 6
    assert_as_the_loop(module, got, clipped(gradients))


@pytest.mark.parametrize("batch_bytes", [1, 3_000, 1 << 30])
def test_lot_sum_of_one_patient_with_any_views_is_no_longer_than_the_clipping_norm(batch_bytes: int) -> None:
    records = of_sizes(torch.tensor([3, 1]), (6,), spread=30.0)
    engine = engine_of(dropping(), batch_bytes=batch_bytes, views=5, augment=shaken)
    for _ in range(20):
        assert 0 < float(engine.sum_lot(records, np.array([0])).norm()) <= NORM


def test_batch_counts_views_and_reads_each_record_once() -> None:
    sizes: list[int] = []
    read: list[int] = []

    class Reading(Table):
        def select(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[torch.Tensor, torch.Tensor]:
            read.extend(rows.tolist())
            return super().select(rows)

    def counting(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(labels))
        return loss(logits, labels)

    records = of_sizes(torch.tensor([1] * 10), (6,))
    engine = engine_of(network(), of=counting, views=3)
    engine._limit = 8
    engine.sum_lot(Reading(records.features, records.labels, records.patient, 10), everybody(records))
    assert sizes == [6] * 5  # two patients at a time
    assert read == list(range(10))


def test_views_fewer_than_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one view of a record, got 0"):
        engine_of(network(), views=0)


def test_augmentation_of_named_tensors_gets_them_by_name() -> None:
    seen: list[list[str]] = []

    def augment(
        inputs: dict[str, torch.Tensor], labels: torch.Tensor, generator: torch.Generator
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        seen.append(sorted(inputs))
        return {**inputs, "image": inputs["image"] * 2}, labels

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 1)

        def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
            found: torch.Tensor = self.layer(inputs["image"])
            return found.squeeze(1) + inputs["age"]

    torch.manual_seed(0)
    module, plain = Net(), of_sizes(torch.tensor([2, 1]), (6,))

    def records(scale: float) -> TensorRecords:
        return TensorRecords({"image": plain.features * scale, "age": plain.labels}, plain.labels, plain.patient)

    got = engine_of(module, augment=augment).sum_lot(records(1.0), np.arange(2))
    torch.testing.assert_close(got, engine_of(module).sum_lot(records(2.0), np.arange(2)))
    assert seen == [["age", "image"]] * 2  # once to estimate memory
