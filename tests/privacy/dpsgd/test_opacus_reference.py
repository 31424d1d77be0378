"""Opacus as the reference, and as the fallback for what book-keeping does not do."""

import logging

import pytest
import torch
from torch import nn

from privacy.dpsgd import DpSgd, Mechanism
from privacy.errors import TermsError, TrainingError
from privacy.randomness import KeyStream
from tests.privacy.dpsgd.models import MODELS, Mean, built
from tests.privacy.dpsgd.oracle import KEY, assert_as_the_loop, everybody, loop_sum, loss, network, of_sizes, table

PRIVATE = Mechanism(1.0, 10, 0.7, 1.3)


@pytest.mark.parametrize("name", ["linear", "conv2d", "group norm", "embedding", "gru", "a branch used twice"])
def test_reference_and_engine_agree(name: str) -> None:
    module, records = built(name), of_sizes(torch.tensor([2, 1, 3]), MODELS[name][1])
    for method in ("opacus", "book-keeping"):
        got = DpSgd(module, loss, PRIVATE, KeyStream(KEY), method).sum_lot(records, everybody(records))
        assert_as_the_loop(module, got, loop_sum(module, records, everybody(records), 0.7))


def test_reference_in_small_batches_is_the_same() -> None:
    module, records = network(), table()
    got = DpSgd(module, loss, PRIVATE, KeyStream(KEY), "opacus", 2_000).sum_lot(records, everybody(records))
    assert_as_the_loop(module, got, loop_sum(module, records, everybody(records), 0.7))


def test_reference_gradient_that_is_not_finite_counts_as_zero() -> None:
    records = of_sizes(torch.tensor([1, 2, 1]), (6,))
    step = DpSgd(network(), loss, PRIVATE, KeyStream(KEY), "opacus")
    expected = step.sum_lot(records, everybody(records)[[0, 2]])
    records.features[1] = torch.nan
    torch.testing.assert_close(step.sum_lot(records, everybody(records)), expected)


def test_reference_that_ran_out_of_memory_leaves_nothing_on_the_layers() -> None:
    module, records = network(), table()

    def full(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    with pytest.raises(TrainingError, match="not enough memory"):
        DpSgd(module, full, PRIVATE, KeyStream(KEY), "opacus").sum_lot(records, everybody(records))
    assert not [
        name for layer in module.modules() for name in vars(layer) if name in ("activations", "max_batch_len")
    ]
    got = DpSgd(module, loss, PRIVATE, KeyStream(KEY), "opacus").sum_lot(records, everybody(records))
    assert_as_the_loop(module, got, loop_sum(module, records, everybody(records), 0.7))


def test_weight_of_two_layers_falls_back_with_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    module = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), Mean())
    module[2].weight = module[0].weight
    records = of_sizes(torch.tensor([2, 1, 3]), (4,))
    got = DpSgd(module, loss, PRIVATE, KeyStream(KEY)).sum_lot(records, everybody(records))
    assert_as_the_loop(module, got, loop_sum(module, records, everybody(records), 0.7))
    assert "gradients come from Opacus, which is slower: parameter '0.weight' belongs to" in caplog.text


def test_layer_unknown_to_opacus_is_named() -> None:
    with pytest.raises(TermsError, match=r"layer '0' \(Bilinear\) has no known gradient of each record"):
        DpSgd(nn.Sequential(nn.Bilinear(2, 3, 1)), loss, PRIVATE, KeyStream(KEY), "opacus")


def test_engine_leaves_opacus_alone_when_it_is_not_needed() -> None:
    import subprocess
    import sys

    program = "import sys, privacy.dpsgd; sys.exit('opacus' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
