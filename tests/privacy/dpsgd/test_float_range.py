"""A norm is never smaller than the gradient that is added, from the smallest float32 to the largest.

Oracles: exact fractions for Gram matrices, ``math.hypot`` for norms, and for whole layers autograd in float64, where
nothing that a float32 can hold underflows or overflows.
"""

import copy
import logging
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from privacy.dpsgd import DpSgd, Inputs, Mechanism, Targets
from privacy.dpsgd.batching import Batch
from privacy.dpsgd.ghost_clipping import Admit
from privacy.dpsgd.grad_sample.outer_products import compute_gram_norms
from privacy.dpsgd.norms import add_scaled, compute_row_norms, use_exact_float32
from privacy.dpsgd.trainable import FlatSum
from privacy.randomness import KeyStream
from tests.privacy.dpsgd.models import MODELS, Scale, Words, built
from tests.privacy.dpsgd.oracle import KEY, MARGIN, Table, everybody, loop_sum, loss, network, of_sizes, table

EXACT = 1 + 2e-6  # one float32 rounding of each number, and of a factor
SINGLE = st.floats(width=32, allow_nan=False, allow_infinity=False)
EXPONENTS = st.integers(-45, 38)
NORMS = st.sampled_from([1e-30, 1e-20, 1e-4, 0.03, 1.0, 1e4, 1e30])


def numbers(*shape: int) -> st.SearchStrategy[torch.Tensor]:
    """Any float32 numbers, of ``shape``."""
    size = math.prod(shape)
    return st.lists(SINGLE, min_size=size, max_size=size).map(lambda values: torch.tensor(values).view(shape))


@settings(max_examples=60, deadline=None)
@given(numbers(3, 5))
def test_row_norms_of_any_numbers_are_those_of_hypot(rows: torch.Tensor) -> None:
    want = [math.hypot(*row) for row in rows.tolist()]
    assert compute_row_norms(rows).tolist() == pytest.approx(want, rel=1e-6, abs=0)


@pytest.mark.parametrize("value", [1.4e-45, 1e-40, 1e-25, 3.4e38])
def test_row_norms_of_long_rows_at_the_ends_of_float32_are_exact(value: float) -> None:
    rows = torch.full((2, 1000), value)
    assert compute_row_norms(rows).tolist() == pytest.approx(
        [float(rows[0, 0]) * math.sqrt(1000)] * 2, rel=1e-6, abs=0
    )


def test_row_norms_beyond_what_two_may_be_multiplied_are_infinite() -> None:
    assert compute_row_norms(torch.tensor([[1e76], [1e74]], dtype=torch.float64)).tolist() == [math.inf, 1e74]


@settings(max_examples=200, deadline=None)
@given(numbers(1, 3, 2), numbers(1, 3, 2))
def test_gram_norms_of_any_rows_are_never_smaller_than_the_gradient(
    left: torch.Tensor, right: torch.Tensor
) -> None:
    lefts, rights = ([[Fraction(x) for x in row] for row in side[0].tolist()] for side in (left, right))
    rows = range(len(lefts))
    exact = sum(sum(lefts[j][a] * rights[j][b] for j in rows) ** 2 for a in range(2) for b in range(2))
    own = sum(sum(x * x for x in lefts[j]) * sum(x * x for x in rights[j]) for j in rows)
    got = Fraction(float(compute_gram_norms(left, right)[0])) ** 2
    assert exact * (1 - Fraction(1, 10**3)) <= got <= max(exact * (1 + Fraction(1, 10**3)), own / 10**11)


@settings(max_examples=60, deadline=None)
@given(numbers(7), SINGLE, st.floats(1e-60, 1.0))
def test_add_scaled_rounds_once(vector: torch.Tensor, start: float, factor: float) -> None:
    into = torch.full((7,), start)
    add_scaled(into, vector, factor)
    assert into.tolist() == [float(np.float32(start + factor * x)) for x in vector.tolist()]


