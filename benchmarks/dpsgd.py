"""Measure what DP-SGD costs beside plain SGD: our engine, its noise, and Opacus. CPU, or CUDA with ``--device``.

``python -m benchmarks.dpsgd [--json] [--steps N] [--threads N] [--device cuda]``. All run in one process and take
turns on the same batches. The first step of each is a warm-up. Figures are medians in milliseconds.

* ``mlp``: 512-1024-512-2, batch 128. ``cnn``: three 3x3 convolutions 32-64-128 with GroupNorm and 2x2 pooling
  between, 64x64 images of 3 channels, batch 64. One record a patient, cross-entropy.
* ``plain_ms``: forward, backward and the update of plain SGD.
* ``ours_ms``: forward, backward, clipping, the sum, and the same update; no noise.
* ``noise_ms``: the secure noise for all parameters, alone; ``noise_ns_per_parameter`` is measured on ten million.
* ``opacus_hooks_ms``, ``opacus_ghost_ms``: Opacus with hooks and with ghost clipping: clipping, sum and update, no
  noise.
* ``ratio_to_plain``: the median over the steps of ours by plain; the bar is 2.
* ``..._peak_mb``: the greatest memory during a step above that before it (CPU: resident size, Linux only).
* ``wide``: a perceptron 12758-8182-4096-1 (138 million parameters), batch 64: one whole private step with noise and
  update, in a process of its own; ``peak_gb`` is the largest resident size of the process, libraries and model
  included.
"""

import ctypes
import gc
import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from privacy.command_line import print_json, print_table, say
from privacy.dpsgd import DpSgd, Mechanism, TensorRecords, add_noise
from privacy.randomness import from_os

BAR: Final = 2.0
_RATE: Final = 1e-3
_NORM: Final = 1.0
_NOISES: Final = 10_000_000


Step = Callable[[NDArray[np.int64]], None]
"""A function that takes one step on the records of a lot."""


@click.command()
@click.option("--steps", default=15, show_default=True, type=click.IntRange(3, 1000), help="Counted steps each.")
@click.option(
    "--threads", default=0, help="Threads of torch; 0: its own choice. One is steadier on a busy machine."
)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--only-wide", is_flag=True, hidden=True)
def main(steps: int, threads: int, device: str, as_json: bool, only_wide: bool) -> None:
    """Measure what DP-SGD costs beside plain SGD."""
    warnings.filterwarnings("ignore", module="opacus")
    warnings.filterwarnings("ignore", message="Full backward hook")
    if threads:
        torch.set_num_threads(threads)
    if only_wide:
        print_json(_wide(torch.device(device)))
        return
    found: dict[str, Any] = {}
    for name, (build, shape, batch) in _MODELS.items():
        say(f"{name} ...")
        found[name] = _compared(build, shape, batch, steps, torch.device(device))
    found["noise_ns_per_parameter"] = round(_noise_ns(), 2)
    say("wide ...")
    alone = [sys.executable, "-m", "benchmarks.dpsgd", "--only-wide", "--device", device, "--threads", str(threads)]
    found["wide"] = json.loads(subprocess.run(alone, check=True, capture_output=True, text=True).stdout)
    if as_json:
        print_json(found)
        return
    keys = list(found["mlp"])
    print_table(("", "mlp", "cnn"), [(key, str(found["mlp"][key]), str(found["cnn"][key])) for key in keys])
    say(f"noise: {found['noise_ns_per_parameter']} ns per parameter; wide: {found['wide']}")
    for name in _MODELS:
        ratio = found[name]["ratio_to_plain"]
        say(f"{name}: {ratio} x plain, {'within' if ratio <= BAR else 'over'} the bar of {BAR:g}")


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 2))


def _cnn() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width in (32, 64, 128):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(8, width), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 2))


_MODELS: Final[dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]]] = {
    "mlp": (_mlp, (512,), 128),
    "cnn": (_cnn, (3, 64, 64), 64),
}


def _compared(
    build: Callable[[], nn.Module], shape: tuple[int, ...], batch: int, steps: int, device: torch.device
) -> dict[str, float]:
    records = 4 * batch
    torch.manual_seed(0)
    table = TensorRecords(
        torch.randn(records, *shape, device=device),
        torch.randint(0, 2, (records,), device=device),
        torch.arange(records),
    )
    ways = {
        "plain_ms": _plain(build().to(device), table),
        "ours_ms": _ours(build().to(device), table),
        "opacus_hooks_ms": _hooks(build().to(device), table),
        "opacus_ghost_ms": _ghost(build().to(device), table),
    }
    random = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(steps + 1):
        lot = np.sort(random.choice(records, batch, replace=False))
        for name, step in ways.items():
            passed = _timed(lambda step=step, lot=lot: step(lot), device)  # type: ignore[misc]
            if turn:
                times[name].append(1000 * passed)
    parameters = sum(parameter.numel() for parameter in build().parameters())
    total = torch.zeros(parameters, device=device)
    stream = from_os()
    noise = [1000 * _timed(lambda: add_noise(total, 1.0, stream), device) for _ in range(steps)]
    figures = {name: round(median(values), 2) for name, values in times.items()}
    pairs = zip(times["ours_ms"], times["plain_ms"], strict=True)
    lot = np.arange(batch)
    return {
        **figures,
        "noise_ms": round(median(noise), 2),
        "ratio_to_plain": round(median(ours / plain for ours, plain in pairs), 2),
        **{name.replace("_ms", "_peak_mb"): _peak_mb(step, lot, device) for name, step in ways.items()},
    }


