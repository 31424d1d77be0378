"""What documents and early stopping ask of every kind of task, whatever noise has made of its totals."""

import math
from functools import cache
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from models.catalogue import NAMES, find_model
from models.tasks.registry import find_threshold, list_figures, make_task
from models.tasks.uncertainty import estimate_chance_errors, estimate_noise_errors
from privacy.study import Terms
from privacy.study.tasks.figures import MOST_FIGURES
from privacy.study.tasks.kinds import AnyTask
from privacy.study.tasks.task import count_cells
from tests.models.generated_studies import generated_terms
from tests.statistics_study import statistics_terms

KINDS = sorted(
    kind for each in get_args(get_args(AnyTask)[0]) for kind in get_args(each.model_fields["kind"].annotation)
)


@cache
def terms_of(kind: str) -> Terms:
    """A study of the first model that suits the task, or of none."""
    if kind == "statistics":
        return statistics_terms()
    return generated_terms(next(name for name in NAMES if kind in find_model(name).tasks), kind)


def noised_totals(terms: Terms, seed: int) -> NDArray[np.int64]:
    """Totals of a few patients with as much noise, some cells negative."""
    rng, cells = np.random.default_rng(seed), count_cells(terms.cell_groups)
    return rng.poisson(rng.gamma(0.5, 4.0, cells)) + np.rint(rng.normal(0, 2.0, cells)).astype(np.int64)


@pytest.mark.parametrize("kind", KINDS)
def test_figures_are_numbers_or_none_whatever_the_totals(kind: str) -> None:
    terms = terms_of(kind)
    task, bins, cells = make_task(terms.task, terms.data), terms.evaluation.bins, count_cells(terms.cell_groups)
    names = [each.name for each in list_figures(terms.task, terms.data)]
    assert 0 < len(set(names)) == len(names) <= MOST_FIGURES
    rng = np.random.default_rng(4)
    extremes = [[value] * cells for value in (0, -7, (1 << 31) - 1)] + [rng.integers(-3, 2, cells).tolist()]
    for counts in (*extremes, *(noised_totals(terms, seed).tolist() for seed in range(10))):
        figures = task.compute_figures(counts, bins)
        assert list(figures) == names
        assert all(value is None or (type(value) is float and math.isfinite(value)) for value in figures.values())
        patients = task.count_patients(counts, bins)
        assert type(patients) is int
        assert patients >= 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "statistics"])  # nothing is chosen by those
def test_greater_rank_is_a_better_first_figure(kind: str) -> None:
    terms = terms_of(kind)
    task, bins = make_task(terms.task, terms.data), terms.evaluation.bins
    first, sign = task.figures[0].name, -1 if task.figures[0].lower_is_better else 1
    several = [noised_totals(terms, seed).tolist() for seed in range(20)]
    found = [(task.compute_rank(counts, bins), task.compute_figures(counts, bins)[first]) for counts in several]
    assert all((rank is None) == (figure is None) for rank, figure in found)
    defined = [(rank, sign * figure) for rank, figure in found if rank is not None and figure is not None]
    assert len({rank for rank, _ in defined}) > 10
    assert sorted(defined) == sorted(defined, key=lambda each: each[1])


@pytest.mark.parametrize("kind", KINDS)
def test_errors_of_every_figure_are_estimated(kind: str) -> None:
    terms = terms_of(kind)
    task, groups, bins = make_task(terms.task, terms.data), terms.cell_groups, terms.evaluation.bins
    counts = noised_totals(terms, 1).tolist()
    noise = estimate_noise_errors(task, groups, counts, bins, 2.0)
    chance = estimate_chance_errors(task, groups, counts, bins)
    names = [each.name for each in task.figures]
    assert list(noise) == list(chance) == names
    assert noise[names[0]] is not None
    assert all(value is None or value >= 0 for value in (*noise.values(), *chance.values()))


@pytest.mark.parametrize("kind", KINDS)
def test_totals_of_another_number_of_cells_are_refused(kind: str) -> None:
    terms = terms_of(kind)
    task, bins, cells = make_task(terms.task, terms.data), terms.evaluation.bins, count_cells(terms.cell_groups)
    for size in (0, cells - 1, cells + 1):
        with pytest.raises(ValueError, match=rf"\b{size}\b"):
            task.compute_figures([1] * size, bins)


def test_threshold_is_that_of_the_binary_task_alone() -> None:
    assert {kind for kind in KINDS if find_threshold(terms_of(kind).task) is not None} == {"binary"}
