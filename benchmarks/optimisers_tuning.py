"""Define a run, the target that runs must reach, and the setting of each optimiser.

* The target is a share (:data:`SHARES`) of the AUROC that pooled training gains over 0.5. The shares were fixed
  before any reported seed was run.
* Pooled training has all sites' patients in one place, no privacy and as many steps. Its learning rate is the one
  whose last model is best on the tuning seeds.
* Every seed has its own target, because it holds out other patients.
* A run reaches the target in the first of two consecutive rounds whose models are at or above it.
* The setting of an optimiser, for each data set and epsilon, is the one of its grid with the best AUROC, averaged
  over all rounds and the tuning seeds. benchmarks/optimisers_choices.json stores it.
* ``settings_reaching`` is the number of settings of the grid that reach the target on every tuning seed.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import torch

from benchmarks.optimisers_data import DATASETS, Federation, federation_of, terms_of
from benchmarks.optimisers_grid import OPTIMISERS, Setting, compared
from benchmarks.optimisers_runs import aurocs, pooled_patients

CHOICES: Final = Path(__file__).with_name("optimisers_choices.json")
EPSILONS: Final = (None, 3.0)
SHARES: Final = {None: 0.99, 3.0: 0.97}
POOLED: Final = "pooled"
POOLED_RATES: Final = (0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Plan:
    """A data set, its reported seeds, and its tuning seeds; without these it uses another data set's settings."""

    dataset: str
    seeds: tuple[int, ...]
    tuning_seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Run:
    """One training: an optimiser with a setting, or pooled training."""

    dataset: str
    epsilon: float | None
    optimiser: str
    setting: Setting
    seed: int


Curve = Sequence[float]
Curves = Mapping[Run, Curve]


def measured(runs: Sequence[Run], workers: int = 1) -> Curves:
    """Compute the AUROC after every round of every run, in ``workers`` processes."""
    with ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        return dict(zip(runs, pool.map(curve, runs, chunksize=4), strict=True))


def curve(run: Run) -> Curve:
    """Compute the AUROC after every round of ``run``."""
    federation = known(run.dataset, run.seed)
    assert federation is not None, "the data were there a moment ago"
    if run.optimiser == POOLED:
        terms = terms_of(run.dataset, None, training={"learning_rate": run.setting[0]})
        return aurocs(terms, pooled_patients(federation))
    return aurocs(OPTIMISERS[run.optimiser].terms(run.dataset, run.epsilon, run.setting), federation)


@lru_cache(maxsize=8)
def known(dataset: str, seed: int) -> Federation | None:
    """Return the sites of a seed; None if the data are not on this machine."""
    return federation_of(dataset, seed)


def tuning_runs(plan: Plan) -> list[Run]:
    """List the runs of every setting of every optimiser, and of pooled training, on the tuning seeds."""
    runs = [_pooled(plan, rate, seed) for rate in POOLED_RATES for seed in plan.tuning_seeds]
    for epsilon in EPSILONS:
        for name in compared(epsilon):
            for setting in OPTIMISERS[name].settings:
                runs += [Run(plan.dataset, epsilon, name, setting, seed) for seed in plan.tuning_seeds]
    return runs


def tuned(plan: Plan, curves: Curves) -> dict[str, Any]:
    """Choose the best setting of each optimiser, and count its settings that reach the target."""

    def last(rate: float) -> list[float]:
        return [curves[_pooled(plan, rate, seed)][-1] for seed in plan.tuning_seeds]

    rate = max(POOLED_RATES, key=lambda rate: fmean(last(rate)))
    found: dict[str, Any] = {POOLED: (rate, 1.0)}
    for epsilon in EPSILONS:
        targets = [target(reference, epsilon) for reference in last(rate)]
        found[word(epsilon)] = {name: _tuned(plan, epsilon, name, curves, targets) for name in compared(epsilon)}
    return found


def _tuned(
    plan: Plan, epsilon: float | None, name: str, curves: Curves, targets: Sequence[float]
) -> dict[str, Any]:
    """Choose for one optimiser, as :func:`tuned`; ``targets`` are those of the tuning seeds."""
    of = {
        setting: [curves[Run(plan.dataset, epsilon, name, setting, seed)] for seed in plan.tuning_seeds]
        for setting in OPTIMISERS[name].settings
    }
    reaching = [all(map(rounds_to, each, targets)) for each in of.values()]
    return {
        "setting": max(of, key=lambda setting: fmean(map(fmean, of[setting]))),
        "settings_reaching": sum(reaching),
    }


def _pooled(plan: Plan, rate: float, seed: int) -> Run:
    return Run(plan.dataset, None, POOLED, (rate, 1.0), seed)


def word(epsilon: float | None) -> str:
    """Return the key of an epsilon in the file of choices."""
    return "none" if epsilon is None else f"{epsilon:g}"


def target(pooled: float, epsilon: float | None) -> float:
    """Compute the AUROC to reach from that of the last model of pooled training."""
    return 0.5 + SHARES[epsilon] * (pooled - 0.5)


def rounds_to(curve: Curve, wanted: float) -> int | None:
    """Find the first of two consecutive rounds at or above ``wanted``, counted from 1; None if there is none."""
    return next((number for number, pair in enumerate(pairwise(curve), start=1) if min(pair) >= wanted), None)


@lru_cache(maxsize=1)
def choices() -> dict[str, Any]:
    """Read the settings that tuning chose."""
    found: dict[str, Any] = json.loads(CHOICES.read_text(encoding="utf-8"))
    return found


def chosen(dataset: str, epsilon: float | None, optimiser: str, seed: int) -> Run:
    """Return the reported run of an optimiser, with its chosen setting."""
    own = choices()[DATASETS[dataset].settings_of]
    setting = own[POOLED] if optimiser == POOLED else own[word(epsilon)][optimiser]["setting"]
    return Run(dataset, epsilon, optimiser, (setting[0], setting[1]), seed)


def reaching(plan: Plan, epsilon: float | None, optimiser: str) -> int | None:
    """Return how many settings of the grid reached the target; None if nothing was tuned."""
    if not plan.tuning_seeds:
        return None
    found: int = choices()[plan.dataset][word(epsilon)][optimiser]["settings_reaching"]
    return found