def directed(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """A loss whose gradient is the label: what comes back to the layer is chosen freely."""
    return (outputs.flatten(1) * labels).sum(1)


# layers alone, so that the test chooses what goes in and what comes back; with the way their norm takes
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear, one row": (lambda: nn.Linear(8, 5), (8,)),
    "linear, gram": (lambda: nn.Linear(40, 30), (3, 40)),
    "linear, built": (lambda: nn.Linear(4, 3), (9, 4)),
    "embedding": (lambda: nn.Sequential(Words(), nn.Embedding(7, 4)), (5,)),
    "conv2d, built of rows": (lambda: nn.Conv2d(2, 4, 3), (2, 7, 6)),
    "conv2d, gram": (lambda: nn.Conv2d(20, 24, 3, padding=1), (20, 3, 3)),
    "conv2d, gram, grouped": (lambda: nn.Conv2d(20, 24, 3, padding=1, groups=2), (20, 2, 3)),
    "conv2d, built by a call": (lambda: nn.Conv2d(16, 16, 3, padding=1), (16, 32, 32)),
    "transposed conv2d, gram": (lambda: nn.ConvTranspose2d(24, 20, 2, stride=2), (24, 2, 3)),
    "transposed conv2d, built": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 5, 4)),
    "layer norm": (lambda: nn.LayerNorm(6), (6,)),
    "group norm": (lambda: nn.GroupNorm(3, 6), (6, 3, 2)),
    "raw parameters": (lambda: Scale(6), (6,)),
}


WITH_OPACUS = ["linear, one row", "linear, built", "embedding", "conv2d, built of rows", "group norm"]


@pytest.mark.parametrize(
    ("name", "method"), [(name, "book-keeping") for name in LAYERS] + [(name, "opacus") for name in WITH_OPACUS]
)
def test_layer_given_any_numbers_adds_the_clipped_gradient(name: str, method: str) -> None:
    make, shape = LAYERS[name]
    torch.manual_seed(3)
    module = make()
    outputs = module(torch.zeros(1, *shape)).numel()
    precise = copy.deepcopy(module).double()

    @settings(max_examples=5 if "call" in name else 15, deadline=None)
    @given(
        exponents=st.lists(st.tuples(EXPONENTS, EXPONENTS), min_size=1, max_size=4),
        sizes=st.sampled_from([[1], [1, 1, 1], [2, 1], [3]]),
        clipping_norm=NORMS,
        seed=st.integers(0, 99),
    )
    def holds(exponents: list[tuple[int, int]], sizes: list[int], clipping_norm: float, seed: int) -> None:
        records = of_sizes(torch.tensor(sizes), shape, seed)
        scales = [exponents[at % len(exponents)] for at in range(len(records.features))]
        random = torch.Generator().manual_seed(seed)
        back, forth = (torch.tensor([10.0 ** pair[side] for pair in scales]).double() for side in (0, 1))
        if name not in ("embedding", "raw parameters"):  # which words, and a tanh, are not to be scaled
            records.features = _single(records.features, forth)
        records.labels = _single(torch.randn((len(scales), outputs), generator=random), back)
        step = DpSgd(module, directed, Mechanism(1.0, 10, clipping_norm, 1.0), KeyStream(KEY), method)  # type: ignore[arg-type]
        for patient in range(records.patients):
            got = step.sum_lot(records, np.array([patient])).double()
            assert float(got.norm()) <= clipping_norm * EXACT
            want = loop_sum(precise, records.double(), np.array([patient]), None, directed)
            if 1e-30 < float(want.norm()) < 1e37 and name not in ("layer norm", "group norm"):
                want *= min(1.0, MARGIN * clipping_norm / float(want.norm()))
                rounded = 1e-43 * float(records.features.double().norm())  # denormals of what comes back
                assert float((got - want).norm()) <= 1e-5 * float(want.norm()) + rounded + 1e-37
        together = step.sum_lot(records, everybody(records)).double()
        assert float(together.norm()) <= clipping_norm * records.patients * EXACT

    holds()


