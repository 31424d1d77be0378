"""The figures of a study of statistics: against pandas and numpy where there is hardly any noise, and their errors."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from client.data.examples import Patients
from client.training.statistics import count_statistics
from models.tasks.registry import make_task
from models.tasks.statistics import StatisticsFigures, StatisticsTask, compute_statistics
from models.tasks.statistics_document import describe_statistics
from privacy.study import Terms
from privacy.study.cost import compute_evaluation_noise, compute_totals_deviation
from privacy.study.tasks.statistics import UNIT
from privacy.study.tasks.task import compute_squared_scales, count_cells
from tests.statistics_study import statistics_terms

SITES = ("ash", "birch", "cedar", "elm")
ALMOST_NO_NOISE = 1e-6


def make_site(seed: int, count: int, shift: float) -> Patients:
    """Patients of the small contract whose age depends on the site, and whether they are ill on their age."""
    random = np.random.default_rng(seed)
    age = np.clip(random.normal(shift, 0.35, count), -1, 1)
    gone, sex = random.random(count) < 0.15, random.integers(0, 2, count)
    features = np.stack([np.where(gone, 0, age), gone, sex == 0, sex == 1, np.zeros(count)], axis=1)
    label = (age + random.normal(0, 0.3, count) > 0).astype(np.int64)
    return Patients({"features": features.astype(np.float32)}, {"label": label}, np.arange(count), count)


FEDERATION = [make_site(number, 150 + 50 * number, -0.3 + 0.2 * number) for number in range(4)]


def pool(sites: list[Patients]) -> pd.DataFrame:
    """All patients in one table, with the site of each."""
    parts = []
    for name, site in zip(SITES, sites, strict=False):
        features = site.inputs["features"][:].astype(float)
        age = np.where(features[:, 1] > 0.5, np.nan, 50 + 30 * features[:, 0])
        ill = np.asarray(site.targets["label"][:])
        parts.append(pd.DataFrame({"site": name, "age": age, "ill": ill, "male": features[:, 3] > 0.5}))
    return pd.concat(parts)


def open_sum(terms: Terms, sites: list[Patients]) -> np.ndarray:
    return np.asarray(np.sum([count_statistics([each], terms) for each in sites], axis=0))


def read(terms: Terms, counts: Any, deviation: float = ALMOST_NO_NOISE) -> StatisticsFigures:
    task = make_task(terms.task, terms.data)
    assert isinstance(task, StatisticsTask)
    return compute_statistics(task, [int(each) for each in counts], deviation, 4)


def test_figures_without_noise_equal_pandas_on_the_pooled_patients() -> None:
    terms, table = statistics_terms(), pool(FEDERATION)
    found = read(terms, open_sum(terms, FEDERATION))
    columns = {each.measure.name: each for each in found.columns}
    assert found.patients.value == pytest.approx(len(table))
    assert found.complete is not None
    assert found.complete.value == table["age"].notna().sum()
    assert [each.patients for each in columns["ill"].counts] == [sum(table["ill"] == 0), sum(table["ill"] == 1)]
    assert columns["sex"].counts[1].patients == table["male"].sum()
    expected, _ = np.histogram(table["age"].dropna(), bins=np.linspace(20, 80, 11))
    assert [each.patients for each in columns["age"].counts] == pytest.approx(expected, abs=2)  # on an edge
    assert columns["age"].counts[0].label == "20 to 26"
    age = columns["age"]
    assert age.missing is not None
    assert age.mean is not None
    assert age.deviation is not None
    assert age.missing.value == pytest.approx(table["age"].isna().mean())
    assert age.mean.value == pytest.approx(table["age"].mean(), abs=30 / UNIT)
    assert age.deviation.value == pytest.approx(table["age"].std(ddof=0), abs=60 / UNIT)
    correlation = found.correlations["age", "ill"].value
    assert correlation == pytest.approx(table["age"].corr(table["ill"]), abs=0.01)


def test_share_between_sites_is_the_eta_squared_of_an_analysis_of_variance() -> None:
    terms, table = statistics_terms(), pool(FEDERATION)
    found = read(terms, open_sum(terms, FEDERATION))
    for name in ("age", "ill"):
        there = table.dropna(subset=[name])
        whole = ((there[name] - there[name].mean()) ** 2).sum()
        between = sum(
            len(part) * (part[name].mean() - there[name].mean()) ** 2 for _, part in there.groupby("site")
        )
        assert found.between[name].value == pytest.approx(between / whole, abs=0.01)
    free = len(SITES) - 1
    exact = stats.chi2.ppf(0.95, free) / (len(table) - 1)
    assert found.by_chance == pytest.approx(exact, rel=0.02)


def test_sites_that_do_not_differ_stay_below_the_bound_by_chance() -> None:
    terms, above = statistics_terms(), 0
    for seed in range(60):
        sites = [make_site(1000 + 4 * seed + number, 100, 0.1) for number in range(4)]
        found = read(terms, open_sum(terms, sites))
        share = found.between["age"].value
        assert share is not None
        assert found.by_chance is not None
        above += share > found.by_chance
    assert above <= 9  # 3 of 60 are expected


@pytest.mark.parametrize("epsilon", [1.0, 4.0])
def test_errors_hold_what_noise_does_in_95_of_100_cases(epsilon: float) -> None:
    terms = statistics_terms(privacy={"epsilon": epsilon})
    truth = open_sum(terms, FEDERATION)
    bare = read(terms, truth)
    deviation = compute_totals_deviation(terms, compute_evaluation_noise(terms), 4)
    scales = np.sqrt(compute_squared_scales(terms.cell_groups))
    random, tries, within = np.random.default_rng(7), 200, dict.fromkeys(("patients", "bin", "mean", "share"), 0)
    for _ in range(tries):
        noised = np.rint(truth + random.normal(0, deviation * scales))
        found = read(terms, noised, deviation)
        for name, got, exact in (
            ("patients", found.patients, bare.patients),
            ("mean", found.columns[1].mean, bare.columns[1].mean),
            ("share", found.between["age"], bare.between["age"]),
        ):
            assert got is not None
            assert exact is not None
            within[name] += got.value is None or abs(got.value - exact.value) <= got.error  # type: ignore[operator]
        bins = found.columns[1].counts[3], bare.columns[1].counts[3]
        within["bin"] += abs(bins[0].patients - bins[1].patients) <= bins[0].error
    assert all(0.88 * tries <= each for each in within.values()), within
    assert within["bin"] <= 0.995 * tries


def test_error_of_a_count_is_the_one_of_the_formula() -> None:
    terms = statistics_terms()
    sigma = compute_evaluation_noise(terms)
    assert sigma is not None
    document = describe_statistics("small-feasibility-12345678", terms, [0] * count_cells(terms.cell_groups), SITES)
    groups = len(terms.cell_groups)
    deviation = sigma * (groups * 4 / 3) ** 0.5  # docs/feasibility.md
    assert document.noise_deviation == pytest.approx(deviation)
    assert document.columns[0].counts[0].error == pytest.approx(1.96 * deviation)


def test_figures_that_noise_hides_are_not_known() -> None:
    terms = statistics_terms()
    cells = len(open_sum(terms, FEDERATION[:1]))
    found = read(terms, [0] * cells, deviation=5.0)
    age = found.columns[1]
    assert age.mean is not None
    assert age.deviation is not None
    assert (age.mean.value, age.deviation.value, found.correlations["age", "ill"].value) == (None, None, None)
    assert found.between["age"].value is None
    assert found.by_chance is None
    with pytest.raises(ValueError, match="counts"):
        read(terms, [0] * (cells + 1))


def test_same_counts_give_the_same_document_at_every_site() -> None:
    terms = statistics_terms()
    counts = [int(each) for each in open_sum(terms, FEDERATION)]
    first, second = (describe_statistics("s-12345678", terms, counts, sites) for sites in (SITES, SITES[::-1]))
    assert first.to_bytes() == second.to_bytes()
