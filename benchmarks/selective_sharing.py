"""Measure selective sharing (Shokri and Shmatikov 2015) beside DP-SGD at the same epsilon.

``python -m benchmarks.selective_sharing FILE.npz [--json] [--seeds N]``, where FILE is PneumoniaMNIST; the hospitals
and the network are those of ``benchmarks/shared_parameters.py``.

===================  =================================================================================================
everything           every coordinate is shared, without noise
a tenth              the largest tenth of the coordinates, without noise or privacy
noised, each call    the sparse vector technique on a hundredth, epsilon 8 for each hospital's every epoch
noised, all calls    the same with epsilon 8 for all epochs of a hospital together
patients             DP-SGD, epsilon 8 for all steps together
===================  =================================================================================================
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Final

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.shared_parameters import (
    DELTA,
    EPSILON,
    Hospital,
    Network,
    make_hospitals,
    read_images,
    score,
    train_by_patients,
    train_locally,
)
from models.parameters.flatten import read_shared_parameters
from privacy.command_line import print_json, print_table, say
from privacy.mechanisms.selective_sharing import Shared, compute_total, count_shared, share_largest, share_noised
from privacy.randomness import KeyStream

_EPOCHS: Final = 40  # of every hospital
_STEPS: Final = 5  # in an epoch
_GAMMA: Final = 0.05  # bound of a coordinate
_THRESHOLD: Final = 0.01
_TENTH, _HUNDREDTH = 0.1, 0.01


def measure(hospitals: Sequence[Hospital], test: Hospital, seed: int, epochs: int = _EPOCHS) -> dict[str, float]:
    """Train in every way, hospitals one after the other; return the accuracy on ``test`` by the name of the way."""
    module = Network(test.images.shape[-1])
    stream = KeyStream(seed.to_bytes(32, "big"))  # a benchmark's noise, so that a run can be repeated
    torch.manual_seed(seed)
    first = read_shared_parameters(Network(test.images.shape[-1]))
    few = count_shared(_HUNDREDTH, len(first))

    def share(way: str, update: NDArray[np.float64]) -> Shared:
        match way:
            case "everything":
                return share_largest(update, 1.0, np.inf)
            case "a tenth":
                return share_largest(update, _TENTH, np.inf)
            case "noised, each call":
                return share_noised(update, few, _THRESHOLD, _GAMMA, EPSILON, stream)
        return share_noised(update, few, _THRESHOLD, _GAMMA, EPSILON / epochs, stream)

    found = {}
    for way in ("everything", "a tenth", "noised, each call", "noised, all calls"):
        model = first.copy()
        for _ in range(epochs):
            for each in hospitals:  # round-robin
                shared = share(way, train_locally(module, model, each, _STEPS) - model)
                model[shared.places] += shared.values / len(hospitals)
        found[way] = score(module, model, test)
    patients = train_by_patients(module, first, hospitals, epochs * _STEPS, stream)
    return {**found, "patients": score(module, patients, test)}


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(2, 100), help="Repeats.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(file: Path, seeds: int, as_json: bool) -> None:
    """Accuracy with selective sharing, plain and noised, and with DP-SGD."""
    (images, labels), test = read_images(file)
    runs = [measure(make_hospitals(images, labels, 100, seed), test, seed) for seed in range(1, seeds + 1)]
    found = {way: (fmean(run[way] for run in runs), stdev(run[way] for run in runs)) for way in runs[0]}
    few = count_shared(_HUNDREDTH, len(read_shared_parameters(Network(test.images.shape[-1]))))
    totals = {
        "noised, each call": compute_total(EPSILON, _EPOCHS, few, DELTA),
        "noised, all calls": compute_total(EPSILON / _EPOCHS, _EPOCHS, few, DELTA),
    }
    if as_json:
        print_json({"seeds": seeds, "ways": found, "totals": {way: each._asdict() for way, each in totals.items()}})
        return
    print_table(
        ("way", "balanced accuracy"), [(way, f"{each[0]:.3f} +- {each[1]:.3f}") for way, each in found.items()]
    )
    for way, each in totals.items():
        say(f"{way}: {each}")


if __name__ == "__main__":
    main()
