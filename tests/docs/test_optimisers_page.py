"""The figures of ``docs/optimisers.md`` are those that the benchmark measured, and it measures some of them again."""

import json
from statistics import fmean
from typing import Any

import pytest

from benchmarks.optimisers import PLANS
from benchmarks.optimisers_data import DATASETS
from benchmarks.optimisers_grid import OPTIMISERS, compared
from benchmarks.optimisers_runs import noise_of
from benchmarks.optimisers_steps import check_against_the_product
from benchmarks.optimisers_tuning import CHOICES, EPSILONS, chosen, curve, known, rounds_to
from tests.docs.pages import ROOT, rows

PAGE = ROOT / "docs" / "optimisers.md"
RESULTS: list[dict[str, Any]] = json.loads((ROOT / "docs" / "optimisers.json").read_text(encoding="utf-8"))
TITLES = {"heart": "Heart, 4 hospitals", "pneumonia": "X-rays, 8 sites", "three": "X-rays, 3 hospitals"}
WITHIN = 0.002  # another processor rounds otherwise, and a step may then clip otherwise
TABLES = [(plan, epsilon) for plan in PLANS for epsilon in EPSILONS]


def measured(dataset: str, optimiser: str, epsilon: float | None) -> dict[str, Any]:
    wanted = {"dataset": dataset, "optimiser": optimiser, "epsilon": epsilon}
    (found,) = [row for row in RESULTS if all(row[name] == value for name, value in wanted.items())]
    return found


def heading(dataset: str, epsilon: float | None) -> str:
    return f"{TITLES[dataset]}, {'without privacy' if epsilon is None else f'epsilon {epsilon:g}'}"


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the page's tables."""
    if row["rounds_to_target"] is not None:
        reached = [f"{row['rounds_to_target']:.1f} ± {row['rounds_sd']:.1f}", f"{row['megabytes_to_target']:.2f}"]
    else:
        middle = "" if row["rounds_median"] is None else f", median {row['rounds_median']:g}"
        reached = [f"{row['reached']} of {row['seeds']}{middle}", ""]
    scores = [
        f"{row['auroc_mean']:.3f} ± {row['auroc_sd']:.3f}",
        f"{row['gain_mean']:+.4f} ± {row['gain_error']:.4f}",
    ]
    settings = "" if row["settings_reaching"] is None else str(row["settings_reaching"])
    return [row["optimiser"], *reached, *scores, settings]


@pytest.mark.parametrize(("plan", "epsilon"), TABLES, ids=lambda value: getattr(value, "dataset", str(value)))
def test_table_is_what_was_measured(plan: Any, epsilon: float | None) -> None:
    found = [measured(plan.dataset, name, epsilon) for name in compared(epsilon)]
    assert rows(PAGE, heading(plan.dataset, epsilon)) == [cells(row) for row in found]
    assert {row["seeds"] for row in found} == {len(plan.seeds)}


def test_results_are_of_every_optimiser_and_no_other() -> None:
    expected = sum(len(compared(epsilon)) for _, epsilon in TABLES)
    assert len(RESULTS) == expected
    assert {row["optimiser"] for row in RESULTS} == set(OPTIMISERS)


@pytest.mark.parametrize(("optimiser", "epsilon"), [("scaffold", None), ("global", 3.0)])
def test_measuring_again_gives_the_same_figures(optimiser: str, epsilon: float | None) -> None:
    (plan,) = [plan for plan in PLANS if plan.dataset == "heart"]
    if known(plan.dataset, plan.seeds[0]) is None:
        pytest.skip("the heart data are not on this machine")
    last = [curve(chosen(plan.dataset, epsilon, optimiser, seed))[-1] for seed in plan.seeds]
    assert fmean(last) == pytest.approx(measured(plan.dataset, optimiser, epsilon)["auroc_mean"], abs=WITHIN)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_steps_in_closed_form_are_those_of_the_product(dataset: str, epsilon: float | None) -> None:
    federation = known(dataset, 0)
    if federation is None:
        pytest.skip(f"the data of '{dataset}' are not on this machine")
    terms = OPTIMISERS["fedprox"].terms(dataset, epsilon, (1.0, 0.1))
    check_against_the_product(terms, federation.sites[0], federation.counts[0], noise_of(terms))


def test_choices_are_made_on_other_seeds() -> None:
    assert CHOICES.is_file()
    for plan in PLANS:
        assert not set(plan.seeds) & set(plan.tuning_seeds)


def test_target_is_reached_in_the_first_of_two_rounds_in_a_row() -> None:
    assert rounds_to([0.9, 0.7, 0.8, 0.8, 0.7], 0.8) == 3
    assert rounds_to([0.8, 0.7, 0.9], 0.8) is None
