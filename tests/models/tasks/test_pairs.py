import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, somersd
from sklearn.linear_model import LinearRegression
from sklearn.metrics import average_precision_score, mean_squared_error, r2_score

from models.tasks.pairs import PairsTask
from privacy.study.tasks.pairs import PairsTerms
from tests.models.tasks.record_checks import (
    ANY_FLOAT,
    make_contract,
    require_finite_gradients,
    require_losses_of_records_alone,
    require_one_cell_per_group,
    require_rank_is_first_figure,
)

LOW, HIGH, BINS, STRONG_BIN = 4.0, 20.0, 8, 3
INPUTS = [{"type": "id", "name": "target", "shape": [6], "values": 20}]
CONTRACT = make_contract(INPUTS, [{"type": "number", "name": "label", "low": LOW, "high": HIGH}])


def make_task(strong: float | None = 10.3) -> PairsTask:
    return PairsTask(PairsTerms(kind="pairs", strong=strong), CONTRACT)


cells_of_eight_bins = st.lists(st.integers(-3, 4), min_size=BINS * BINS, max_size=BINS * BINS)


@given(cells_of_eight_bins)
def test_figures_of_any_histogram_match_scikit_learn_and_scipy_on_middles_of_bins(counts: list[int]) -> None:
    place = np.repeat(np.arange(BINS * BINS), np.maximum(counts, 0))
    truth, prediction = (LOW + 2 * (each + 0.5) for each in (place // BINS, place % BINS))
    got = make_task().compute_figures(counts, BINS)
    assert list(got) == ["concordance", "mse", "r2", "rm2", "average_precision"]
    if not len(place):
        assert set(got.values()) == {None}
        return
    assert got["mse"] == pytest.approx(mean_squared_error(truth, prediction))
    strong = place // BINS >= STRONG_BIN
    if strong.any():
        assert got["average_precision"] == pytest.approx(average_precision_score(strong, prediction))
    else:
        assert got["average_precision"] is None
    if len(set(truth)) > 1 and len(set(prediction)) > 1:
        assert got["r2"] == pytest.approx(r2_score(truth, prediction))
        assert got["concordance"] == pytest.approx((somersd(truth, prediction).statistic + 1) / 2)
        r2 = pearsonr(truth, prediction).statistic ** 2
        line = LinearRegression(fit_intercept=False).fit(prediction[:, None], truth)
        r0_2 = r2_score(truth, line.predict(prediction[:, None]))
        assert got["rm2"] == pytest.approx(r2 * (1 - np.sqrt(abs(r2 - r0_2))), abs=1e-6)


@given(cells_of_eight_bins)
def test_rank_of_any_histogram_is_the_concordance(counts: list[int]) -> None:
    require_rank_is_first_figure(make_task(), counts, BINS)


def test_figures_of_a_perfect_model_are_the_best() -> None:
    task, truth = make_task(), np.linspace(0, 1, 60, dtype=np.float32)
    got = task.compute_figures(task.count_cells(torch.from_numpy(truth), {"label": truth}, BINS).tolist(), BINS)
    assert got == {kind.name: pytest.approx(kind.best, abs=1e-6) for kind in task.figures}


def test_figures_without_strong_have_no_average_precision() -> None:
    task = make_task(strong=None)
    assert [kind.name for kind in task.figures] == ["concordance", "mse", "r2", "rm2"]
    assert list(task.compute_figures([1] * BINS**2, BINS)) == ["concordance", "mse", "r2", "rm2"]


@pytest.mark.parametrize("bins", [2, 100, 10_000])
@given(st.lists(st.tuples(st.sampled_from(ANY_FLOAT), st.floats(0, 1, width=32)), min_size=1, max_size=3))
def test_any_record_adds_one_to_one_cell(bins: int, records: list[tuple[float, float]]) -> None:
    outputs = torch.tensor([output for output, _ in records], dtype=torch.float32)
    truth = np.array([each for _, each in records], dtype=np.float32)
    require_one_cell_per_group(make_task(), make_task().terms, CONTRACT, outputs, {"label": truth}, bins)


def test_losses_of_records_do_not_depend_on_others() -> None:
    outputs = torch.randn(6, generator=torch.Generator().manual_seed(1))
    truth = np.linspace(0, 1, 6, dtype=np.float32)
    require_losses_of_records_alone(make_task(), outputs, {"label": truth})
    require_finite_gradients(make_task(), outputs * 1e30, {"label": truth})
    got = make_task().compute_losses(outputs, {"label": torch.from_numpy(truth)})
    np.testing.assert_allclose(got, (outputs.numpy() - truth) ** 2, rtol=1e-6)


def test_described_values_are_in_the_units_of_the_target() -> None:
    assert make_task().describe_outputs(torch.tensor([0.5, 0.0, 1.5]))["value"].tolist() == [12.0, 4.0, 28.0]
