"""Measure every model of the catalogue: parameters, a private step beside a plain one, memory, sealing.

``python -m benchmarks.models [--json] [--steps N] [--presets small,paper] [--model NAME] [--device cuda]``. Records are
generated (``models/generated/``). Each model and preset is measured in a process of its own; private and plain steps
take turns on the same batch: of 64 patients, or fewer where a plain step of so many would take seconds. The first step
of each is a warm-up.

* ``parameters``: trained and shared.
* ``plain_ms``, ``private_ms``: medians over the steps, one thread, in CPU time (on a GPU by the clock); both pass
  forward and backward and move the parameters, the private one clips every patient. ``ratio``: the median of private by
  plain, step by step; ``bar``: 2 for dense and convolutional models, 3 for those with recurrent cells.
* ``noise_ms``: the secure noise of one step.
* ``peak_mb``: the largest resident size of the process, in MiB; ``before_mb``: before the first step, libraries, model
  and records included.
* ``seal_ms``, ``open_ms``: one site's sealing and the opening of the sum of three, in CPU time; only up to
  ``MOST_SEALED`` parameters.
* ``bytes_up``, ``bytes_down``: sealed, at 16 bits.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.memory import read_status_mb
from client.data.site_data import read_data
from client.training.device_records import DeviceRecords
from client.training.local_steps import begin_stage, make_loss
from models.catalogue import NAMES, find_model
from models.fit import build_study_module
from models.generated.records import generate_records, write_records
from models.generated.study import write_generated_study
from models.genomics.attentive_chrome import BidirectionalLstms
from models.layers.convolutional_gru import ConvolutionalGatedUnits, MultiDimensionalGatedUnits
from models.layers.recurrent import GatedUnits, LongShortTermMemory, PlainUnits
from models.parameters.flatten import set_shared_parameters
from models.parameters.initial import draw_initial_shared_parameters
from models.parameters.trainable import count_by_kind
from privacy.command_line import print_json, print_table, say
from privacy.dpsgd import DpSgd, Loss, Mechanism, add_noise
from privacy.randomness import from_os
from privacy.study import ArraysContract, Terms, parse_terms

MOST_SEALED: Final = 3_000_000
_RECURRENT: Final = (
    PlainUnits,
    GatedUnits,
    LongShortTermMemory,
    ConvolutionalGatedUnits,
    MultiDimensionalGatedUnits,
    BidirectionalLstms,
)
_PATIENTS, _STEP_S = 64, 4.0  # of a step; fewer where a plain one of so many would take longer
_RATE: Final = 1e-3


@click.command()
@click.option("--steps", default=7, show_default=True, type=click.IntRange(3, 1000), help="Counted steps each.")
@click.option("--presets", default="small,paper", show_default=True)
@click.option("--model", "only", multiple=True, help="Only this model; may be repeated.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--sealing/--no-sealing", default=True, help="Whether to measure sealing, which needs TenSEAL.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--one", hidden=True, help="A model and a preset, in this process.")
def main(
    steps: int, presets: str, only: tuple[str, ...], device: str, sealing: bool, as_json: bool, one: str | None
) -> None:
    """Measure every model of the catalogue."""
    if one is not None:
        name, _, preset = one.partition(":")
        print_json(measure_model(name, preset, steps, torch.device(device), sealing))
        return
    found = []
    for name in only or NAMES:
        for preset in presets.split(","):
            say(f"{name}, {preset} ...")
            found.append(_measure_in_process(name, preset, steps, device, sealing))
    if as_json:
        print_json({"device": _describe_device(device), "models": found})
        return
    keys = ("parameters", "plain_ms", "private_ms", "ratio", "bar", "noise_ms", "peak_mb", "seal_ms", "open_ms")
    rows = [(each["model"], each["preset"], *(str(each.get(key, "-")) for key in keys)) for each in found]
    print_table(("model", "preset", *keys), rows)
    for each in found:
        if "failed" in each:
            say(f"{each['model']}, {each['preset']}: {each['failed']}")
        elif each["ratio"] > each["bar"]:
            say(f"{each['model']}, {each['preset']}: {each['ratio']} x plain, over the bar of {each['bar']:g}")


def measure_model(name: str, preset: str, steps: int, device: torch.device, sealing: bool = True) -> dict[str, Any]:
    """Measure one model and preset in this process."""
    torch.set_num_threads(1)
    entry = find_model(name)
    sizes = entry.example if preset == "small" else _find_paper_sizes(name)
    terms = parse_terms(write_generated_study(name, preset=preset, sizes=sizes))
    module = build_study_module(terms)
    set_shared_parameters(module, draw_initial_shared_parameters(module, terms.digest))
    module = module.to(device)
    parameters = count_by_kind(module).shared
    with begin_stage(module, terms, terms.training.rounds):  # the last round: the task, after any pre-training
        batch = _choose_patients(module, terms, device)
        records = _make_records(terms, batch, device)
        before = read_status_mb("VmRSS")
        ratios, plain, private = _compare_steps(module, terms, records, batch, steps)
    found: dict[str, Any] = {
        "model": name,
        "preset": preset,
        "parameters": parameters,
        "batch": batch,
        "plain_ms": round(median(plain) * 1e3, 2),
        "private_ms": round(median(private) * 1e3, 2),
        "ratio": round(median(ratios), 2),
        "bar": 3.0 if any(isinstance(each, _RECURRENT) for each in module.modules()) else 2.0,
        "noise_ms": round(_time_noise(parameters, device) * 1e3, 2),
        "before_mb": round(before),
        "peak_mb": round(read_status_mb("VmHWM")),
    }
    return found | (_measure_sealing(parameters) if sealing else {})


def _measure_in_process(name: str, preset: str, steps: int, device: str, sealing: bool) -> dict[str, Any]:
    words = ["--one", f"{name}:{preset}", "--steps", str(steps), "--device", device]
    words += [] if sealing else ["--no-sealing"]
    command = [sys.executable, "-m", "benchmarks.models", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return {"model": name, "preset": preset, "failed": last[:200]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _measure_sealing(parameters: int) -> dict[str, float]:
    """Measure sealing and opening of an update, and count its bytes."""
    # imported here, because a machine that only trains has no TenSEAL
    from benchmarks.sealed_path import invented_update, layout_for, sealed_path

    layout = layout_for(parameters, 3)
    found: dict[str, float] = {"bytes_up": layout.sealed_bytes, "bytes_down": layout.compute_aggregate_bytes(3)}
    if parameters <= MOST_SEALED:
        path = sealed_path(invented_update(parameters), 3)
        found |= {"seal_ms": round(path.seal * 1e3, 1), "open_ms": round(path.open * 1e3, 1)}
    return found


def _find_paper_sizes(name: str) -> dict[str, int]:
    """Return the sizes for which the entry gives the paper's parameter count."""
    return dict(next(each.sizes for each in find_model(name).counts if each.preset == "paper"))


