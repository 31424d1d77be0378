"""Measure rounds and bytes that each federated optimiser needs, without privacy and at epsilon 3, on public data.

``python -m benchmarks.optimisers [--json] [--quick] [--workers N]`` measures;
``python -m benchmarks.optimisers --tune`` writes benchmarks/optimisers_choices.json again, from other seeds.

* Paired: with one seed all optimisers have the same sites, held-out patients and first model, and the same number
  of rounds. benchmarks/optimisers_tuning.py defines the target and how settings are chosen.
* ``rounds_to_target``: the mean over all seeds; null if a seed never reaches the target. ``reached`` is the number
  of seeds that do. ``rounds_median`` counts the other seeds as later than all rounds.
* ``auroc_mean``, ``auroc_sd``: of the last model, over the seeds.
* ``gain_mean``, ``gain_error``: mean and standard error of the paired difference to ``fedavg``.
"""

import json
import math
from collections.abc import Iterator, Sequence
from statistics import fmean, median, stdev
from typing import Any, Final

import click
import torch

from benchmarks.optimisers_grid import OPTIMISERS, compared
from benchmarks.optimisers_runs import noise_of, round_bytes
from benchmarks.optimisers_steps import check_against_the_product
from benchmarks.optimisers_tuning import (
    CHOICES,
    EPSILONS,
    POOLED,
    Curves,
    Plan,
    Run,
    chosen,
    known,
    measured,
    reaching,
    rounds_to,
    target,
    tuned,
    tuning_runs,
)
from privacy.command_line import print_json, print_table, say

REFERENCE: Final = "fedavg"
PLANS: Final = (
    Plan("heart", tuple(range(10)), (1000, 1001, 1002)),
    Plan("pneumonia", tuple(range(10)), (1000, 1001, 1002)),
    Plan("three", tuple(range(10))),
)
QUICK: Final = (Plan("heart", (0, 1), (1000,)),)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--quick", is_flag=True, help="Two seeds, tables only.")
@click.option("--tune", is_flag=True, help="Choose settings anew, on other seeds.")
@click.option("--workers", type=click.IntRange(1), default=1, help="Processes to train in.")
def main(as_json: bool, quick: bool, tune: bool, workers: int) -> None:
    """Measure rounds and bytes to a target, by optimiser and epsilon."""
    torch.set_num_threads(1)
    plans = [plan for plan in (QUICK if quick else PLANS) if _ready(plan)]
    if tune:
        found = {
            plan.dataset: tuned(plan, measured(tuning_runs(plan), workers)) for plan in plans if plan.tuning_seeds
        }
        CHOICES.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        return
    rows = [row for plan in plans for row in rows_of(plan, measured(runs_of(plan), workers))]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(list(rows[0]), [[_words(value) for value in row.values()] for row in rows])


def _ready(plan: Plan) -> bool:
    """Return whether the data are there; if so, first compare the closed-form steps with the product's own."""
    federation = known(plan.dataset, plan.seeds[0])
    if federation is None:
        say(f"{plan.dataset}: not measured, the data are not on this machine")
        return False
    for epsilon in EPSILONS:
        terms = OPTIMISERS["fedprox"].terms(plan.dataset, epsilon, (0.3, 0.1))
        check_against_the_product(terms, federation.sites[0], federation.counts[0], noise_of(terms))
    return True


def _words(value: object) -> str:
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def runs_of(plan: Plan) -> list[Run]:
    """List every run that is reported, and the pooled runs that define the targets."""
    runs = [chosen(plan.dataset, None, POOLED, seed) for seed in plan.seeds]
    for epsilon in EPSILONS:
        for name in compared(epsilon):
            runs += [chosen(plan.dataset, epsilon, name, seed) for seed in plan.seeds]
    return runs


def rows_of(plan: Plan, curves: Curves) -> Iterator[dict[str, Any]]:
    """Yield one row for each epsilon and optimiser."""
    for epsilon in EPSILONS:
        targets = [target(curves[chosen(plan.dataset, None, POOLED, seed)][-1], epsilon) for seed in plan.seeds]
        reference = [curves[chosen(plan.dataset, epsilon, REFERENCE, seed)][-1] for seed in plan.seeds]
        for name in compared(epsilon):
            found = [curves[chosen(plan.dataset, epsilon, name, seed)] for seed in plan.seeds]
            rounds = [rounds_to(each, wanted) for each, wanted in zip(found, targets, strict=True)]
            yield {
                "dataset": plan.dataset,
                "optimiser": name,
                "epsilon": epsilon,
                "seeds": len(plan.seeds),
                "target_mean": round(fmean(targets), 4),
                **_reached(rounds, _megabytes(plan, epsilon, name)),
                **_scores([each[-1] for each in found], reference),
                "settings_reaching": reaching(plan, epsilon, name),
            }


def _reached(rounds: Sequence[int | None], megabytes: float) -> dict[str, Any]:
    known_rounds = [number for number in rounds if number is not None]
    everybody = len(known_rounds) == len(rounds)
    middle = median(math.inf if number is None else number for number in rounds)
    return {
        "reached": len(known_rounds),
        "rounds_to_target": round(fmean(known_rounds), 2) if everybody else None,
        "rounds_sd": round(stdev(known_rounds), 2) if everybody else None,
        "rounds_median": middle if math.isfinite(middle) else None,
        "megabytes_to_target": round(fmean(known_rounds) * megabytes, 3) if everybody else None,
        "megabytes_a_round": round(megabytes, 4),
    }


def _scores(last: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    gains = [own - theirs for own, theirs in zip(last, reference, strict=True)]
    return {
        "auroc_mean": round(fmean(last), 4),
        "auroc_sd": round(stdev(last), 4),
        "gain_mean": round(fmean(gains), 4),
        "gain_error": round(stdev(gains) / math.sqrt(len(gains)), 4),
    }


def _megabytes(plan: Plan, epsilon: float | None, optimiser: str) -> float:
    """Compute the sealed megabytes, up and down, of one site in one round."""
    run = chosen(plan.dataset, epsilon, optimiser, plan.seeds[0])
    federation = known(plan.dataset, run.seed)
    assert federation is not None, "the data were there a moment ago"
    return round_bytes(OPTIMISERS[optimiser].terms(plan.dataset, epsilon, run.setting), federation) / 1e6


if __name__ == "__main__":
    main()
