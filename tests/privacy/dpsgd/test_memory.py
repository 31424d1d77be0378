"""What a private step holds beside what a plain one does; oracle: torch's own record of what it allocates."""

import json
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from opacus.layers import DPGRU
from torch import nn
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from privacy.dpsgd import DpSgd, Mechanism, TensorRecords
from privacy.randomness import KeyStream
from tests.privacy.dpsgd.oracle import KEY

RECORDS = 64


def _make_narrowing_network() -> nn.Module:
    """Build large activations first, then a convolution whose weight has more numbers than its images."""
    wide = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4)]
    small = [nn.Conv2d(16, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*wide, *small, nn.Flatten(), nn.Linear(4096, 2))


def _make_linear_network() -> nn.Module:
    """Build a network whose parameters take most of the memory."""
    return nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 2))


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.last = DPGRU(32, 64, batch_first=True), nn.Linear(64, 2)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(self.cells(series)[0][:, -1])
        return found


@pytest.mark.parametrize(
    ("make", "shape", "most"),
    [
        (_make_narrowing_network, (3, 32, 32), 1.3),
        (_make_linear_network, (512,), 1.2),
        (_Recurrent, (24, 32), 1.2),
    ],
)
def test_step_holds_little_more_than_a_plain_one(
    make: Callable[[], nn.Module], shape: tuple[int, ...], most: float, tmp_path: Path
) -> None:
    module, everybody = make(), np.arange(RECORDS)
    records = TensorRecords(torch.randn(RECORDS, *shape), torch.zeros(RECORDS, dtype=torch.long), everybody)
    engine = DpSgd(module, _compute_losses, Mechanism(1.0, RECORDS, 1.0, 1.0), KeyStream(KEY), "book-keeping")
    engine.sum_lot(records, everybody)  # the axes of records are known afterwards

    def step() -> None:
        inputs, targets = records.select(everybody)
        torch.autograd.grad(_compute_losses(module(inputs), targets).sum(), list(module.parameters()))

    plain = _find_peak(step, tmp_path / "plain.json")
    ours = _find_peak(lambda: engine.sum_lot(records, everybody), tmp_path / "ours.json")
    assert plain > 1e6
    assert ours < most * plain


def _find_peak(step: Callable[[], object], trace: Path) -> int:
    """Return the most bytes that torch holds during ``step``, above what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    seen.export_chrome_trace(str(trace))
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    peak: int = max(accumulate(size for _, size in changes))
    return peak


def _compute_losses(outputs: torch.Tensor, labels: object) -> torch.Tensor:
    return cross_entropy(outputs, labels, reduction="none")  # type: ignore[arg-type]