def _make_records(terms: Terms, patients: int, device: torch.device) -> DeviceRecords:
    assert isinstance(terms.data, ArraysContract)  # generated studies have no tables
    with tempfile.TemporaryDirectory() as folder:
        generated = generate_records(terms.data, patients, seed=1)
        path = write_records(Path(folder) / "records.npz", generated, terms.data.patient)
        return DeviceRecords(read_data(terms.data, path).patients, terms, device)


def _choose_patients(module: nn.Module, terms: Terms, device: torch.device) -> int:
    """Return how many patients a step has: a power of two, of which a plain step takes some seconds at most."""
    records, loss, rows = _make_records(terms, 2, device), make_loss(terms), np.arange(2)
    # the first one makes what later ones have
    _, seconds = (_time(lambda: _compute_plain_gradients(module, loss, records, rows), device) for _ in range(2))
    return max(2, min(_PATIENTS, 1 << int(math.log2(max(2.0, 2 * _STEP_S / seconds)))))


def _compute_plain_gradients(
    module: nn.Module, loss: Loss, records: DeviceRecords, rows: NDArray[np.int64]
) -> list[torch.Tensor]:
    """Compute the gradients of the mean loss of ``rows`` by all trained parameters."""
    parameters = [value for value in module.parameters() if value.requires_grad]
    inputs, targets = records.select(rows)
    gradients = torch.autograd.grad(loss(module(inputs), targets).mean(), parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]


def _compare_steps(
    module: nn.Module, terms: Terms, records: DeviceRecords, batch: int, steps: int
) -> tuple[list[float], list[float], list[float]]:
    """Time plain and private steps in turns; return the ratios and both times, in seconds."""
    loss, rows = make_loss(terms), np.arange(batch)
    engine = DpSgd(module, loss, Mechanism(1.0, batch, 1.0, 0.0), from_os())
    parameters = [value for value in module.parameters() if value.requires_grad]

    def step_plain() -> None:
        _move(parameters, _compute_plain_gradients(module, loss, records, rows))

    def step_private() -> None:
        total = engine.sum_lot(records, rows).div_(batch)
        parts = torch.split(total, [value.numel() for value in parameters])
        _move(parameters, [part.view_as(value) for part, value in zip(parts, parameters, strict=True)])

    plain, private = [], []
    for _ in range(steps + 1):
        plain.append(_time(step_plain, records.device))
        private.append(_time(step_private, records.device))
    ratios = [ours / theirs for ours, theirs in zip(private[1:], plain[1:], strict=True)]
    return ratios, plain[1:], private[1:]


def _move(parameters: list[nn.Parameter], gradients: list[torch.Tensor]) -> None:
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.sub_(gradient.to(parameter), alpha=_RATE)


def _time(step: Callable[[], object], device: torch.device) -> float:
    """Time a step in seconds: of the processor, which other programs change less, or of the clock on a GPU."""
    if device.type == "cpu":
        began = time.process_time()
        step()
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def _time_noise(parameters: int, device: torch.device) -> float:
    total, stream = torch.zeros(parameters, device=device), from_os()
    return median(_time(lambda: add_noise(total, 1.0, stream), device) for _ in range(3))


def _describe_device(device: str) -> str:
    return torch.cuda.get_device_name() if device.startswith("cuda") else "CPU, one thread"


if __name__ == "__main__":
    main()
