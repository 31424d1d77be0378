"""What every version of every model computes: ``python -m tests.models.versions`` adds what is not in the file yet.

``versions.json`` has for each model and version the names and shapes of its parameters, for every preset, and what the
preset ``small`` returns for made-up records with made-up parameters. Both come from formulas, not from a generator of
random numbers, so they are the same on every machine but for rounding.

A version that is in the file is never written anew: a model that computes something else gets a higher ``version`` in
its entry. A model that is gone keeps its lines.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.catalogue import NAMES, find_model
from models.entry import Input, ModelEntry
from models.errors import ModelError
from models.fit import set_objective

FILE = Path(__file__).with_name("versions.json")
RECORDS = 3
_DIGITS = 6
_KEPT = 12  # numbers of each output


def describe_version(name: str) -> dict[str, Any]:
    """Describe what the installed version of the model ``name`` is made of, and computes."""
    entry = find_model(name)
    return {"parameters": _describe_parameters(entry), "returns": _compute_outputs(entry)}


def _describe_parameters(entry: ModelEntry) -> dict[str, str]:
    found = {}
    for count in entry.counts:
        with torch.device("meta"):
            module = entry.build(entry.presets[count.preset], count.sizes, count.outputs)
        lines = [f"{key} {tuple(value.shape)}" for key, value in module.named_parameters()]
        found[count.preset] = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return found


def _compute_outputs(entry: ModelEntry) -> dict[str, list[float]]:
    """Compute outputs and own losses, by the objective, for three records."""
    count = next(each for each in entry.counts if each.preset == "small")
    module = entry.build(entry.presets["small"], count.sizes, count.outputs).eval()
    _fill(module)
    inputs = {each.name: _make_records(place, each, count.sizes) for place, each in enumerate(entry.inputs)}
    found = {}
    for objective in (*entry.objectives, "task"):
        set_objective(module, objective)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(1)
            try:
                returned = module(inputs)
            except ModelError:
                continue  # an objective of a layer that the small preset has not
        named = returned if isinstance(returned, dict) else {"outputs": returned}
        for key, value in named.items():
            numbers = value.double().flatten()
            taken = numbers[:: max(1, math.ceil(len(numbers) / _KEPT))]
            found[f"{objective}.{key}"] = [round(float(each), _DIGITS) for each in (numbers.sum(), *taken)]
    return found


def _fill(module: nn.Module) -> None:
    """Give every parameter other values: waves, of the length of usual first values."""
    with torch.no_grad():
        for place, value in enumerate(module.parameters()):
            fan = max(1, value.numel() // max(1, value.shape[0]) if value.dim() else 1)
            steps = torch.arange(value.numel(), dtype=torch.float64)
            value.copy_((torch.sin(steps * 1.7 + place) / math.sqrt(fan)).reshape(value.shape))


def _make_records(place: int, wanted: Input, sizes: Any) -> torch.Tensor:
    shape = (RECORDS, *(sizes[axis] if isinstance(axis, str) else axis for axis in wanted.axes))
    steps = torch.arange(math.prod(shape), dtype=torch.float64)
    if wanted.type == "id":
        words = sizes[wanted.values] if isinstance(wanted.values, str) else wanted.values
        assert words is not None, "ids have a vocabulary"
        return (steps.long() * 7 % words).reshape(shape)
    if wanted.type == "flag":
        return (steps.long() % 3 != 0).reshape(shape)
    return (0.5 + 0.5 * torch.sin(steps * 0.9 + place)).float().reshape(shape)


def main() -> None:
    """Add what the file lacks."""
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name in NAMES:
        version = str(find_model(name).version)
        known.setdefault(name, {}).setdefault(version, describe_version(name))
    FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
