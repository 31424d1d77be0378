"""Every kind of layer against the loop: patients with one record, with several, and all of them in small batches."""

import numpy as np
import pytest
import torch
from torch import nn

from privacy.dpsgd import DpSgd, Mechanism, ghost_clipping
from privacy.dpsgd.grad_sample.outer_products import compute_gram_norms
from privacy.dpsgd.grad_sample.registry import list_layers_by_vmap
from privacy.dpsgd.norms import compute_row_norms
from privacy.errors import TermsError
from privacy.randomness import KeyStream
from tests.privacy.dpsgd.models import MODELS, Mean, Scale, built
from tests.privacy.dpsgd.oracle import (
    KEY,
    Table,
    assert_as_the_loop,
    everybody,
    loop_sum,
    loss,
    of_sizes,
    patient_gradients,
)

SIZES = {"one record each": [1] * 5, "several": [2, 1, 5, 1, 3, 2], "equally many": [3, 3, 3]}


def step_of(module: nn.Module, clipping_norm: float, batch_bytes: int = 1 << 30) -> DpSgd:
    mechanism = Mechanism(1.0, 10, clipping_norm, 1.0)
    return DpSgd(module, loss, mechanism, KeyStream(KEY), "book-keeping", batch_bytes)


def median_norm(module: nn.Module, records: Table) -> float:
    """A bound that clips some patients and not others."""
    return float(patient_gradients(module, records, everybody(records)).norm(dim=1).median()) * 1.01


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", MODELS)
def test_lot_sum_equals_the_loop(name: str, sizes: str) -> None:
    module, records = built(name), of_sizes(torch.tensor(SIZES[sizes]), MODELS[name][1])
    norm = median_norm(module, records)
    got = step_of(module, norm).sum_lot(records, everybody(records))
    assert_as_the_loop(module, got, loop_sum(module, records, everybody(records), norm))


@pytest.mark.parametrize("worth_freeing", [-(10**9), 10**9])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", MODELS)
def test_lot_sum_of_a_long_vector_equals_the_loop(
    name: str, sizes: str, worth_freeing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory is written and not added to, so what was there must not matter: here it is NaN."""
    monkeypatch.setattr(ghost_clipping, "_LONG", 1)
    monkeypatch.setattr(ghost_clipping, "_WORTH_FREEING", worth_freeing)
    module, records = built(name), of_sizes(torch.tensor(SIZES[sizes]), MODELS[name][1])
    norm = median_norm(module, records)
    wanted = loop_sum(module, records, everybody(records), norm)
    torch.use_deterministic_algorithms(True)  # fills what is empty with NaN
    try:
        assert torch.empty(2).isnan().all()
        got = step_of(module, norm).sum_lot(records, everybody(records))
    finally:
        torch.use_deterministic_algorithms(False)
    assert_as_the_loop(module, got, wanted)


@pytest.mark.parametrize("name", MODELS)
def test_lot_sum_in_double_precision_equals_the_loop_closely(name: str) -> None:
    module, records = built(name).double(), of_sizes(torch.tensor(SIZES["several"]), MODELS[name][1]).double()
    norm = median_norm(module, records)
    got = step_of(module, norm).sum_lot(records, everybody(records))
    assert_as_the_loop(module, got, loop_sum(module, records, everybody(records), norm), relative=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_lot_sum_in_small_batches_equals_the_loop(name: str) -> None:
    """Batches of a few records, of which the largest patient has more."""
    module, records = built(name), of_sizes(torch.tensor([2, 1, 9, 1, 3]), MODELS[name][1])
    norm = median_norm(module, records)
    step = step_of(module, norm, batch_bytes=20_000)
    assert_as_the_loop(
        module, step.sum_lot(records, everybody(records)), loop_sum(module, records, everybody(records), norm)
    )


@pytest.mark.parametrize("name", MODELS)
def test_lot_sum_patient_that_is_not_finite_touches_nobody(name: str, caplog: pytest.LogCaptureFixture) -> None:
    module, records = built(name), of_sizes(torch.tensor([1, 2, 1]), MODELS[name][1])
    step = step_of(module, 0.1)
    expected = step.sum_lot(records, np.array([0, 2]))
    if name.startswith("embedding"):
        records.labels[1] = torch.nan  # any features name a word
    else:
        records.features[1] = torch.nan
    torch.testing.assert_close(step.sum_lot(records, everybody(records)), expected)
    assert not caplog.records  # it was right at once, not only where it was summed again patient by patient


@pytest.mark.parametrize("name", ["linear", "conv2d", "group norm", "embedding", "layer norm", "instance norm"])
def test_lot_sum_with_a_frozen_weight_equals_the_loop(name: str) -> None:
    module, records = built(name), of_sizes(torch.tensor([2, 1, 3]), MODELS[name][1])
    first = nn.Linear(1, 1)
    stack = nn.Sequential(module, nn.Unflatten(0, (-1, 1)), first, nn.Flatten(0))
    weight = next(parameter for key, parameter in module.named_parameters() if key.endswith("weight"))
    weight.requires_grad_(False)
    got = step_of(stack, 0.5).sum_lot(records, everybody(records))
    assert_as_the_loop(stack, got, loop_sum(stack, records, everybody(records), 0.5))


@pytest.mark.parametrize("width", [1, 1000, 3_000_000])
def test_row_norms_of_long_rows_are_exact_to_a_part_in_a_million(width: int) -> None:
    rows = torch.rand((2, width), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(compute_row_norms(rows), rows.double().square().sum(1).sqrt(), rtol=1e-6, atol=0)


def test_gram_norms_of_rows_that_cancel_are_built_after_all() -> None:
    """Two rows that are each other's negative but for one part in 10^4: Gram matrices alone see nothing."""
    random = torch.Generator().manual_seed(0)
    left, right = torch.randn(1, 60, generator=random), torch.randn(1, 50, generator=random)
    pair = torch.cat([left, -left * (1 + 1e-4)])[None]
    both = torch.cat([right, right])[None]
    want = (pair[0].double().T @ both[0].double()).square().sum()
    norms, apart = compute_gram_norms(pair, both)
    assert float(norms[0]) == pytest.approx(float(want.sqrt()), rel=1e-6)
    assert apart.tolist() == [True]
    naive = ((pair[0] @ pair[0].T) * (both[0] @ both[0].T)).sum()
    assert float(naive) != pytest.approx(float(want), rel=0.5)


def test_layer_without_records_is_refused_by_name() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.positions = nn.Embedding(6, 1)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.positions(torch.arange(6))
            return (features + found[:, 0]).sum(1)

    with pytest.raises(TermsError, match=r"layer 'positions' \(Embedding\).* expand its input to every record"):
        step_of(Positions(), 1.0).sum_lot(of_sizes(torch.tensor([1, 2]), (6,)), np.array([0, 1]))


def test_layer_whose_input_changes_in_place_is_refused_by_name() -> None:
    class Careless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            doubled = features * 2
            found: torch.Tensor = self.layer(doubled)
            doubled += 1
            return (found + doubled).sum(1)

    with pytest.raises(TermsError, match=r"input of layer 'layer' \(Linear\) is changed in place"):
        step_of(Careless(), 1.0).sum_lot(of_sizes(torch.tensor([1, 2]), (6,)), np.array([0, 1]))


def test_layer_called_more_often_for_more_records_is_refused_by_name() -> None:
    class EachAlone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 1)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.layer(row[None])[0] for row in features])

    with pytest.raises(TermsError, match=r"layer 'layer' \(Linear\) is called more often when there are more"):
        step_of(EachAlone(), 1.0).sum_lot(of_sizes(torch.tensor([1, 2]), (6,)), np.array([0, 1]))