def _single(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Records times their scales, as finite float32; scales are (records,)."""
    scaled = values.double() * scales.view(-1, *[1] * (values.dim() - 1))
    return scaled.clamp(-3.4e38, 3.4e38).float()


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # torch's, of RMSNorm in bfloat16
@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(MODELS)),
    parameters=st.integers(-40, 38),
    features=st.integers(-40, 38),
    clipping_norm=NORMS,
    precision=st.sampled_from([None, torch.bfloat16]),
    sizes=st.sampled_from([[1, 1, 1], [2, 1, 3]]),
    batch_bytes=st.sampled_from([1, 1 << 30]),
)
def test_model_with_any_weights_adds_at_most_the_clipping_norm(
    name: str,
    parameters: int,
    features: int,
    clipping_norm: float,
    precision: torch.dtype | None,
    sizes: list[int],
    batch_bytes: int,
) -> None:
    module = built(name)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(_single(parameter[None], torch.tensor([10.0**parameters]))[0])
    records = of_sizes(torch.tensor(sizes), MODELS[name][1])
    records.features = _single(records.features, torch.full((len(records.features),), 10.0**features).double())
    mechanism = Mechanism(1.0, 10, clipping_norm, 1.0)
    step = DpSgd(module, loss, mechanism, KeyStream(KEY), batch_bytes=batch_bytes, precision=precision)
    for chosen in [np.array([patient]) for patient in range(3)] + [everybody(records)]:
        assert float(step.sum_lot(records, chosen).double().norm()) <= len(chosen) * clipping_norm * EXACT


@pytest.mark.parametrize("clipping_norm", [1.0, 1e-6, 1e-20, 1e-25, 1e-27, 1e-30])
def test_confident_record_whose_gradient_underflows_in_squares_is_clipped(clipping_norm: float) -> None:
    """A logit of -60 and label 0: the gradient is 8.8e-27 an input, its square less than any float32."""
    linear = nn.Linear(5, 1)
    with torch.no_grad():
        linear.bias.zero_()
        linear.weight.copy_(torch.tensor([[-60.0, 0, 0, 0, 0]]))
    module = nn.Sequential(linear, nn.Flatten(0))
    records = Table(torch.tensor([[1.0, 0, 1, 0, 0]]), torch.zeros(1), torch.zeros(1, dtype=torch.long), 1)
    got = DpSgd(module, loss, Mechanism(1.0, 10, clipping_norm, 0.0), KeyStream(KEY)).sum_lot(
        records, np.array([0])
    )
    gradient = math.exp(-60) * math.sqrt(3)
    assert float(got.double().norm()) == pytest.approx(min(gradient, MARGIN * clipping_norm), rel=1e-5)


@pytest.mark.parametrize("clipping_norm", [1.0, 0.1, 0.01, 0.001])
def test_wide_network_whose_squares_underflow_is_clipped_at_everyday_norms(clipping_norm: float) -> None:
    """Thousands of tiny numbers come back, to a layer that was given huge ones."""
    first, last = nn.Linear(1, 64), nn.Linear(4096, 1)
    module = nn.Sequential(first, nn.ELU(), nn.Linear(64, 4096), nn.ELU(), last, nn.Flatten(0))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        first.weight.fill_(2.2e18)
        last.weight.fill_(2.9e3)
        last.bias.fill_(-60.0)
    records = Table(torch.ones(1, 1), torch.zeros(1), torch.zeros(1, dtype=torch.long), 1)
    got = DpSgd(module, loss, Mechanism(1.0, 10, clipping_norm, 0.0), KeyStream(KEY)).sum_lot(
        records, np.array([0])
    )
    assert float(got.double().norm()) <= clipping_norm


@pytest.mark.parametrize("apart", [1e-3, 1e-5, 1e-7])
def test_rows_of_a_patient_that_cancel_add_at_most_the_clipping_norm(apart: float) -> None:
    """Two rows a million times as long as their sum, whose rounding in a float32 product is as long as that."""
    random = torch.Generator().manual_seed(0)
    layer = nn.Linear(60, 50)
    forth, back = (torch.randn(width, generator=random) * 1e6 for width in (60, 50))
    features = torch.stack([forth, forth])[None]
    labels = torch.cat([back, -back * (1 + apart)])[None]
    records = Table(features, labels, torch.zeros(1, dtype=torch.long), 1)
    got = DpSgd(layer, directed, Mechanism(1.0, 10, 1.0, 1.0), KeyStream(KEY), "book-keeping").sum_lot(
        records, np.array([0])
    )
    assert 0.05 < float(got.double().norm()) <= EXACT


class Unclipped:
    """An engine with a defect: it adds gradients as they are."""

    def __init__(self, value: float) -> None:
        self._value = value

    def estimate_record_bytes(self, inputs: Inputs) -> int:
        return 100

    def add_clipped(
        self,
        inputs: Inputs,
        targets: Targets,
        batch: Batch,
        norm: float,
        into: FlatSum,
        admit: Admit | None = None,
    ) -> None:
        into.vector.add_(self._value)


@pytest.mark.parametrize("value", [3.0, math.inf, math.nan])
def test_lot_sum_that_is_too_long_is_summed_again_patient_by_patient(
    value: float, caplog: pytest.LogCaptureFixture
) -> None:
    module, records = network(), table()
    step = DpSgd(module, loss, Mechanism(0.5, 20, 0.7, 1.0), KeyStream(KEY))
    step._clipper = Unclipped(value)
    got = step.sum_lot(records, everybody(records))
    torch.testing.assert_close(got.double(), loop_sum(module, records, everybody(records), 0.7))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "summed again, patient by patient" in caplog.text


@pytest.mark.parametrize("norm", [0.0, 1e-31, 1e31, math.inf, math.nan])
def test_mechanism_clipping_norm_without_digits_in_float32_is_refused(norm: float) -> None:
    with pytest.raises(ValueError, match=r"clipping norm in 1e-30\.\.1e\+30"):
        Mechanism(0.5, 10, norm, 1.0)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**16), exponent=st.integers(-18, 14), cancelling=st.booleans())
def test_gram_norms_are_the_same_beside_a_patient_who_needs_float64(
    seed: int, exponent: int, cancelling: bool
) -> None:
    """Alone, all patients are checked at once; beside one whose gradient is zero, each for itself."""
    random = torch.Generator().manual_seed(seed)
    left = torch.randn(5, 4, 3, generator=random) * 10.0**exponent
    right = torch.randn(5, 4, 6, generator=random)
    if cancelling:
        left[2] -= left[2].mean(0)
        right[2] = 1.0 + 1e-4 * right[2]
    alone, apart = compute_gram_norms(left, right)
    beside, apart_beside = compute_gram_norms(
        *(torch.cat([side, torch.zeros(1, 4, 6)[..., : side.shape[2]]]) for side in (left, right))
    )
    assert beside[:5].tolist() == alone.tolist()
    assert apart_beside.tolist() == [*apart.tolist(), True]
    exact = torch.bmm(left.double().mT, right.double()).flatten(1).norm(dim=1)
    assert (alone >= exact * (1 - 1e-5)).all()


def test_exact_float32_holds_inside_and_not_longer() -> None:
    seen = [torch.backends.cudnn.allow_tf32]
    with use_exact_float32(torch.device("cuda")):
        seen.append(torch.backends.cudnn.allow_tf32)
    seen.append(torch.backends.cudnn.allow_tf32)
    assert seen == [True, False, True]