def _plain(module: nn.Module, table: TensorRecords) -> Step:
    def step(lot: NDArray[np.int64]) -> None:
        features, labels = table.select(lot)
        torch.autograd.backward(_losses(module(features), labels).mean())
        with torch.no_grad():
            for parameter in module.parameters():
                assert parameter.grad is not None
                parameter.sub_(parameter.grad, alpha=_RATE)
                parameter.grad = None

    return step


def _ours(module: nn.Module, table: TensorRecords) -> Step:
    engine = DpSgd(module, _losses, Mechanism(0.25, table.patients, _NORM, 1.0), from_os(), "book-keeping")

    def step(lot: NDArray[np.int64]) -> None:
        _move(module, engine.sum_lot(table, lot), _RATE / len(lot))

    return step


def _hooks(module: nn.Module, table: TensorRecords) -> Step:
    hooked = GradSampleModule(module, loss_reduction="sum")
    descent = torch.optim.SGD(hooked.parameters(), lr=_RATE)
    optimizer = DPOptimizer(
        descent, noise_multiplier=0.0, max_grad_norm=_NORM, expected_batch_size=1, loss_reduction="sum"
    )

    def step(lot: NDArray[np.int64]) -> None:
        features, labels = table.select(lot)
        optimizer.zero_grad()
        torch.autograd.backward(_losses(hooked(features), labels).sum())
        optimizer.step()

    return step


def _ghost(module: nn.Module, table: TensorRecords) -> Step:
    hooked = GradSampleModuleFastGradientClipping(module, max_grad_norm=_NORM, use_ghost_clipping=True)
    descent = torch.optim.SGD(hooked.parameters(), lr=_RATE)
    optimizer = DPOptimizerFastGradientClipping(
        descent, noise_multiplier=0.0, max_grad_norm=_NORM, expected_batch_size=1
    )
    criterion = DPLossFastGradientClipping(hooked, optimizer, nn.CrossEntropyLoss(reduction="mean"))

    def step(lot: NDArray[np.int64]) -> None:
        features, labels = table.select(lot)
        optimizer.zero_grad()
        criterion(hooked(features), labels).backward()
        optimizer.step()

    return step


def _losses(outputs: torch.Tensor, labels: Any) -> torch.Tensor:
    return cross_entropy(outputs, labels, reduction="none")


def _move(module: nn.Module, total: torch.Tensor, rate: float) -> None:
    start = 0
    with torch.no_grad():
        for parameter in module.parameters():
            part = total[start : start + parameter.numel()]
            parameter.sub_(part.view_as(parameter), alpha=rate)
            start += parameter.numel()


def _timed(compute: Callable[[], None], device: torch.device) -> float:
    began = time.perf_counter()
    compute()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _peak_mb(step: Step, lot: NDArray[np.int64], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(lot)
        return round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # return what earlier steps freed, so that "before" does not contain it
    Path("/proc/self/clear_refs").write_text("5")  # resets the highest resident size
    before = _resident_kb("VmRSS")
    step(lot)
    return round((_resident_kb("VmHWM") - before) * 1024 / 1e6, 1)


def _resident_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def _noise_ns() -> float:
    total = torch.zeros(_NOISES)
    stream = from_os()
    cpu = torch.device("cpu")
    return median(_timed(lambda: add_noise(total, 1.0, stream), cpu) for _ in range(5)) / _NOISES * 1e9


def _wide(device: torch.device) -> dict[str, float]:
    with torch.device(device):
        module = nn.Sequential(
            nn.Linear(12758, 8182), nn.ReLU(), nn.Linear(8182, 4096), nn.ReLU(), nn.Linear(4096, 1), nn.Flatten(0)
        )
        table = TensorRecords(torch.randn(64, 12758), torch.ones(64), torch.arange(64))
    engine = DpSgd(module, _binary, Mechanism(1.0, 64, _NORM, 1.0), from_os())
    times = [_timed(lambda: _move(module, engine.compute_gradient(table), _RATE), device) for _ in range(3)]
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak_gb": round(peak / 1e9, 2), "step_s": round(median(times), 2)}


def _binary(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return binary_cross_entropy_with_logits(logits, labels, reduction="none")


if __name__ == "__main__":
    main()