def test_packed_sequence_is_refused() -> None:
    from opacus.layers import DPGRU

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = DPGRU(4, 1, batch_first=True)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            lengths = torch.full((len(features),), 3)
            packed = nn.utils.rnn.pack_padded_sequence(features, lengths, batch_first=True)
            return nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)[0].sum((1, 2))

    with pytest.raises(TermsError, match="DPGRU is given a packed sequence"):
        step_of(Packed(), 1.0).sum_lot(of_sizes(torch.tensor([1, 2]), (3, 4)), np.array([0, 1]))


def test_raw_parameters_with_randomness_are_refused_by_name() -> None:
    class Noisy(Scale):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(super().forward(features))

    with pytest.raises(TermsError, match=r"layer '0' \(Noisy\) owns parameters and cannot be run"):
        step_of(nn.Sequential(Noisy(6), Mean()), 1.0).sum_lot(
            of_sizes(torch.tensor([1, 2]), (6,)), np.array([0, 1])
        )


def test_raw_parameters_of_a_layer_that_takes_a_list_are_refused_by_name() -> None:
    class Lists(Scale):
        def forward(self, features: torch.Tensor, others: list[torch.Tensor]) -> torch.Tensor:  # type: ignore[override]
            return super().forward(features) + others[0]

    class Giving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Lists(6)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.layer(features, [features])
            return found.sum(1)

    with pytest.raises(TermsError, match=r"layer 'layer' \(Lists\) owns parameters and takes a list"):
        step_of(Giving(), 1.0).sum_lot(of_sizes(torch.tensor([1, 2]), (6,)), np.array([0, 1]))


def test_raw_parameters_in_calls_with_other_constants_equal_the_loop() -> None:
    """Calls that differ in more than the records' rows are not run as one."""

    class Weighted(Scale):
        def forward(
            self, features: torch.Tensor, other: torch.Tensor | None = None, power: int = 1
        ) -> torch.Tensor:
            return super().forward(features if other is None else features * other).pow(power)

    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Weighted(6)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            ones = torch.ones(6, dtype=features.dtype)
            weighted = [self.layer(features, ones), self.layer(features, 2 * ones)]
            powers = [self.layer(features, power=2), self.layer(features, power=3)]
            return torch.stack([*weighted, *powers]).sum((0, 2))

    torch.manual_seed(0)
    module, records = Several(), of_sizes(torch.tensor([2, 1, 3]), (6,))
    got = step_of(module, 0.5).sum_lot(records, everybody(records))
    assert_as_the_loop(module, got, loop_sum(module, records, everybody(records), 0.5))


def test_parameter_of_two_layers_is_refused_by_ledger_keeping() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), Mean())
    module[2].weight = module[0].weight
    with pytest.raises(TermsError, match=r"'0.weight' belongs to layer '0' \(Linear\) and layer '2' \(Linear\)"):
        step_of(module, 1.0)


def test_layers_by_vmap_are_those_without_a_rule_of_their_own() -> None:
    class Doubled(nn.Linear):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(rows)

    module = nn.Sequential(nn.Linear(2, 2), Doubled(2, 2), nn.Tanh(), Scale(2), nn.LayerNorm(2))
    assert list_layers_by_vmap(module) == ("1", "3")
